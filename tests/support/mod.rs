//! What traffic tests are made of: scripted origins, a client that sees bytes, and waiting with a
//! deadline. Only [`gateway`] knows the gateway.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

pub mod client;
pub mod gateway;
pub mod h2c;
pub mod h2client;
pub mod names;
pub mod origin;
pub mod wait;
pub mod wire;
