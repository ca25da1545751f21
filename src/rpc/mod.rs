//! Conversations: how bytes travel between two processes, and how a method call becomes bytes.
//!
//! # The problem
//!
//! Nodes, clients, the supervisor and `kvctl` speak Cap'n Proto to each other over Unix sockets or
//! TCP. Everyone needs the same few things and the same precautions, so they live here:
//!
//! - `transport`: [`listen`] and [`connect`] for an [`Address`](crate::config::Address);
//! - `connection`: [`Connection`] drives one conversation over a stream, [`Server`] accepts many;
//! - `peer`, `client`: the messages of `schema/*.capnp` to and from plain Rust.
//!
//! # What can go wrong, and the rule for it
//!
//! - *Whoever connects sends rubbish.* That ends this connection and nothing else, with one line in
//!   the log, and no more than one such line every few seconds. Even a panic inside the protocol
//!   library is held inside the connection.
//! - *Whoever connects never reads.* Cap'n Proto's queue of outgoing messages has no bound of its
//!   own. A server stops reading from a connection whose answers are not taken, so what may pile up
//!   is bounded by the requests that it has let in. A client bounds its own calls under way and
//!   gives each a deadline: nobody else can.
//! - *Everybody connects.* A [`Server`] has a limit on connections; beyond it they are closed.
//! - *A socket file is left by a process that was killed.* It is replaced, if nobody listens on it.
//!
//! # Threads
//!
//! Cap'n Proto's clients and servers are not `Send`: everything here wants one thread with a tokio
//! `LocalSet` (or `LocalRuntime`).

pub mod client;
mod connection;
mod members;
pub mod peer;
mod repair;
mod seldom;
mod server;
mod transport;
mod unix;

pub use connection::{Connection, Limits, Served, serve};
pub use seldom::Seldom;
pub use server::{Server, ServerCounters, ServerOptions};
pub use transport::{Listener, Stream, TransportError, connect, listen, listen_within};

#[cfg(test)]
mod tests;
