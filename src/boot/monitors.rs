//! Joins monitors to the registry, and to the live state that they set.

use tokio::task::JoinHandle;

use super::{Fault, Site};
use crate::monitor::Monitors;
use crate::registry::Registry;
use crate::upstream::{ServerStates, Servers};

impl Site<'_> {
    /// Starts the monitors that are stored, and follows those that come.
    pub(super) fn monitors(
        &self,
        registry: &Registry,
        states: &ServerStates,
    ) -> Result<(Monitors, JoinHandle<()>), Fault> {
        let names = Servers::of(&self.settings.proxy.name_servers);
        let (registry, states) = (registry.clone(), states.clone());
        let monitors = Monitors::register(registry, states, names, &self.metrics);
        let monitors = monitors.map_err(Fault::machine)?;
        let published = self.published.subscribe();
        let following = tokio::spawn(monitors.clone().follow(published));
        Ok((monitors, following))
    }
}
