//! What a client of MySQL's protocol reads when it is not served: an error packet, with which a server
//! begins that does not greet.

use super::packet::ERR;
use crate::l4::Cause;

/// An error packet: number, SQL state and text (MariaDB Knowledge Base, "ERR_Packet").
fn error(sequence: u8, number: u16, state: &[u8; 5], text: &str) -> Vec<u8> {
    let number = number.to_le_bytes();
    let payload = [&[ERR], &number[..], b"#", state, text.as_bytes()].concat();
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let [low, middle, high, _] = length;
    [&[low, middle, high, sequence][..], &payload].concat()
}

/// What the client is told; `None` where nothing would be read, or everything is said.
pub(in crate::l4) fn refusal(cause: Cause, sequence: u8) -> Option<Vec<u8>> {
    let (number, state, text) = match cause {
        Cause::Full | Cause::Throttled => (1040, b"08004", "Too many connections"),
        Cause::Stopped => (1053, b"08S01", "The service is stopped"),
        Cause::ClearText => (1045, b"28000", "Access without SSL denied"),
        // A server's number: those from 2000 on are the client library's own, and no packet may have them.
        Cause::NoRoute
        | Cause::NoService
        | Cause::NoEndpoint
        | Cause::NameResolution
        | Cause::ConnectFailed
        | Cause::ConnectTimeout
        | Cause::EndpointTls
        | Cause::ServerDown
        | Cause::Killed => (1045, b"28000", "failed to create new session"),
        Cause::Closed
        | Cause::ClientReset
        | Cause::EndpointReset
        | Cause::Idle
        | Cause::Stalled
        | Cause::Drained
        | Cause::ClientTls
        | Cause::Greeting
        | Cause::Demoted => return None,
    };
    Some(error(sequence, number, state, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_reads_as_a_server_says_it() {
        let bytes = refusal(Cause::Full, 0).unwrap();
        assert_eq!(bytes, b"\x1d\0\0\0\xff\x10\x04#08004Too many connections");
        assert_eq!(refusal(Cause::ClearText, 2).unwrap()[3], 2);
        let bytes = refusal(Cause::NoEndpoint, 0).unwrap();
        assert_eq!(
            bytes,
            b"%\0\0\0\xff\x15\x04#28000failed to create new session"
        );
        assert!(refusal(Cause::Demoted, 0).is_none());
    }
}
