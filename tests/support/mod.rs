//! What traffic tests are made of: scripted origins, a client that sees bytes, and waiting with a
//! deadline. Only [`gateway`] and [`process`] know the gateway.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

pub mod authority;
pub mod bytes;
pub mod client;
pub mod dns;
pub mod gateway;
pub mod h2c;
pub mod h2client;
pub mod mariadb;
pub mod maxscale;
pub mod names;
pub mod origin;
pub mod process;
pub mod wait;
pub mod wire;
