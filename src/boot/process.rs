//! The process around a gateway: its store, its signals, its end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::demo as show;
use super::{Concern, Fault, Running, access_file, logging};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::net::handover::{Legacy, Offer};
use crate::registry;
use crate::registry::{ConfigMetrics, Error, NoSockets, Parts, Registry};
use crate::store::{Memory, Redb, Store, StoreError};
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

/// How long the process before us may take to let go of the store.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// How long a successor may take to get ready: it opens the store and compiles.
const SUCCESSOR_MAX: Duration = Duration::from_secs(60);

/// Serves what is in the data directory until SIGTERM or SIGINT, or until a successor has taken
/// over. With `upgrade`, takes over from the process that serves it now, if there is one.
///
/// # Errors
/// [`Fault`] where it cannot start.
pub fn run(settings: &Settings, upgrade: bool) -> Result<(), Fault> {
    logging::start(&settings.log);
    runtime()?.block_on(async {
        // Heard from here on: a signal ends a start that is under way, and is never the default's,
        // which would end a process that says it serves without draining.
        let mut signals = Signals::new()?;
        let (running, offer) = tokio::select! {
            begun = begin(settings, upgrade) => begun?,
            () = signals.next() => return Ok(()),
        };
        announce(&running);
        let succeeded = succeeded(settings, offer.as_ref(), &running);
        tokio::select! {
            () = signals.next() => {}
            () = succeeded => tracing::info!("a successor serves"),
        }
        drain(running, signals).await
    })
}

async fn begin(settings: &Settings, upgrade: bool) -> Result<(Running, Option<Offer>), Fault> {
    let legacy = if upgrade {
        Legacy::take(&settings.upgrade.socket)?
    } else {
        None
    };
    let patience = legacy.as_ref().map_or(Duration::ZERO, |_| RELEASE_MAX);
    let store = open_store(settings, patience).await?;
    let running = super::succeed(settings, Box::new(store), legacy).await?;
    Ok((running, offer(settings)))
}

fn announce(running: &Running) {
    for (name, address) in running.addresses() {
        tracing::info!(%address, "{name} listens");
    }
    let dialects = [
        ("polaris", running.polaris()),
        ("maxscale", running.maxscale()),
    ];
    for (name, address) in dialects {
        if let Some(address) = address {
            tracing::info!(%address, "{name} listens");
        }
    }
    tracing::info!(address = %running.admin(), "the admin API listens");
}

/// Opens the store; for a while again where another process still has it.
async fn open_store(settings: &Settings, patience: Duration) -> Result<Redb, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        match Redb::open(&settings.data) {
            Err(StoreError::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened,
        }
    }
}

/// Where the next binary finds us; without, it has to wait until we have ended.
fn offer(settings: &Settings) -> Option<Offer> {
    let path = &settings.upgrade.socket;
    let warn = |error: &std::io::Error| {
        tracing::warn!(path = %path.display(), %error, "no upgrade without a gap: upgrade.socket");
    };
    Offer::open(path).inspect_err(warn).ok()
}

/// Completes when a successor serves on our sockets.
async fn succeeded(settings: &Settings, offer: Option<&Offer>, running: &Running) {
    let Some(offer) = offer else {
        return std::future::pending().await;
    };
    let registry = &running.registry;
    let release = async || registry.release_store().await;
    let reclaim = async || {
        let store = open_store(settings, RELEASE_MAX).await.map_err(Error::from);
        let reclaimed = match store {
            Ok(store) => registry.reclaim_store(Box::new(store)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = reclaimed {
            tracing::error!(%error, "the store is not back: nothing can be changed until a restart");
        }
    };
    let taken = offer
        .taken(running.listeners(), SUCCESSOR_MAX, release, reclaim)
        .await;
    if let Err(error) = taken {
        tracing::error!(%error, "upgrades are not offered any more");
        std::future::pending().await
    }
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
        let mut signals = Signals::new()?;
        let running = super::start(&settings, Box::new(Memory::default())).await?;
        let origins = show::furnish(&running).await?;
        show::tell(&running, &settings, origins)?;
        signals.next().await;
        drain(running, signals).await
    });
    // Whatever is left there is the system's to clean.
    let _ = std::fs::remove_dir_all(scratch);
    outcome
}

/// SIGTERM and SIGINT, which mean the same; SIGHUP and SIGUSR1, by which rotators of logs ask for a
/// fresh file; and SIGUSR2, by which nginx is upgraded, so that nobody who is used to that ends us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that ends the process.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => access_file::reopen(),
                _ = self.user1.recv() => access_file::reopen(),
                _ = self.user2.recv() => tracing::warn!("to upgrade, start the new binary with `run --upgrade`"),
            }
        }
    }
}

/// Lets requests in flight end; a signal ends everything at once.
async fn drain(running: Running, mut signals: Signals) -> Result<(), Fault> {
    tracing::info!("draining; a second signal ends at once");
    tokio::select! {
        () = running.stop() => tracing::info!("ended"),
        () = signals.next() => tracing::warn!("ended without draining"),
    }
    Ok(())
}

/// What a command does where there is no registry yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make one.
    Make,
    /// Look at an empty one, and make nothing.
    Imagine,
    /// Fail.
    Refuse,
}

fn store(settings: &Settings, missing: Missing) -> Result<Box<dyn Store>, Fault> {
    let data = &settings.data;
    if missing == Missing::Make {
        return Ok(Box::new(Redb::open(data)?));
    }
    match Redb::existing(data)? {
        Some(store) => Ok(Box::new(store)),
        None if missing == Missing::Imagine => Ok(Box::new(Memory::default())),
        None => {
            let why = "holds no registry; set `data` or --data to the directory of one";
            Err(Fault::new(
                Concern::Store,
                format!("{} {why}", data.display()),
            ))
        }
    }
}

/// A registry over the data directory, without any traffic.
///
/// # Errors
/// The store's, or `work`'s.
pub fn offline<T, F>(
    settings: &Settings,
    missing: Missing,
    work: impl FnOnce(Registry) -> F,
) -> Result<(T, Vec<Problem>), Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    runtime()?.block_on(async {
        let store = store(settings, missing)?;
        let sessions = Sessions::new().map_err(Fault::machine)?;
        let (registry, problems) = registry::open(Parts {
            store,
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
