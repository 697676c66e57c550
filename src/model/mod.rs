//! *What things are.* Entities, the values they are made of, and snapshots of all of them.
//!
//! Pure: no clock (but [`Timestamp::now`]), no randomness (but [`Id::random`]), no I/O. A value that
//! exists is valid: text becomes these types at the edge and is never parsed again.

mod change;
mod entity;
mod few;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod id;
mod index;
mod listener;
mod pattern;
pub mod percent;
mod pool;
mod route;
mod service;
mod snapshot;

pub use change::{Change, Refusal};
pub use entity::{Attributes, Common, Entity, EntityRef, Kind, Kinded, Reference, Spec, Tie};
pub use few::Few;
pub use id::{
    Id, Invalid, NAME_BYTES_MAX, Name, NamespaceRef, Revision, Secret, TAGS_MAX, Tag, Timestamp,
};
pub use listener::{Certificate, Listener, ListenerProtocol, Sni};
pub use pattern::{
    HOST_BYTES_MAX, HeaderMatch, HeaderTest, HostPattern, HostShape, MethodSet,
    PATH_PATTERN_BYTES_MAX, PathPattern, split_port,
};
pub use pool::{
    ActiveCheck, Algorithm, CheckProtocol, Endpoint, HashOn, HeaderText, PassiveCheck, Pool,
    Statuses, Thresholds, WEIGHT_MAX,
};
pub use route::{HttpsRedirect, PathHandling, ROUTE_VALUES_MAX, Route, RouteProtocol};
pub use service::{Namespace, Protocol, Service};
pub use snapshot::Snapshot;
