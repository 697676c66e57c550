//! What a pool is built from: how it chooses and judges, and the addresses it has.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::model::{self, ActiveCheck, Algorithm, HealthyShare, Id, Name, PassiveCheck};

/// How a pool chooses and judges.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The pool, or the service that has no pool: whose live state this is.
    pub owner: Id,
    pub algorithm: Algorithm,
    /// Parts that the keys of consistent hashing are divided into, and the most turns of round robin
    /// that are laid out in advance.
    pub slots: Option<NonZeroU32>,
    pub active: Option<&'a ActiveCheck>,
    pub passive: Option<&'a PassiveCheck>,
    /// The Host of checks that name none of their own; the endpoint's where this is `None` too.
    pub check_host: Option<&'a Name>,
    /// The share of weight that must be healthy; below it no pick succeeds.
    pub healthy_share: HealthyShare,
    /// Members that are missing because their names have no address.
    pub unresolved: &'a [Unresolved],
    /// Whether endpoints tell that they are there; where none is left that may be picked, all may.
    pub heartbeats: bool,
}

impl<'a> Policy<'a> {
    pub fn of(id: Id, pool: &'a model::Pool) -> Self {
        Self {
            owner: id,
            algorithm: pool.algorithm,
            slots: pool.slots.and_then(NonZeroU32::new),
            active: pool.active.as_ref(),
            passive: pool.passive.as_ref(),
            check_host: pool.host_header.as_ref(),
            healthy_share: pool.healthy_share(),
            unresolved: &[],
            heartbeats: pool.heartbeats,
        }
    }

    /// A service's own host: round robin over its addresses, and never ejected.
    pub const fn direct(service: Id) -> Self {
        Self {
            owner: service,
            algorithm: Algorithm::RoundRobin,
            slots: None,
            active: None,
            passive: None,
            check_host: None,
            healthy_share: HealthyShare::NONE,
            unresolved: &[],
            heartbeats: false,
        }
    }
}

/// One address that a pool is built from.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint entity; `None` for a service's own address.
    pub id: Option<Id>,
    /// The host as configured.
    pub host: Arc<str>,
    pub addr: SocketAddr,
    /// 0 gets no traffic; it is checked and shown all the same.
    pub weight: u16,
    /// The server whose address it is.
    pub server: Option<Id>,
}

/// A member whose name has no address: it gets no traffic, and is shown.
#[derive(Clone, Debug)]
pub struct Unresolved {
    /// The endpoint entity; `None` for a service's own host.
    pub id: Option<Id>,
    pub host: Arc<str>,
    pub port: u16,
    pub weight: u16,
}
