//! A connection for an attempt: one that waits for its next request, or a new one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tokio::net::TcpStream;

use super::Lane;
use super::alarm::Alarm;
use super::pool::{Care, Key};
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Kind;

impl Lane {
    /// A connection to the endpoint chosen, and where it belongs when it is idle again.
    pub(super) async fn connect(
        &self,
        care: Option<Care>,
        x: &mut Exchange,
        alarm: &mut Alarm,
    ) -> Result<(Key, TcpStream), Kind> {
        let (Some(matched), Some(pick)) = (&x.matched, &x.attempt.pick) else {
            return Err(Kind::NoEndpoint);
        };
        let key = Key {
            address: pick.addr(),
            settings: matched.service.connection_key(),
        };
        let now = Instant::now();
        let kept = care.and_then(|care| self.pool.take(key, care, now));
        x.attempt.reused = kept.is_some();
        let stream = match kept {
            Some(stream) => stream,
            None => {
                let time = matched.service.spec().connect_timeout;
                dial(key.address, now + time, alarm).await?
            }
        };
        Ok((key, stream))
    }
}

async fn dial(
    address: SocketAddr,
    deadline: Instant,
    alarm: &mut Alarm,
) -> Result<TcpStream, Kind> {
    let mut connecting = pin!(TcpStream::connect(address));
    let stream = poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(made) => Poll::Ready(made.map_err(|error| Kind::of_connect(&error))),
        Poll::Pending => alarm.poll(deadline, cx).map(|()| Err(Kind::ConnectTimeout)),
    })
    .await?;
    // Without it a small write waits for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|_| Kind::ConnectFailed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_connection_is_made_refused_or_late() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut alarm = Alarm::default();
        let later = Instant::now() + Duration::from_secs(60);
        let made = dial(address, later, &mut alarm).await.unwrap();
        assert!(made.nodelay().unwrap());
        drop(listener);
        let refused = dial(address, later, &mut alarm).await;
        assert_eq!(refused.unwrap_err(), Kind::ConnectRefused);
        // TEST-NET-1 (RFC 5737): nobody answers, or the machine has no route.
        let nowhere = "192.0.2.1:9".parse().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        let late = dial(nowhere, soon, &mut alarm).await.unwrap_err();
        assert!(matches!(
            late,
            Kind::ConnectTimeout | Kind::Unreachable | Kind::ConnectRefused
        ));
    }
}
