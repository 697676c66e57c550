//! Listening sockets: one for each worker, all on one address.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// Connections the kernel completes ahead of `accept`; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("address {0} is in use: stop what listens there, or choose another port")]
    InUse(SocketAddr),
    #[error(
        "address {address} is taken by listener {by:?}: remove that one, or choose another port"
    )]
    Taken { address: SocketAddr, by: Box<str> },
    #[error("address {0} is not one of this machine: use one of its own, or 0.0.0.0 for all")]
    Foreign(SocketAddr),
    #[error(
        "address {0} needs a privilege: allow CAP_NET_BIND_SERVICE, or choose a port above 1023"
    )]
    Denied(SocketAddr),
    #[error("address {address}: {source}")]
    Other {
        address: SocketAddr,
        source: std::io::Error,
    },
}

impl BindError {
    fn from_io(address: SocketAddr, source: std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::InUse(address),
            ErrorKind::AddrNotAvailable => Self::Foreign(address),
            ErrorKind::PermissionDenied => Self::Denied(address),
            _ => Self::Other { address, source },
        }
    }
}

/// Whether others may already listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else may.
    Exclusive,
    /// Sockets of this process (or inherited ones) do.
    Beside,
}

/// What a wildcard address of IPv6 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv6 alone, so that `::` and `0.0.0.0` can be listeners of their own.
    Own,
    /// IPv4, too.
    Both,
}

/// Binds `count` sockets to `address` and lets the kernel queue connections on them. Port 0
/// becomes a free port, the same for all.
///
/// SO_REUSEPORT lets every process of the same user join in, so a forgotten older gateway would
/// silently take a share of the connections. For [`Claim::Exclusive`] the first socket is
/// therefore bound *without* the option, which fails while anybody listens there, and gets the
/// option afterwards, so that our others may join: the address is never let go in between. A
/// process that binds with SO_REUSEPORT later is kept out by its own first bind if it is one of
/// ours; the kernel offers nothing against a foreign one of the same user.
pub fn bind(
    address: SocketAddr,
    count: usize,
    claim: Claim,
    families: Families,
) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source| BindError::from_io(address, source);
    let mut sockets = Vec::with_capacity(count);
    let (first, families) = match open(address, claim, families) {
        // A machine without IPv6 has `0.0.0.0` for both.
        Err(error) if families == Families::Both && has_no_ipv6(&error) => {
            let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            (open(everywhere, claim, Families::Own), Families::Own)
        }
        opened => (opened, families),
    };
    let first = first.map_err(failed)?;
    let bound = first
        .local_addr()
        .ok()
        .and_then(|bound| bound.as_socket())
        .unwrap_or(address);
    sockets.push(first);
    for _ in 1..count {
        sockets.push(open(bound, Claim::Beside, families).map_err(failed)?);
    }
    sockets
        .iter()
        .try_for_each(|socket| socket.listen(BACKLOG))
        .map_err(failed)?;
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// `EAFNOSUPPORT`, or what a system answers that has the family and no address of it.
fn has_no_ipv6(error: &std::io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(unsupported) || error.kind() == ErrorKind::AddrNotAvailable
}

fn open(address: SocketAddr, claim: Claim, families: Families) -> std::io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        let both = families == Families::Both && address.ip().is_unspecified();
        socket.set_only_v6(!both)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(claim == Claim::Beside)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// From now on nobody new is queued on `socket`, which is about to be closed: whoever stands in the
/// queue then would be reset. A client that knocks meanwhile knocks again a second later, and is
/// refused or finds another socket of the address.
pub fn deafen(socket: &tokio::net::TcpListener) {
    // BPF_RET | BPF_K: of every packet keep nothing.
    let nothing = [SockFilter::new(0x06, 0, 0, 0)];
    // Where the kernel has no filters, the moment between the last `accept` and `close` remains.
    let _ = SockRef::from(socket).attach_filter(&nothing);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn all_sockets_share_the_port_that_was_found() {
        let sockets = bind(local(), 3, Claim::Exclusive, Families::Own).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports, vec![ports[0]; 3]);
        assert_ne!(ports[0], 0);
    }

    /// Trap: with SO_REUSEPORT on both sides a second process would be let in silently.
    #[test]
    fn an_address_shared_by_others_with_reuseport_is_in_use() {
        let theirs = bind(local(), 2, Claim::Exclusive, Families::Own).unwrap();
        let address = theirs[0].local_addr().unwrap();
        let refused = bind(address, 2, Claim::Exclusive, Families::Own).unwrap_err();
        assert!(
            matches!(refused, BindError::InUse(at) if at == address),
            "{refused}"
        );
        drop(theirs);
        bind(address, 2, Claim::Exclusive, Families::Own).unwrap();
    }

    #[test]
    fn a_foreign_address_is_named_as_such() {
        let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(matches!(
            bind(foreign, 1, Claim::Exclusive, Families::Own),
            Err(BindError::Foreign(_))
        ));
    }

    #[test]
    fn both_families_may_have_a_wildcard_on_one_port() {
        let four = bind(
            SocketAddr::from(([0, 0, 0, 0], 0)),
            1,
            Claim::Exclusive,
            Families::Own,
        )
        .unwrap();
        let port = four[0].local_addr().unwrap().port();
        let six = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        bind(six, 1, Claim::Exclusive, Families::Own).unwrap();
    }

    #[test]
    fn a_wildcard_of_both_families_takes_both_and_shares_with_none() {
        let free = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
        let both = bind(free, 2, Claim::Exclusive, Families::Both).unwrap();
        let port = both[0].local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::net::TcpStream::connect(("::1", port)).unwrap();
        let four = SocketAddr::from(([0, 0, 0, 0], port));
        let refused = bind(four, 1, Claim::Exclusive, Families::Own).unwrap_err();
        assert!(matches!(refused, BindError::InUse(_)), "{refused}");
        drop(both);
        let _four = bind(four, 1, Claim::Exclusive, Families::Own).unwrap();
        let six = SocketAddr::new(free.ip(), port);
        let refused = bind(six, 1, Claim::Exclusive, Families::Both).unwrap_err();
        assert!(matches!(refused, BindError::InUse(_)), "{refused}");
    }
}
