use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::Waker;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Far above what anything here takes.
const LONG: Duration = Duration::from_secs(60);

const PATIENCE: Patience = Patience {
    idle: Some(LONG),
    silent: None,
    stalled: LONG,
};

/// A socket that may say of itself that it is none to be moved by the kernel.
struct Plain {
    stream: TcpStream,
    bare: bool,
    over: Arc<(AtomicBool, OnceLock<Waker>)>,
}

impl Side for Plain {
    fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn is_bare(&self) -> bool {
        self.bare
    }

    fn is_ended(&self, waker: &Waker) -> bool {
        self.over.1.get_or_init(|| waker.clone());
        self.over.0.load(Ordering::SeqCst)
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Somebody outside, and the relay's socket to it.
async fn pair(bare: bool) -> (TcpStream, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (outside, inside) = tokio::join!(TcpStream::connect(address), listener.accept());
    let side = Plain {
        stream: inside.unwrap().0,
        bare,
        over: Arc::default(),
    };
    (outside.unwrap(), side)
}

fn text(seed: u8, count: usize) -> Vec<u8> {
    let word = |n: usize| u8::try_from((n * 31 + n / 251) % 251).unwrap() ^ seed;
    (0..count).map(word).collect()
}

/// Says everything and is done, and hears everything meanwhile.
async fn talk(stream: TcpStream, say: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let saying = async move {
        writer.write_all(&say).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut heard), saying);
    read.unwrap();
    heard
}

#[tokio::test]
async fn whatever_carries_them_bytes_arrive_whole_and_in_order() {
    for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
        for (up, down) in [(0, 0), (1, 0), (5 << 20, 3 << 20), (100, 4 << 20)] {
            let ((client, ours), (origin, theirs)) = (pair(left).await, pair(right).await);
            let mut relay = Relay::new(ours, theirs, Arc::default(), PATIENCE);
            let talking =
                async { tokio::join!(talk(client, text(1, up)), talk(origin, text(2, down))) };
            let told = Mutex::new((0, 0));
            let carried = |up, down| {
                let mut told = told.lock().unwrap();
                *told = (told.0 + up, told.1 + down);
            };
            let (cause, (by_client, by_origin)) = tokio::join!(relay.run(carried), talking);
            assert_eq!(*told.lock().unwrap(), relay.carried());
            assert_eq!(cause, Cause::Closed);
            assert_eq!(relay.carried(), (up as u64, down as u64));
            assert!(by_client == text(2, down) && by_origin == text(1, up));
        }
    }
}

#[tokio::test]
async fn much_goes_by_pipe_and_the_pipes_come_back() {
    let ((client, ours), (origin, theirs)) = (pair(true).await, pair(true).await);
    let supplies = Arc::new(Supplies::default());
    let mut relay = Relay::new(ours, theirs, Arc::clone(&supplies), PATIENCE);
    let talking = async {
        tokio::join!(talk(client, text(1, 8 << 20)), talk(origin, Vec::new()));
    };
    tokio::join!(relay.run(|_, _| {}), talking);
    assert!(supplies.pipes.is_used(), "one was made and given back");
}

#[tokio::test]
async fn silence_ends_a_session_and_so_does_a_reader_that_does_not_read() {
    let short = Duration::from_millis(50);
    let quiet = Patience {
        idle: Some(short),
        ..PATIENCE
    };
    let ((mut client, ours), (_origin, theirs)) = (pair(true).await, pair(true).await);
    let mut relay = Relay::new(ours, theirs, Arc::default(), quiet);
    assert_eq!(relay.run(|_, _| {}).await, Cause::Idle);
    drop(relay);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "in peace");

    let patient = Patience {
        stalled: short,
        ..PATIENCE
    };
    let ((mut client, ours), (_origin, theirs)) = (pair(true).await, pair(true).await);
    let sending = tokio::spawn(async move { client.write_all(&vec![0; 64 << 20]).await });
    let mut relay = Relay::new(ours, theirs, Arc::default(), patient);
    assert_eq!(relay.run(|_, _| {}).await, Cause::Stalled);
    drop(relay);
    assert!(sending.await.unwrap().is_err());
}

#[tokio::test]
async fn what_the_endpoint_said_before_it_went_away_is_handed_on() {
    let ((mut client, ours), (mut origin, theirs)) = (pair(true).await, pair(true).await);
    origin.write_all(b"421 too busy").await.unwrap();
    drop(origin);
    let mut relay = Relay::new(ours, theirs, Arc::default(), PATIENCE);
    let (said, heard) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let outside = async {
        let mut space = [0; 12];
        client.read_exact(&mut space).await.unwrap();
        heard.lock().unwrap().extend(space);
        // Until the relay finds that nobody takes it.
        while client.write_all(&[0; 1 << 10]).await.is_ok() {
            said.lock().unwrap().push(());
            if said.lock().unwrap().len() > 1 << 16 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let carried = async {
        let cause = relay.run(|_, _| {}).await;
        drop(relay);
        cause
    };
    let (cause, ()) = tokio::join!(carried, outside);
    assert_eq!(cause, Cause::EndpointReset);
    assert_eq!(*heard.lock().unwrap(), b"421 too busy");
}

#[tokio::test]
async fn a_session_ended_from_outside_ends_whatever_it_waits_for() {
    let ((mut client, ours), (_origin, theirs)) = (pair(true).await, pair(true).await);
    client.shutdown().await.unwrap();
    let over = Arc::clone(&ours.over);
    let mut relay = Relay::new(ours, theirs, Arc::default(), PATIENCE);
    let ending = async {
        // The relay has seen the client's end and waits for the endpoint's.
        while over.1.get().is_none() {
            tokio::task::yield_now().await;
        }
        over.0.store(true, Ordering::SeqCst);
        over.1.get().unwrap().wake_by_ref();
    };
    let (cause, ()) = tokio::join!(relay.run(|_, _| {}), ending);
    assert_eq!(cause, Cause::Drained);
}
