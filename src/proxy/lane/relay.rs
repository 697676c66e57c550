//! Both directions of one attempt, in one task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Visit;
use super::alarm::Alarm;
use super::client::{Client, Stalls};
use super::download::{Download, Parties};
use super::upload::Upload;
use super::{download, upload};
use crate::pipe::Pipes;
use crate::proxy::Gateway;
use crate::proxy::failure::Kind;

/// One attempt under way.
pub(super) struct Relay<'r, 'v, C> {
    pub(super) gateway: &'r Gateway,
    pub(super) pipes: &'r Arc<Pipes>,
    pub(super) visit: &'r mut Visit<'v, C>,
    pub(super) upload: &'r mut Upload,
    pub(super) endpoint: TcpStream,
    pub(super) patience: Patience<'r>,
}

impl<C: Client> Relay<'_, '_, C> {
    /// Moves the request up and the response down until both are over. Gives the endpoint's
    /// connection back where another request may follow on it.
    ///
    /// # Errors
    /// Whoever failed, and how.
    pub(super) async fn run(mut self) -> Result<Option<TcpStream>, Kind> {
        let mut download = Download::new();
        poll_fn(|cx| self.advance(&mut download, cx)).await?;
        let reusable = download.leaves_reusable() && self.upload.is_complete();
        Ok(reusable.then_some(self.endpoint))
    }

    fn advance(&mut self, download: &mut Download, cx: &mut Context<'_>) -> Poll<Result<(), Kind>> {
        let visit = &mut *self.visit;
        let mut ends = upload::Ends {
            client: visit.client,
            endpoint: &mut self.endpoint,
            pipes: self.pipes,
            x: &mut visit.x,
        };
        let up = self.upload.advance(&mut ends, cx)?;
        visit.reception.whole = self.upload.is_read();
        let mut parties = Parties {
            gateway: self.gateway,
            pipes: self.pipes,
            request: visit.request,
            client: visit.client,
            endpoint: &mut self.endpoint,
            reception: &mut visit.reception,
            x: &mut visit.x,
        };
        let down = match download.advance(&mut parties, cx) {
            Ok(down) => down,
            Err(kind) => return Poll::Ready(Err(self.blame(kind))),
        };
        let asked = up == upload::Halt::Over || self.visit.client.may_leave_rest();
        if asked && down == download::Halt::Over {
            return Poll::Ready(Ok(()));
        }
        if down != download::Halt::Over && self.upload.is_read() && self.visit.client.is_gone(cx) {
            return Poll::Ready(Err(Kind::ClientGone));
        }
        let moved = self.upload.moved() + download.moved() + self.visit.client.taken();
        self.patience.poll(up, down, moved, cx).map(Err)
    }

    /// An endpoint that would not take the request and then gave no answer failed with the former.
    fn blame(&self, kind: Kind) -> Kind {
        let silent = !self.visit.reception.answered && matches!(kind, Kind::Closed | Kind::Reset);
        self.upload.broken().filter(|_| silent).unwrap_or(kind)
    }
}

/// How long each side is waited for.
#[derive(Debug)]
pub(super) struct Patience<'p> {
    pub(super) alarm: &'p mut Alarm,
    pub(super) read: Duration,
    pub(super) write: Duration,
    /// None: the transport watches the client.
    stalls: Option<Stalls>,
    /// What was waited for when the current wait began, and how many bytes had moved before.
    mark: Option<(Kind, u64)>,
    since: Instant,
}

impl<'p> Patience<'p> {
    pub(super) fn new(
        alarm: &'p mut Alarm,
        read: Duration,
        write: Duration,
        stalls: Option<Stalls>,
    ) -> Self {
        Self {
            alarm,
            read,
            write,
            stalls,
            mark: None,
            since: Instant::now(),
        }
    }

    /// Ready with what was too slow.
    fn poll(
        &mut self,
        up: upload::Halt,
        down: download::Halt,
        moved: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Kind> {
        let Some((kind, limit)) = self.awaited(up, down) else {
            self.mark = None;
            return Poll::Pending;
        };
        if self.mark != Some((kind, moved)) {
            self.mark = Some((kind, moved));
            self.since = Instant::now();
        }
        self.alarm.poll(self.since + limit, cx).map(|()| kind)
    }

    /// Who keeps the exchange waiting, and how long they may. An endpoint that has not all of the
    /// request, or whose response is not taken, waits itself: that is the client's doing.
    fn awaited(&self, up: upload::Halt, down: download::Halt) -> Option<(Kind, Duration)> {
        let client = |limit: fn(&Stalls) -> Duration| {
            let stalls = self.stalls.as_ref()?;
            Some((Kind::ClientTimeout, limit(stalls)))
        };
        match (up, down) {
            (_, download::Halt::Client) => client(|stalls| stalls.response),
            (upload::Halt::Client, _) => client(|stalls| stalls.body),
            (upload::Halt::Endpoint, _) => Some((Kind::WriteTimeout, self.write)),
            (upload::Halt::Over, download::Halt::Endpoint) => Some((Kind::ReadTimeout, self.read)),
            (upload::Halt::Over, download::Halt::Over) => None,
        }
    }
}
