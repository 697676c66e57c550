//! All entities at one revision, and the one way to the next: [`Snapshot::with`].
//!
//! Persistent maps share what a change does not touch, so that a snapshot costs what changed. The
//! reference rules are kept here: names are unique, what is mentioned exists, what is in use stays.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use super::change::{Change, Refusal};
use super::entity::{Entity, EntityRef, Kind, Kinded, Reference, Tie, Unique, named_key};
use super::id::{Id, Name, NamespaceRef, Revision, Timestamp};
use super::index::{Claim, Held, Mention, Under, hash};
use super::{Namespace, Service};

/// All entities at one revision; immutable; references already checked.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    revision: Revision,
    entities: OrdSet<Held>,
    /// Who has what must be unique.
    unique: OrdSet<Claim>,
    /// Who mentions whom.
    mentions: OrdSet<Mention>,
    /// (namespace and host, service): which services a pool of that name would serve.
    hosts: OrdSet<(Box<str>, Id)>,
}

impl Snapshot {
    /// Only the namespace `default`, as a new store holds it.
    pub fn empty() -> Self {
        let name: Name = NamespaceRef::default().into();
        let namespace = Namespace {
            name,
            comment: Box::default(),
        };
        let id = Id::derived("sluicegate:namespace:default");
        let mut snapshot = Self::default();
        snapshot.insert(Arc::new(Entity::new(id, namespace)));
        snapshot
    }

    /// What a store held, as it was written. Nothing is checked: what a newer version would refuse
    /// is left to the table's compiler, which names it.
    pub fn restore(revision: Revision, entities: impl IntoIterator<Item = Arc<Entity>>) -> Self {
        let mut snapshot = Self::empty();
        entities
            .into_iter()
            .for_each(|entity| snapshot.insert(entity));
        snapshot.revision = revision;
        snapshot
    }

    pub const fn revision(&self) -> Revision {
        self.revision
    }

    pub fn entity(&self, kind: Kind, id: Id) -> Option<&Arc<Entity>> {
        let held = self.entities.get(&EntityRef { kind, id })?;
        Some(&held.0)
    }

    /// One entity as its own type.
    pub fn get<T: Kinded>(&self, id: Id) -> Option<&T> {
        self.entity(T::KIND, id)?.as_kind()
    }

    /// The entity of that name in that namespace (`""` for kinds without one).
    pub fn named(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Entity>> {
        self.claimant(kind, &named_key(namespace, name))
    }

    /// The entity of that kind that is called `key`, as [`Spec::unique`](super::Spec::unique) has it.
    fn claimant(&self, kind: Kind, key: &str) -> Option<&Arc<Entity>> {
        let hash = hash(kind, key);
        let span = Under(hash, first(kind))..=Under(hash, last(kind));
        let called = |entity: &&Arc<Entity>| {
            let mut unique = entity.spec.unique().into_iter();
            unique.any(|(_, own)| *own == *key)
        };
        let mut claims = self.unique.range(span).map(|claim| &claim.by.0);
        claims.find(called)
    }

    /// The entity of a kind that has what [`Spec::unique`](super::Spec::unique) says.
    pub fn holder(&self, kind: Kind, (_, key): Unique) -> Option<&Arc<Entity>> {
        self.claimant(kind, &key)
    }

    /// Every entity of a kind behind `after`, by id.
    pub fn list(&self, kind: Kind, after: Option<Id>) -> impl Iterator<Item = &Arc<Entity>> {
        let from = match after {
            Some(id) => Bound::Excluded(EntityRef { kind, id }),
            None => Bound::Included(first(kind)),
        };
        self.entities
            .range((from, Bound::Included(last(kind))))
            .map(|held| &held.0)
    }

    /// Every entity, kind by kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.iter().map(|held| &held.0)
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.list(kind, None).count()
    }

