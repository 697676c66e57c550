//! The process around a gateway: its store, its signals, its end.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::demo as show;
use super::{Fault, Running, logging};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::registry;
use crate::registry::{ConfigMetrics, NoSockets, Parts, Registry};
use crate::store::{Memory, Redb};
use crate::table::{Compiler, Current, Problem};
use crate::tls::Sessions;
use crate::upstream::{Endpoints, Resolver, Servers};

/// Threads of the admin side: one may read a long document while the other answers.
const ADMIN_THREADS: usize = 2;

fn runtime() -> Result<Runtime, Fault> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder
        .worker_threads(ADMIN_THREADS)
        .thread_name("admin")
        .enable_all()
        .build()?)
}

/// Serves what is in the data directory until SIGTERM or SIGINT.
///
/// # Errors
/// [`Fault`] where it cannot start.
pub fn run(settings: &Settings, upgrade: bool) -> Result<(), Fault> {
    logging::start(&settings.log);
    runtime()?.block_on(async {
        let store = Redb::open(&settings.data)?;
        let running = super::start(settings, Box::new(store)).await?;
        for (name, address) in running.addresses() {
            tracing::info!(%address, "{name} listens");
        }
        tracing::info!(address = %running.admin(), upgrade, "the admin API listens");
        serve_until_told(running).await
    })
}

/// A gateway to try, with nothing kept.
///
/// # Errors
/// [`Fault`] where it cannot start.
pub fn demo(mut settings: Settings) -> Result<(), Fault> {
    logging::start(&settings.log);
    let scratch = std::env::temp_dir().join(format!("sluicegate-demo-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    settings.data.clone_from(&scratch);
    let outcome = runtime()?.block_on(async {
        let running = super::start(&settings, Box::new(Memory::default())).await?;
        let origins = show::furnish(&running).await?;
        show::tell(&running, &settings, origins)?;
        serve_until_told(running).await
    });
    // Whatever is left there is the system's to clean.
    let _ = std::fs::remove_dir_all(scratch);
    outcome
}

/// The first SIGTERM or SIGINT drains; a second one ends at once.
async fn serve_until_told(running: Running) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    told().await;
    tracing::info!("draining; a second signal ends at once");
    tokio::select! {
        () = running.stop() => tracing::info!("ended"),
        () = told() => tracing::warn!("ended without draining"),
    }
    Ok(())
}

/// A registry over the data directory, without any traffic.
///
/// # Errors
/// The store's, or `work`'s.
pub fn offline<T, F>(
    settings: &Settings,
    work: impl FnOnce(Registry) -> F,
) -> Result<(T, Vec<Problem>), Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    runtime()?.block_on(async {
        let store = Redb::open(&settings.data)?;
        let sessions = Sessions::new().map_err(Fault::machine)?;
        let (registry, problems) = registry::open(Parts {
            store: Box::new(store),
            compiler: Compiler::new(Endpoints::new(), sessions, None),
            sockets: Box::new(NoSockets),
            current: Arc::new(Current::default()),
            names: Resolver::spawn(&Servers::These(Vec::new())).map_err(Fault::machine)?,
            metrics: ConfigMetrics::register(&Metrics::new()).map_err(Fault::machine)?,
            published: Box::new(|| ()),
        })?;
        Ok((work(registry).await?, problems))
    })
}
