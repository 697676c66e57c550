//! What is known of MySQL's and MariaDB's protocol: its packets' beginnings, refusals that its clients
//! print, and TLS that begins within it. Statements are not read.

mod begin;
mod observe;
mod packet;
mod refusal;
mod shift;

pub(super) use begin::begin_tls;
pub(super) use observe::Observer;
#[cfg(any(fuzzing, test))]
pub(super) use packet::{Beginning, Greeting, Response, greeting, response};
pub(super) use refusal::refusal;
pub(super) use shift::Shift;

/// What servers and clients say first.
#[cfg(test)]
pub(super) fn samples() -> [Vec<u8>; 4] {
    use packet::tests::{answer, hello, packet};
    [
        hello("5.5.5-10.3.9-MariaDB", 17),
        answer(1, 0x0200, "maxuser"),
        packet(1, &answer(1, 0x0a00, "")[4..36]),
        packet(0, b"\xff\x10\x04Too many connections"),
    ]
}