    pub fn len(&self) -> usize {
        self.entities.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// The entities of `kind` that mention `id`.
    pub fn mentioning(&self, id: Id, kind: Kind) -> impl Iterator<Item = &Arc<Entity>> {
        self.mentioning_after(id, kind, None)
    }

    /// The entities of `kind` that mention `id` and stand behind `after`, by id.
    pub fn mentioning_after(
        &self,
        id: Id,
        kind: Kind,
        after: Option<Id>,
    ) -> impl Iterator<Item = &Arc<Entity>> {
        let from = match after {
            Some(after) => Bound::Excluded(Under(id, EntityRef { kind, id: after })),
            None => Bound::Included(Under(id, first(kind))),
        };
        self.mentions
            .range((from, Bound::Included(Under(id, last(kind)))))
            .map(|mention| &mention.by.0)
    }

    /// The services whose host is `host`, so that a pool of that name serves them.
    pub fn services_at(&self, namespace: &NamespaceRef, host: &str) -> impl Iterator<Item = Id> {
        let key = named_key(namespace.as_str(), host);
        let span = (
            Bound::Included((key.clone(), Id::MIN)),
            Bound::Included((key, Id::MAX)),
        );
        self.hosts
            .range(span)
            .map(|(_, id)| *id)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The next snapshot: every change applied, or the first reason why not.
    ///
    /// References are judged when all changes are in, so their order within a batch does not matter.
    /// Deleting an entity deletes what it owns. The second value names everything that changed.
    ///
    /// # Errors
    /// [`Refusal`], with this snapshot untouched.
    pub fn with(
        &self,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<(Self, Vec<EntityRef>), Refusal> {
        let mut next = Self {
            revision: self.revision.next(),
            ..self.clone()
        };
        let mut touched = Vec::with_capacity(changes.len());
        for change in changes {
            next.apply(change, now, &mut touched)?;
        }
        next.check_references(self, &touched)?;
        touched.sort();
        touched.dedup();
        Ok((next, touched))
    }

    fn apply(
        &mut self,
        change: &Change,
        now: Timestamp,
        touched: &mut Vec<EntityRef>,
    ) -> Result<(), Refusal> {
        let kept = |at: EntityRef| self.entity(at.kind, at.id).map(|old| old.created_at);
        match change {
            Change::Delete(at) => self.delete(*at, touched),
            Change::Create(entity) => {
                if let Some(other) = self.entity(entity.kind(), entity.id) {
                    let (at, value) = (entity.at(), entity.id.to_string());
                    return Err(Refusal::AlreadyExists {
                        at,
                        field: "id",
                        value,
                        with: other.at(),
                    });
                }
                self.put(entity, said(entity), now, touched)
            }
            Change::Replace(entity) if self.entity(entity.kind(), entity.id).is_none() => {
                Err(Refusal::NotFound(entity.at()))
            }
            Change::Replace(entity) | Change::Put(entity) => {
                let made = kept(entity.at()).or_else(|| said(entity));
                self.put(entity, made, now, touched)
            }
            Change::PutDated(entity) => {
                let made = said(entity).or_else(|| kept(entity.at()));
                self.put(entity, made, now, touched)
            }
        }
    }

    fn put(
        &mut self,
        entity: &Entity,
        made: Option<Timestamp>,
        now: Timestamp,
        touched: &mut Vec<EntityRef>,
    ) -> Result<(), Refusal> {
        let at = entity.at();
        entity
            .spec
            .check()
            .map_err(|invalid| Refusal::Invalid { at, invalid })?;
        self.check_unique(entity)?;
        self.check_renamed(entity)?;
        let mut entity = entity.clone();
        entity.created_at = made.unwrap_or(now);
        entity.updated_at = now;
        entity.revision = self.revision;
        self.remove(at);
        self.insert(Arc::new(entity));
        touched.push(at);
        Ok(())
    }

    fn check_unique(&self, entity: &Entity) -> Result<(), Refusal> {
        for (field, key) in entity.spec.unique() {
            match self.claimant(entity.kind(), &key) {
                Some(other) if other.id != entity.id => {
                    return Err(Refusal::AlreadyExists {
                        at: entity.at(),
                        field,
                        value: key.rsplit('\0').next().unwrap_or_default().to_owned(),
                        with: other.at(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn delete(&mut self, at: EntityRef, touched: &mut Vec<EntityRef>) -> Result<(), Refusal> {
        let entity = self.entity(at.kind, at.id).ok_or(Refusal::NotFound(at))?;
        if let (Some(name), Kind::Namespace) = (entity.spec.name(), at.kind) {
            self.check_deserted(at, name)?;
        }
        for (by, tie) in self.ties_to(at).collect::<Vec<_>>() {
            match tie {
                Tie::Owned => self.delete(by, touched)?,
                Tie::Emptied => self.delete_empty(by, at, touched)?,
                Tie::Free => {}
            }
        }
        self.remove(at);
        touched.push(at);
        Ok(())
    }

    /// Deletes `owned` along with its owner, unless it is in use.
    fn delete_empty(
        &mut self,
        owned: EntityRef,
        owner: EntityRef,
        touched: &mut Vec<EntityRef>,
    ) -> Result<(), Refusal> {
        let user = self.ties_to(owned).next();
        match user {
            Some((by, _)) => Err(Refusal::InUse { at: owner, by }),
            None => self.delete(owned, touched),
        }
    }

    /// Entities name their namespace, so that another name for it is as good as deleting it.
    fn check_renamed(&self, entity: &Entity) -> Result<(), Refusal> {
        let at = entity.at();
        let before = self
            .get::<Namespace>(at.id)
            .filter(|_| at.kind == Kind::Namespace);
        match before.map(|before| before.name.as_str()) {
            Some(name) if entity.spec.name() != Some(name) => self.check_deserted(at, name),
            _ => Ok(()),
        }
    }

    /// A namespace goes only when nothing lives in it, and `default` never.
    fn check_deserted(&self, at: EntityRef, name: &str) -> Result<(), Refusal> {
        if name == NamespaceRef::DEFAULT {
            let why = "the namespace default always exists";
            return Err(Refusal::Invalid {
                at,
                invalid: super::Invalid::new("name", why),
            });
        }
        let lives_here = |entity: &&Arc<Entity>| {
            entity
                .spec
                .namespace()
                .is_some_and(|namespace| namespace.as_str() == name)
        };
        match self.iter().find(lives_here) {
            Some(by) => Err(Refusal::InUse { at, by: by.at() }),
            None => Ok(()),
        }
    }

    /// Who mentions `at`. Ids are unique within a kind only, so that the kind has to be compared.
    fn ties_to(&self, at: EntityRef) -> impl Iterator<Item = (EntityRef, Tie)> {
        let from = Under(at.id, first(Kind::Namespace));
        let tie = move |mention: &Mention| {
            let entity = &mention.by.0;
            let mut references = entity.spec.references().into_iter();
            let reference = references.find(|r| r.to == at)?;
            Some((entity.at(), reference.tie))
        };
        self.mentions
            .range(from..)
            .take_while(move |mention| mention.to == at.id)
            .filter_map(tie)
    }

    fn check_references(&self, before: &Self, touched: &[EntityRef]) -> Result<(), Refusal> {
        for at in touched {
            match self.entity(at.kind, at.id) {
                Some(entity) => self.check_mentioned(entity)?,
                None => self.check_unmentioned(before, *at)?,
            }
        }
        Ok(())
    }

    fn check_mentioned(&self, entity: &Entity) -> Result<(), Refusal> {
        let at = entity.at();
        let namespace = entity.spec.namespace();
        let exists = |namespace: &&NamespaceRef| {
            let named = self.named(Kind::Namespace, "", namespace.as_str());
            named.is_some()
        };
        if let Some(namespace) = namespace.filter(|namespace| !exists(namespace)).cloned() {
            return Err(Refusal::NoNamespace { at, namespace });
        }
        let gone = |r: &Reference| self.entity(r.to.kind, r.to.id).is_none();
        match entity.spec.references().into_iter().find(gone) {
            Some(Reference { field, to, .. }) => Err(Refusal::Dangling { at, field, to }),
            None => Ok(()),
        }
    }

    fn check_unmentioned(&self, before: &Self, at: EntityRef) -> Result<(), Refusal> {
        match self.ties_to(at).next() {
            Some((by, _)) => {
                // A mention that did not exist before names something that is gone: say that.
                match before.entity(by.kind, by.id) {
                    Some(_) => Err(Refusal::InUse { at, by }),
                    None => Err(Refusal::Dangling {
                        at: by,
                        field: at.kind.singular(),
                        to: at,
                    }),
                }
            }
            None => Ok(()),
        }
    }

    fn insert(&mut self, entity: Arc<Entity>) {
        for (_, key) in entity.spec.unique() {
            self.unique.insert(Claim::new(&key, &entity));
        }
        for mention in mentions(&entity) {
            self.mentions.insert(mention);
        }
        if let Some(service) = entity.as_kind::<Service>() {
            self.hosts.insert((host_key(service), entity.id));
        }
        self.entities.insert(Held(entity));
    }

    fn remove(&mut self, at: EntityRef) {
        let Some(Held(entity)) = self.entities.remove(&at) else {
            return;
        };
        for (_, key) in entity.spec.unique() {
            self.unique.remove(&Claim::new(&key, &entity));
        }
        for mention in mentions(&entity) {
            self.mentions.remove(&mention);
        }
        if let Some(service) = entity.as_kind::<Service>() {
            self.hosts.remove(&(host_key(service), at.id));
        }
    }
}

/// When an entity was made, as far as it says so itself.
fn said(entity: &Entity) -> Option<Timestamp> {
    (entity.created_at != Timestamp::default()).then_some(entity.created_at)
}

fn mentions(entity: &Arc<Entity>) -> impl Iterator<Item = Mention> {
    let references = entity.spec.references().into_iter();
    references.map(|reference| Mention {
        to: reference.to.id,
        by: Held(Arc::clone(entity)),
    })
}

const fn first(kind: Kind) -> EntityRef {
    EntityRef { kind, id: Id::MIN }
}

const fn last(kind: Kind) -> EntityRef {
    EntityRef { kind, id: Id::MAX }
}

fn host_key(service: &Service) -> Box<str> {
    named_key(service.namespace.as_str(), service.host.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a namespace says that it was made; 0: it does not.
    fn namespace(made: u64) -> Arc<Entity> {
        let spec = Namespace {
            name: "a".parse().unwrap(),
            comment: Box::default(),
        };
        let mut entity = Entity::new(Id::MIN, spec);
        entity.created_at = Timestamp(made);
        Arc::new(entity)
    }

    #[test]
    fn what_is_replaced_keeps_its_date_unless_it_is_given_another() {
        let (first, then) = (Timestamp(1), Timestamp(9));
        let made = Change::Create(namespace(5));
        let (snapshot, _) = Snapshot::empty().with(&[made], first).unwrap();
        for (change, date) in [
            (Change::Replace(namespace(7)), 5),
            (Change::Put(namespace(7)), 5),
            (Change::PutDated(namespace(7)), 7),
            (Change::PutDated(namespace(0)), 5),
        ] {
            let (next, _) = snapshot.with(&[change], then).unwrap();
            let seen = next.entity(Kind::Namespace, Id::MIN).unwrap();
            assert_eq!(seen.created_at, Timestamp(date));
        }
        let (new, _) = Snapshot::empty()
            .with(&[Change::PutDated(namespace(0))], then)
            .unwrap();
        let seen = new.entity(Kind::Namespace, Id::MIN).unwrap();
        assert_eq!(seen.created_at, then);
    }
}
