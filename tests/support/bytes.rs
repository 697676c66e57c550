//! Servers and clients that speak no HTTP: sockets, and what is read from them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::wait::PATIENCE;

/// A server on a free port of the loopback address; each connection has a thread of its own. It
/// takes no more once it is dropped.
pub struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (accepted, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let serve = Arc::new(serve);
        let (counter, stopped) = (Arc::clone(&accepted), Arc::clone(&stop));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                patient(&stream);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self {
            address,
            accepted,
            stop,
        }
    }

    /// Says `greeting` first, then sends back what it gets, to its end.
    pub fn greeting(greeting: &'static str) -> Self {
        Self::start(move |mut stream| {
            let said = stream.write_all(greeting.as_bytes());
            let _ = said.and_then(|()| io::copy(&mut stream.try_clone()?, &mut stream));
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    /// Says its own name first, then sends back what it gets, to its end.
    pub fn named(name: &str) -> Self {
        let name = name.to_owned();
        Self::start(move |mut stream| {
            let said = stream.write_all(name.as_bytes());
            let _ = said.and_then(|()| io::copy(&mut stream.try_clone()?, &mut stream));
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn patient(stream: &TcpStream) {
    let set = stream.set_read_timeout(Some(PATIENCE));
    set.and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_nodelay(true))
        .expect("options of a fresh socket");
}

/// A connection on which nothing waits for ever.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address);
    let stream = stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
    patient(&stream);
    stream
}

/// A connection from another address of this machine.
#[track_caller]
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    );
    let socket = socket.expect("a socket");
    socket
        .bind(&SocketAddr::new(source, 0).into())
        .expect("an own address");
    socket.connect(&address.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    patient(&stream);
    stream
}

/// Exactly so many bytes.
#[track_caller]
pub fn read(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = stream.read_exact(&mut bytes);
    read.unwrap_or_else(|error| panic!("reading {count} bytes: {error}"));
    bytes
}

/// Everything until the other side is done.
#[track_caller]
pub fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    read.unwrap_or_else(|error| panic!("reading to the end: {error}"));
    bytes
}

/// Whether the connection ends, in peace or not, before anything more arrives.
pub fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
    }
}

/// Bytes that look like no others, the same for the same seed.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
