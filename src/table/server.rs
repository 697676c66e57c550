//! A server as a table holds it: what the operator wrote, and its live state.

use std::sync::Arc;

use crate::model;
use crate::model::Entity;
use crate::upstream::ServerState;

/// A server, compiled. Holds the live state for as long as the server is in use.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) entity: Arc<Entity>,
    pub(super) state: Arc<ServerState>,
}

impl Server {
    /// What the operator allows it, from now on.
    pub(super) fn settle(&self) {
        if let Some(server) = self.entity.as_kind::<model::Server>() {
            self.state.stand(server.standing);
        }
    }
}
