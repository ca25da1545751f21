//! The asynchronous shell around a [`Replica`](crate::replica::Replica): sockets, clock, threads.
//!
//! # The problem
//!
//! Everything that decides is deterministic and lives further down. Something has to bring it the
//! time, what arrives on sockets, and what the disk has done, and to carry out what it says;
//! quickly, and so that nothing that comes from outside can hurt it.
//!
//! # One thread
//!
//! ```text
//!   peers ◄──────── sender (one a peer) ◄── outgoing ◄──┐
//!   peers ───► peer server ───┐                         │
//!   clients ─► client server ─┼─► inbox ─► event loop ──┼──► desk ──► client server ─► clients
//!   operators ► control server ─(orders, status) ┘ ▲     │
//!   Prometheus ► http ─ ─ ─ ─ ─ ─ ─(figures)─ ─ ─ ┘     └──► the log ──► disk's thread
//!                                                                          └─(bell)─► event loop
//! ```
//!
//! Cap'n Proto wants one thread, and consensus is one state: they share it, and hand each other
//! plain values instead of locks. Only the disk has a thread of its own, because a sync blocks; and
//! large answers are made on threads of their own, from copies of the state.
//! [`event_loop`] says how work becomes batches, [`outgoing`] and [`desk`] what is bounded and how,
//! [`peer_server`] and [`client_server`] what is refused at the door.
//!
//! # How it ends
//!
//! - *On request* (SIGTERM, SIGINT, `shutdown`): no new request is taken, those under way are
//!   answered, the log is durable; exit code 0.
//! - *A failed disk*, *a broken invariant*: at once, with the reason in `node.log`; exit code 1. To
//!   go on could break a promise; the others carry on without it.
//! - *A log that cannot be used*: exit code 78, and a supervisor does not try again.

pub mod chronicle;
pub mod client_metrics;
pub mod client_server;
pub mod clock;
pub mod control_server;
pub mod desk;
mod error;
pub mod etcd_metrics;
pub mod event_loop;
pub mod faults;
pub mod grpc_backend;
pub mod inbox;
mod init;
pub mod link_metrics;
mod lock;
mod log_file;
pub mod metrics;
#[cfg(feature = "museum")]
mod museum;
pub mod operator_desk;
pub mod order_metrics;
pub mod outgoing;
#[cfg(feature = "otel")]
pub mod paths;
pub mod peer_server;
pub mod peers;
pub mod reads;
pub mod recorder;
mod run;
pub mod sender;
pub mod snapshot_file;
pub mod status;
pub mod stop;
pub mod watch_metrics;

pub use error::{EXIT_CONFIGURATION, NodeError};
pub use init::{init, join};
pub use lock::{DirectoryLock, LockError};
pub use log_file::LogFile;
pub use run::run;

#[cfg(test)]
mod tests;
