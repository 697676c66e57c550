//! Which TLS configuration a server name gets.

use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use rustls::ServerConfig;

use super::slots::ById;
use crate::model::{HostShape, Id, Kind, ServerNames, Snapshot, Sni};

type ByName =
    GenericHashMap<Box<str>, Arc<ServerConfig>, foldhash::fast::FixedState, DefaultSharedPtr>;

/// Configurations by certificate and by server name.
#[derive(Clone, Debug, Default)]
pub(super) struct Certs {
    configs: ById<Arc<ServerConfig>>,
    exact: ByName,
    leading: ByName,
    trailing: ByName,
    /// For a client whom no name was found for.
    any: Option<Arc<ServerConfig>>,
    /// The gateway's own.
    default: Option<Arc<ServerConfig>>,
}

impl Certs {
    pub(super) fn with_default(default: Option<Arc<ServerConfig>>) -> Self {
        Self {
            default,
            ..Self::default()
        }
    }

    /// Exact name, then `*.rest` from the longest, then `first.*` from the longest, then `*`, then the
    /// default (Kong's order).
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Arc<ServerConfig>> {
        let named = name.and_then(|name| self.named(name));
        named.or(self.any.as_ref()).or(self.default.as_ref())
    }

    fn named(&self, name: &str) -> Option<&Arc<ServerConfig>> {
        let leading = || {
            let behind = name
                .match_indices('.')
                .filter_map(|(dot, _)| name.get(dot..));
            behind
                .filter(|part| part.len() < name.len())
                .find_map(|part| self.leading.get(part))
        };
        let trailing = || {
            let before = name
                .rmatch_indices('.')
                .filter_map(|(dot, _)| name.get(..=dot));
            before
                .filter(|part| part.len() < name.len())
                .find_map(|part| self.trailing.get(part))
        };
        self.exact.get(name).or_else(leading).or_else(trailing)
    }

    pub(super) fn put(&mut self, certificate: Id, config: Arc<ServerConfig>) {
        self.configs.insert(certificate, config);
    }

    pub(super) fn remove(&mut self, certificate: Id) {
        self.configs.remove(&certificate);
    }

    /// Reads every server name anew; a name whose certificate did not compile gets none.
    pub(super) fn name_all(&mut self, snapshot: &Snapshot) {
        (self.exact, self.leading, self.trailing, self.any) = Default::default();
        for entity in snapshot.list(Kind::Sni, None) {
            let Some(sni) = entity.as_kind::<Sni>() else {
                continue;
            };
            let Some(config) = self.configs.get(&sni.certificate).cloned() else {
                continue;
            };
            match &sni.name {
                ServerNames::Any => self.any = Some(config),
                ServerNames::Like(name) => {
                    let like = self.like(name.shape());
                    like.insert(name.literal().into(), config);
                }
            }
        }
    }

    const fn like(&mut self, shape: HostShape) -> &mut ByName {
        match shape {
            HostShape::Exact => &mut self.exact,
            HostShape::Leading => &mut self.leading,
            HostShape::Trailing => &mut self.trailing,
        }
    }
}
