//! What the data plane knows: read here, and told here.

use std::sync::Arc;

use crate::model::Id;
use crate::upstream::{ServerState, ServerStates};

/// The live state beside the registry. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Live {
    servers: ServerStates,
}

impl Live {
    pub const fn new(servers: ServerStates) -> Self {
        Self { servers }
    }

    /// A server's state. One that is in no table has a fresh one.
    pub(super) fn server(&self, id: Id) -> Arc<ServerState> {
        self.servers.of(id)
    }
}
