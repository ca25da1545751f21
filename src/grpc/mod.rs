//! etcd's API, version 3, over gRPC.
//!
//! # The problem
//! Many programs speak to etcd. Whoever puts a kvraft cluster behind one of them must not have to
//! change it: so the same messages, the same errors in the same words, the same numbers.
//!
//! # The rule
//! Everything that a client sees is written down in `schema/etcd`: the messages as `.proto` files,
//! and what a server answers in its `README.md`. Here stand only translations: a request becomes a
//! [`Command`](crate::kv::Command) or a [`Query`](crate::kv::Query) and goes the way of every other
//! client's, so that a follower relays what only the leader can do.
//!
//! ```text
//!   client ── HTTP/2 ──► server ───────────► routes ──► kv, watch, lease, … ──► backend (the node)
//!          ── HTTP/1.1 ──► │ ──► gateway ──► │           ▲  convert, status, header
//!                                            └── lock, election (turns, observing)
//! ```
//!
//! Messages are those of `pb`; the gateway has JSON in their place. What is much work for `kv` is
//! done beside the node's thread (`large`).
//!
//! # Why not generated servers
//! A node is one thread. Generated services want to be moved between threads, and every request
//! would have to be handed to the node's thread and back. tonic's own machinery does not ask for
//! that; only the table of methods is ours (`routes.rs`).
//!
//! # Not here yet
//! Users and roles: see `auth.rs`.

mod auth;
mod backend;
mod bounds;
mod call;
mod cluster;
mod convert;
mod election;
mod gateway;
mod gather;
mod header;
mod health;
#[cfg(test)]
mod idle;
mod kv;
mod large;
mod lease;
mod lock;
mod maintenance;
mod member;
mod message;
mod meter;
mod metered;
mod observing;
pub mod pb;
mod reflection;
mod routes;
mod server;
pub mod snapshot;
mod status;
mod taking;
mod turns;
pub mod watch;
mod youth;

pub use backend::{Backend, Backends, Identity};
pub use gateway::MetricsPage;
pub use gather::Gather;
pub use maintenance::ETCD_VERSION;
pub use meter::{CODES, Meter, Method};
pub use server::{GrpcLimits, Server};
pub use snapshot::SnapshotBytes;
