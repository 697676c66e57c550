//! *How people speak to the registry.* Dialects, each a router behind a [`door`], and the server they
//! run on.
//!
//! No dialect names another, the store, or the table: everything is read and written through the
//! registry. What only the data plane knows is asked through functions that `boot` hands in.

pub mod auth;
pub mod calls;
pub mod door;
pub mod gateway;
pub mod json;
pub mod kong;
pub mod maxscale;
pub mod native;
pub mod page;
pub mod polaris;
pub mod problem;
mod rate;
pub mod serve;
pub mod status;

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;

use auth::Access;
use calls::Calls;
use door::Door;
use kong::Kong;
use native::Native;
use problem::Details;

/// The admin side: who may enter, how often, and what is counted.
#[derive(Debug)]
pub struct Admin {
    pub access: Arc<Access>,
    /// Calls a second, over all clients of one dialect; none is no bound. A bound is for ports that
    /// strangers reach: on loopback it would only slow down whoever configures the gateway.
    pub calls_per_second: Option<NonZeroU32>,
    pub calls: Calls,
}

impl Admin {
    /// The admin port: the native API at `/api` and `/metrics`, and Kong's everywhere else where it
    /// is switched on, each behind its door.
    pub fn port(&self, native: Native, kong: Option<Kong>) -> Router {
        let mut door = self.door("native");
        door.exceptions = Native::exceptions();
        let Some(kong) = kong else {
            return door.before(native.router().fallback(nothing_here));
        };
        let mut kongs = self.door("kong");
        kongs.refusal = kong::refusal;
        let kong = kongs.before(kong::router(kong));
        door.before(native.router()).fallback_service(kong)
    }

    /// A door for another dialect, which sets its own exceptions and the look of its refusals.
    pub fn door(&self, dialect: &'static str) -> Door {
        let access = Arc::clone(&self.access);
        Door::new(dialect, access, self.calls_per_second, self.calls.clone())
    }
}

async fn nothing_here() -> Details {
    Details::not_found("no resource has this path; /api/docs lists them")
}
