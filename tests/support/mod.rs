//! What the tests that start the server share: the server process, and a small client that speaks the raw protocol.
#![allow(dead_code, unreachable_pub, reason = "each test binary includes this and uses its part")]

/// A connection that shows every byte: for text results over both protocols, and for protocol tests.
pub mod client;

/// A server process on its own ports and directory: start, wait until ready, kill -9, restart.
pub mod server;
