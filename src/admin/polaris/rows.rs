//! Services and instances as the view holds them: parsed once, compared often.

use std::cmp::Reverse;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::names::digits;
use super::records::{self, InstanceRecord, ServiceRecord};
use crate::model::{Entity, Id, Service, Timestamp};

/// A service in the order of lists: the last changed first, then by id.
pub(super) type Place = (Reverse<Timestamp>, Id);

/// An instance in the order of lists: the last changed first.
pub(super) type Order = (Reverse<Timestamp>, Reverse<Id>);

/// What a service and its instances have in common: namespace and name as one text.
pub(super) fn key(namespace: &str, service: &str) -> String {
    format!("{namespace}\0{service}")
}

/// One service, or one alias.
#[derive(Debug)]
pub(super) struct ServiceRow {
    pub(super) entity: Arc<Entity>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) key: Box<str>,
    /// In lower case, for searches that take no notice of it.
    pub(super) namespace_folded: Box<str>,
    pub(super) name_folded: Box<str>,
    pub(super) business_folded: Box<str>,
    pub(super) record: ServiceRecord,
}

impl ServiceRow {
    /// `None` for a service without a name: nobody could ask for it.
    pub(super) fn of(entity: &Arc<Entity>) -> Option<Self> {
        let service = entity.as_kind::<Service>()?;
        let (namespace, name) = (service.namespace.as_str(), service.name.as_ref()?.as_str());
        let record: ServiceRecord = records::read(entity);
        Some(Self {
            entity: Arc::clone(entity),
            namespace: namespace.into(),
            name: name.into(),
            key: key(namespace, name).into(),
            namespace_folded: namespace.to_lowercase().into(),
            name_folded: name.to_lowercase().into(),
            business_folded: record.business.to_lowercase().into(),
            record,
        })
    }

    pub(super) fn place(&self) -> Place {
        (Reverse(self.entity.updated_at), self.entity.id)
    }

    /// Of the service alone: changes with its metadata.
    pub(super) fn revision(&self) -> String {
        match &*self.record.revision {
            "" => digits(self.entity.id),
            revision => revision.to_owned(),
        }
    }
}

/// One instance.
#[derive(Debug)]
pub(super) struct InstanceRow {
    pub(super) entity: Arc<Entity>,
    /// The entity's own, here at hand for sorting.
    pub(super) at: Id,
    pub(super) updated_at: Timestamp,
    pub(super) id: Box<str>,
    pub(super) service: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) weight: u16,
    pub(super) is_isolated: bool,
    pub(super) pulse: Pulse,
    pub(super) record: InstanceRecord,
}

/// Whether an instance is there, as far as anybody knows, and how often that changed: every change
/// adds one, and an odd number is absence. Shared by all views that hold the row.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU32);

impl Pulse {
    /// The pulse of an instance that had `before`, and is there or not.
    pub(super) fn after(before: Option<&Self>, there: bool) -> Self {
        let pulse = Self(AtomicU32::new(before.map_or(0, Self::number)));
        if pulse.is_there() != there {
            pulse.flip();
        }
        pulse
    }

    fn number(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn is_there(&self) -> bool {
        self.number().is_multiple_of(2)
    }

    pub(super) fn flip(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl InstanceRow {
    pub(super) fn is_healthy(&self) -> bool {
        self.pulse.is_there()
    }

    /// Where it stands in lists.
    pub(super) fn place(&self) -> Order {
        (Reverse(self.updated_at), Reverse(self.at))
    }

    /// Counted as healthy: there, and not isolated.
    pub(super) fn counts(&self) -> bool {
        self.is_healthy() && !self.is_isolated
    }

    /// Another number for every state the instance is in.
    pub(super) fn stamp(&self) -> u64 {
        let state = (self.entity.id, self.entity.revision, self.pulse.number());
        foldhash::quality::FixedState::default().hash_one(state)
    }

    pub(super) fn revision(&self) -> String {
        let pulse = self.pulse.number();
        let words = format!("{} {} {pulse}", self.entity.id, self.entity.revision);
        digits(Id::derived(&words))
    }
}
