//! *Choosing an endpoint.* The mouth is [`Pool::pick`], [`Pick::observe`] and [`Endpoint::health`].
//!
//! A [`Pool`] is compiled with its table and immutable. What changes while requests run (in-flight
//! slots, health, counts) is live state behind `Arc`s, kept by [`Endpoints`] across tables.

mod checks;
mod endpoint;
mod hangup;
mod hash;
mod health;
mod latency;
mod pick;
mod policy;
mod pool;
mod presence;
mod probe;
mod resolve;
mod server;
mod spread;
mod tally;

pub use checks::Outcome;
pub use endpoint::{Endpoint, EndpointHealth, Endpoints, Failures};
pub use hangup::{Hangup, Reason};
pub use hash::key;
pub use health::Health;
pub use policy::{Member, Policy, Unresolved};
pub use pool::{NoEndpoint, Pick, Pool, Tried};
pub use presence::{Presence, Presences};
pub use probe::Prober;
pub use resolve::{Address, NoResolver, Resolved, Resolver, Served, Servers, is_name};
pub use server::{ServerConnection, ServerState, ServerStates, Status};
pub use spread::{Asked, Group, Place, Spread};
pub use tally::{Seat, SessionCounts, Tallies, Tally};
