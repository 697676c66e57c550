//! Joins those who follow the table to its publication, the active checks of pools among them.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use crate::upstream::Prober;

/// How long after a publication probes take note of it, so that a burst of writes costs one look.
const PROBES_FOLLOW_AFTER: Duration = Duration::from_millis(50);

impl Site<'_> {
    /// Tells whoever follows that there is a new table.
    pub(super) fn publication(&self) -> Box<dyn Fn() + Send> {
        let told = self.published.clone();
        Box::new(move || told.send_modify(|()| ()))
    }

    /// Active checks of the pools in use, until nobody publishes any more.
    pub(super) fn probe(&self) {
        let (prober, current) = (
            Prober::spawn(self.client.clone()),
            Arc::clone(&self.current),
        );
        let mut published = self.published.subscribe();
        tokio::spawn(async move {
            loop {
                let table = current.load();
                let checked = table.backends().filter(|(pool, _)| pool.is_checked());
                prober.follow(checked.map(|(pool, _)| Arc::clone(pool)).collect());
                drop(table);
                if published.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(PROBES_FOLLOW_AFTER).await;
            }
        });
    }
}
