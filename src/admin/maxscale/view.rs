//! What a request that only looks is answered from.

use std::sync::Arc;

use crate::model::Snapshot;

use super::MaxScale;
use super::links::Links;
use super::live::Live;

/// One snapshot, the live state beside it, and where links lead.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) maxscale: &'a MaxScale,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) live: &'a Live,
    pub(super) links: &'a Links,
}
