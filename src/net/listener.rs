//! The addresses the data plane listens on: bound, activated and removed while it runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::model::Id;
use crate::net::admission::Admission;
use crate::net::bind;
use crate::net::bind::{BindError, Claim, Families};
use crate::net::serve::{Door, Shared};
use crate::net::stats::Stats;
use crate::proxy::connection::{Entrance, Role, Scheme};

/// After connections were closed by force, how long their tasks may take to notice.
const CLOSING: Duration = Duration::from_secs(1);

/// What to listen on.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The listener entity; `None` for a port of the configuration file.
    pub id: Option<Id>,
    pub name: Box<str>,
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    pub scheme: Scheme,
    /// Whose connections the address takes. Default its own family's.
    pub families: Families,
    /// Every connection must begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    pub role: Role,
    /// Listener entities that will have left when this one accepts: their addresses may be taken.
    pub leaving: Vec<Id>,
}

/// How much a worker has to do, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks that are alive: one for each connection, and a few of the worker's own.
    pub tasks: usize,
    /// Tasks that others gave it and that wait for their turn.
    pub queued: usize,
    /// Connections taken from the kernel so far.
    pub accepted: u64,
    /// How long it was not asleep so far.
    pub busy: Duration,
}

/// A worker as listeners need it.
pub trait Host: Send + Sync {
    fn load(&self) -> Load;

    /// Puts a socket into the worker's event queue.
    fn adopt(&self, socket: std::net::TcpListener) -> std::io::Result<TcpListener>;

    /// Accepts from `socket` until `door` drains and its queue is empty.
    fn accept(&self, socket: Arc<TcpListener>, door: Door) -> JoinHandle<()>;

    /// Closes what is left of the entrance's connections after `grace`.
    fn close_after(&self, entrance: Arc<Entrance>, grace: Duration);
}

/// Every listening address of the process. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Listeners(Arc<Inner>);

struct Inner {
    hosts: Vec<Arc<dyn Host>>,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    inherited: HashMap<SocketAddr, Vec<std::net::TcpListener>>,
    /// Another process may accept from the same sockets.
    shared: bool,
    /// Listeners that are gone, and whose sessions go on.
    outlived: Vec<Weak<Entrance>>,
}

/// A listener that accepts.
struct Open {
    entrance: Arc<Entrance>,
    address: SocketAddr,
    sockets: Vec<Arc<TcpListener>>,
    /// One for each host, so that waking the waiting connections of one never contends with
    /// another.
    drains: Vec<watch::Sender<bool>>,
    loops: Vec<JoinHandle<()>>,
}

/// An address reserved: connections queue in the kernel and are not accepted yet. Dropping it
/// lets the address go.
pub struct Bound {
    listeners: Listeners,
    entrance: Arc<Entrance>,
    address: SocketAddr,
    sockets: Vec<(usize, Arc<TcpListener>)>,
}

/// One listening address, as the next process takes it over.
#[derive(Debug)]
pub struct Inheritable {
    pub address: SocketAddr,
    pub sockets: Vec<Arc<TcpListener>>,
}

