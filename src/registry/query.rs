//! Reading a snapshot by pages.

use std::sync::Arc;

use crate::model::{Entity, EntityRef, Id, Kind, NamespaceRef, Snapshot, Tag};

/// What a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only entities of this namespace; kinds without one are always shown.
    pub namespace: Option<NamespaceRef>,
    /// Only entities that carry all of these.
    pub tags: Vec<Tag>,
    /// Only entities that mention all of these: the routes of a service, the endpoints of a pool.
    pub mentions: Vec<EntityRef>,
}

impl Filter {
    fn shows(&self, entity: &Entity) -> bool {
        let namespace = match (&self.namespace, entity.spec.namespace()) {
            (Some(wanted), Some(namespace)) => wanted == namespace,
            _ => true,
        };
        let mentions = || {
            let references = entity.spec.references();
            let mentioned = |to: &EntityRef| references.iter().any(|reference| reference.to == *to);
            self.mentions.iter().all(mentioned)
        };
        namespace
            && (self.mentions.is_empty() || mentions())
            && self.tags.iter().all(|tag| entity.tags.contains(tag))
    }
}

/// One page of a list, by id.
#[derive(Clone, Debug)]
pub struct Page {
    pub entities: Vec<Arc<Entity>>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Id>,
}

/// At most `limit` entities of a kind that stand behind `after`.
pub fn page(
    snapshot: &Snapshot,
    kind: Kind,
    filter: &Filter,
    after: Option<Id>,
    limit: usize,
) -> Page {
    let listed: Box<dyn Iterator<Item = &Arc<Entity>>> = match filter.mentions.first() {
        Some(to) => Box::new(snapshot.mentioning_after(to.id, kind, after)),
        None => Box::new(snapshot.list(kind, after)),
    };
    let shown = listed.filter(|entity| filter.shows(entity));
    let mut entities: Vec<_> = shown.take(limit.saturating_add(1)).cloned().collect();
    let more = entities.len() > limit;
    entities.truncate(limit);
    let next = entities.last().filter(|_| more).map(|entity| entity.id);
    Page { entities, next }
}
