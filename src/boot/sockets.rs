//! Joins the registry's listeners to the data plane's sockets.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::model::{Id, Kind, Listener, ListenerProtocol};
use crate::net::bind::Families;
use crate::net::{Bound, Listeners, Spec};
use crate::proxy::connection::{Role, Scheme};
use crate::registry::{Registry, Reservation, Sockets};

/// The data plane's listeners, as the registry opens and closes them. Called from the registry's own
/// thread, which may wait.
#[derive(Clone, Debug)]
pub(super) struct DataPlane {
    pub(super) listeners: Listeners,
    pub(super) runtime: Handle,
    /// How long requests of a removed listener may take.
    pub(super) grace: Duration,
}

struct Reserved {
    plane: DataPlane,
    id: Id,
    bound: Bound,
}

impl Sockets for DataPlane {
    fn reserve(
        &mut self,
        id: Id,
        listener: &Listener,
        leaving: &[Id],
    ) -> Result<Box<dyn Reservation>, String> {
        let spec = Spec {
            leaving: leaving.to_vec(),
            ..spec(id, listener)
        };
        let bound = self.listeners.bind(&spec);
        let bound = bound.map_err(|error| error.to_string())?;
        Ok(Box::new(Reserved {
            plane: self.clone(),
            id,
            bound,
        }))
    }

    fn is_open(&self, id: Id) -> bool {
        self.listeners.is_open(id)
    }

    /// The port is free when this returns.
    fn close(&mut self, id: Id) {
        self.runtime.block_on(self.listeners.remove(id, self.grace));
    }
}

impl Reservation for Reserved {
    /// Clients that come between the two wait in the new sockets' queues.
    fn activate(mut self: Box<Self>) {
        self.plane.close(self.id);
        self.bound.activate();
    }
}

pub(super) fn spec(id: Id, listener: &Listener) -> Spec {
    Spec {
        id: Some(id),
        name: listener.name.as_str().into(),
        address: listener.socket(),
        scheme: match listener.protocol {
            ListenerProtocol::Http => Scheme::Http,
            ListenerProtocol::Https => Scheme::Https,
            ListenerProtocol::Tcp => Scheme::Tcp,
            ListenerProtocol::Mysql => Scheme::Mysql,
            ListenerProtocol::Tls => Scheme::Tls,
        },
        families: Families::Both,
        proxy_protocol: listener.proxy_protocol,
        role: Role::Proxy,
        leaving: Vec::new(),
    }
}

/// Listeners of the registry; one that cannot be bound now is reported and left out.
pub(super) fn open_stored(registry: &Registry, listeners: &Listeners) {
    for entity in registry.snapshot().list(Kind::Listener, None) {
        let Some(listener) = entity.as_kind::<Listener>() else {
            continue;
        };
        match listeners.bind(&spec(entity.id, listener)) {
            Ok(bound) => bound.activate(),
            Err(error) => tracing::error!(%error, listener = %listener.name, "not opened"),
        }
    }
}