impl Listeners {
    pub fn new(hosts: Vec<Arc<dyn Host>>, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            hosts,
            shared,
            state: Mutex::default(),
        }))
    }

    /// How much each worker has to do.
    pub fn loads(&self) -> Vec<Load> {
        self.0.hosts.iter().map(|host| host.load()).collect()
    }

    /// Reserves an address: synchronously, so that who asks can be told no. A second listener
    /// with the id of one that is open may take the same address, to replace it.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(&self, spec: &Spec) -> Result<Bound, BindError> {
        let claim = self.claim(spec)?;
        let inherited = self
            .state()
            .inherited
            .remove(&spec.address)
            .unwrap_or_default();
        let sockets = self.sockets(spec, claim, inherited)?;
        let unknown = |source| BindError::Other {
            address: spec.address,
            source,
        };
        let sockets = self.place(sockets).map_err(unknown)?;
        let first = sockets
            .first()
            .and_then(|(_, socket)| socket.local_addr().ok());
        Ok(Bound {
            listeners: self.clone(),
            entrance: Arc::new(self.entrance(spec)),
            address: first.unwrap_or(spec.address),
            sockets,
        })
    }

    fn entrance(&self, spec: &Spec) -> Entrance {
        let mut entrance = Entrance::new(spec.name.clone(), spec.scheme);
        entrance.listener = spec.id;
        entrance.role = spec.role;
        entrance.proxy_protocol = spec.proxy_protocol;
        let totals = self.0.shared.totals.as_ref();
        entrance.totals = totals.map(|totals| totals.listener(&spec.name));
        entrance
    }

    fn claim(&self, spec: &Spec) -> Result<Claim, BindError> {
        let state = self.state();
        let yields = |id: Id| spec.id == Some(id) || spec.leaving.contains(&id);
        let yields = |open: &&Open| open.entrance.listener.is_some_and(yields);
        let overlaps = |open: &Open| {
            let wide = open.address.ip().is_unspecified() || spec.address.ip().is_unspecified();
            open.address == spec.address || (wide && open.address.port() == spec.address.port())
        };
        if state.open.iter().filter(yields).any(overlaps) {
            return Ok(Claim::Beside);
        }
        let taken = state.open.iter().find(|open| open.address == spec.address);
        match taken {
            None => Ok(Claim::Exclusive),
            Some(open) => Err(BindError::Taken {
                address: spec.address,
                by: open.entrance.name.clone(),
            }),
        }
    }

    /// At least one socket for each host; all of the inherited ones, since connections may be
    /// queued on each.
    fn sockets(
        &self,
        spec: &Spec,
        claim: Claim,
        mut inherited: Vec<std::net::TcpListener>,
    ) -> Result<Vec<std::net::TcpListener>, BindError> {
        let missing = self.0.hosts.len().saturating_sub(inherited.len());
        let claim = if inherited.is_empty() {
            claim
        } else {
            Claim::Beside
        };
        if missing > 0 {
            let (address, families) = (spec.address, spec.families);
            inherited.extend(bind::bind(address, missing, claim, families)?);
        }
        Ok(inherited)
    }

    fn place(
        &self,
        sockets: Vec<std::net::TcpListener>,
    ) -> std::io::Result<Vec<(usize, Arc<TcpListener>)>> {
        let hosts = self.0.hosts.iter().enumerate().cycle();
        let placed = sockets.into_iter().zip(hosts);
        placed
            .map(|(socket, (at, host))| Ok((at, Arc::new(host.adopt(socket)?))))
            .collect()
    }

    /// Ends the listener entity `id`: its sockets are closed when this resolves, its idle
    /// connections end in a moment, and requests under way end within `grace`. Connections of bytes go on
    /// for as long as both sides like. False: there is none.
    pub async fn remove(&self, id: Id, grace: Duration) -> bool {
        let removed = self.take(|open| open.entrance.listener == Some(id));
        let name = removed.first().map(|open| open.entrance.name.clone());
        let (bytes, requests): (Vec<_>, Vec<_>) = removed
            .into_iter()
            .partition(|open| open.entrance.scheme.is_stream());
        self.outlive(&bytes);
        self.drain(bytes, None).await;
        self.drain(requests, Some(grace)).await;
        if let Some(name) = &name {
            self.forget(name);
        }
        name.is_some()
    }

    /// Remembers whose connections are to end with the process at last.
    fn outlive(&self, removed: &[Open]) {
        let mut state = self.state();
        state
            .outlived
            .retain(|entrance| entrance.strong_count() > 0);
        let gone = removed.iter().map(|open| Arc::downgrade(&open.entrance));
        state.outlived.extend(gone);
    }

    /// The counters of a name go with its last listener.
    fn forget(&self, name: &str) {
        let state = self.state();
        let is_there = state.open.iter().any(|open| &*open.entrance.name == name);
        if let (Some(totals), false) = (&self.0.shared.totals, is_there) {
            totals.forget(name);
        }
    }

    /// Ends every listener and resolves when the last connection has, at most `grace` later and
    /// the moment that force takes. Says how many connections are left: zero, or a client's
    /// descriptor is stuck in the kernel.
    pub async fn drain_all(&self, grace: Duration) -> usize {
        let removed = self.take(|_| true);
        let outlived = std::mem::take(&mut self.state().outlived);
        for entrance in outlived.iter().filter_map(Weak::upgrade) {
            self.close_after(&entrance, grace);
        }
        self.drain(removed, Some(grace)).await;
        let admission = self.admission();
        let _ = tokio::time::timeout(grace + CLOSING, admission.empty()).await;
        admission.live()
    }

    /// Connections that are open, of all listeners.
    pub fn connections(&self) -> usize {
        self.admission().live()
    }

    /// What has become of connections so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.0.shared.stats
    }

    /// Whether a listener of the registry accepts now.
    pub fn is_open(&self, listener: Id) -> bool {
        let state = self.state();
        let mut ids = state.open.iter().map(|open| open.entrance.listener);
        ids.any(|id| id == Some(listener))
    }

    /// The addresses that accept now, by listener name.
    pub fn addresses(&self) -> Vec<(Box<str>, SocketAddr)> {
        let state = self.state();
        state
            .open
            .iter()
            .map(|open| (open.entrance.name.clone(), open.address))
            .collect()
    }

    /// The listening sockets, for the process that comes after this one.
    pub fn inheritable(&self) -> Vec<Inheritable> {
        let mut state = self.state();
        state.shared = true;
        let open = state.open.iter();
        open.map(|open| Inheritable {
            address: open.address,
            sockets: open.sockets.clone(),
        })
        .collect()
    }

    /// Sockets of the process before this one: whoever binds their address gets them.
    pub fn inherit(&self, sockets: impl IntoIterator<Item = (SocketAddr, std::net::TcpListener)>) {
        let mut state = self.state();
        for (address, socket) in sockets {
            state.inherited.entry(address).or_default().push(socket);
        }
    }

    /// Closes the inherited sockets that nobody has bound; says which addresses those were.
    pub fn disown(&self) -> Vec<SocketAddr> {
        self.state()
            .inherited
            .drain()
            .map(|(address, _)| address)
            .collect()
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.0.shared.admission
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while holding it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, which: impl Fn(&Open) -> bool) -> Vec<Open> {
        self.state()
            .open
            .extract_if(.., |open| which(open))
            .collect()
    }

    fn close_after(&self, entrance: &Arc<Entrance>, grace: Duration) {
        for host in &self.0.hosts {
            host.close_after(Arc::clone(entrance), grace);
        }
    }

    /// Without `grace`, connections are left to themselves.
    async fn drain(&self, mut removed: Vec<Open>, grace: Option<Duration>) {
        let shared = self.state().shared;
        for open in &mut removed {
            if !shared {
                open.sockets.iter().for_each(|socket| bind::deafen(socket));
            }
            // Each accept loop then has the last hold on its socket, and closes it the moment its
            // queue is empty: what came after would be reset.
            open.sockets.clear();
            open.entrance.drain();
            open.drains
                .iter()
                .for_each(|drain| drain.send_modify(|drain| *drain = true));
            if let Some(grace) = grace {
                self.close_after(&open.entrance, grace);
            }
        }
        for open in removed {
            open.end().await;
        }
    }
}

impl Open {
    /// Waits for the accept loops and closes the sockets.
    async fn end(self) {
        for accepting in self.loops {
            // A loop that panicked has let its socket go as well.
            let _ = accepting.await;
        }
    }
}

impl Bound {
    /// Where it listens: the port the kernel chose, if it was asked to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts from now on.
    pub fn activate(self) {
        let hosts = &self.listeners.0.hosts;
        let drains: Vec<_> = hosts.iter().map(|_| watch::channel(false).0).collect();
        let mut loops = Vec::with_capacity(self.sockets.len());
        for (at, socket) in &self.sockets {
            if let (Some(host), Some(drain)) = (hosts.get(*at), drains.get(*at)) {
                let door = Door {
                    entrance: self.entrance.clone(),
                    drain: drain.subscribe(),
                };
                loops.push(host.accept(socket.clone(), door));
            }
        }
        let sockets = self.sockets.into_iter().map(|(_, socket)| socket).collect();
        let open = Open {
            entrance: self.entrance,
            address: self.address,
            sockets,
            drains,
            loops,
        };
        self.listeners.state().open.push(open);
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listeners").field(&self.addresses()).finish()
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("entrance", &self.entrance)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
