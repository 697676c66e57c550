//! What a request that only looks is answered from.

use std::sync::Arc;

use serde_json::Value;

use crate::model::{Entity, Kind, Snapshot};

use super::answer::Answer;
use super::call::Call;
use super::document::Document;
use super::links::Links;
use super::live::Live;
use super::path::Outcome;
use super::{MaxScale, names};

/// One snapshot, the live state beside it, and where links lead.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) maxscale: &'a MaxScale,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) live: &'a Live,
    pub(super) links: &'a Links,
}

impl View<'_> {
    /// All entities of a kind, the oldest first, each as `show` has it. `word` is what the collection
    /// is called.
    pub(super) fn list(
        &self,
        kind: Kind,
        word: &str,
        show: impl Fn(&Entity) -> Option<Value>,
    ) -> Outcome {
        let all = names::by_age(&self.snapshot, kind).into_iter();
        let shown = all.filter_map(|entity| show(entity)).collect();
        let url = self.links.collection(word);
        Ok(Answer::Document(Document::many(&url, shown)))
    }

    /// The entity of a kind that the path names first.
    pub(super) fn one(
        &self,
        kind: Kind,
        call: &Call,
        show: impl Fn(&Entity) -> Option<Value>,
    ) -> Outcome {
        let entity = names::existing(&self.snapshot, kind, call.name(0))?;
        let value = show(entity).unwrap_or_default();
        Ok(Answer::Document(Document::one(value)))
    }
}
