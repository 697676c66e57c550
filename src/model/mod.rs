//! *What things are.* Entities, the values they are made of, and snapshots of all of them.
//!
//! Pure: no clock (but [`Timestamp::now`]), no randomness (but [`Id::random`]), no I/O. A value that
//! exists is valid: text becomes these types at the edge and is never parsed again.

mod certificate;
mod change;
mod consumer;
mod entity;
mod few;
mod filter;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod id;
mod index;
mod key;
mod listener;
mod monitor;
mod operator;
mod pattern;
pub mod percent;
mod plugin;
mod pool;
mod regex;
mod route;
mod server;
mod service;
mod session_policy;
mod share;
mod snapshot;

pub use certificate::{Certificate, ServerNames, Sni};
pub use change::{Change, Refusal};
pub use consumer::{Acl, BasicAuth, ClientType, Consumer, HmacAuth};
pub use consumer::{JwtAlgorithm, JwtSecret, KeyAuth, Oauth2Credential};
pub use entity::{Attributes, Common, Entity, EntityRef, Kind, Kinded, Reference, Spec, Tie};
pub use entity::{Unique, unique};
pub use few::Few;
pub use filter::Filter;
pub use id::{
    Id, Invalid, NAME_BYTES_MAX, Name, NamespaceRef, Revision, Secret, TAGS_MAX, Tag, Timestamp,
};
pub use key::{CaCertificate, Key, KeySet, PemPair, Vault};
pub use listener::{Listener, ListenerProtocol};
pub use monitor::{Monitor, MonitorModule, MonitorRules};
pub use operator::{Operator, OperatorRole};
pub use pattern::{
    HOST_BYTES_MAX, HeaderMatch, HeaderTest, HostPattern, HostShape, MethodSet,
    PATH_PATTERN_BYTES_MAX, PathPattern, split_port,
};
pub use plugin::Plugin;
pub use pool::{
    ActiveCheck, Algorithm, CheckHeaders, CheckProtocol, Endpoint, HashOn, HeaderText,
    PassiveCheck, Pool, Statuses, Thresholds, WEIGHT_MAX, is_service_name,
};
pub use regex::compile_regex;
pub use route::{
    End, HttpsRedirect, PathHandling, ROUTE_VALUES_MAX, Route, RouteProtocol, StreamEnds,
};
pub use server::{Server, Standing};
pub use service::{Namespace, Protocol, ProxyHeader, RETRIES_DEFAULT, Service};
pub use session_policy::{Role, SessionPolicy, SessionRouter};
pub use share::HealthyShare;
pub use snapshot::Snapshot;
