//! What a running program shows of itself: figures, health, readiness.
//!
//! **The problem.** A cluster that is to be broken on purpose must be watched from outside, by
//! tools that exist already: Prometheus scrapes text over HTTP, orchestrators ask "live?" and
//! "ready?". The node and the supervisor both have to answer.
//!
//! **What can go wrong.** The watcher must never harm the watched: a client that connects and
//! says nothing, reads slowly, or comes a thousand times must not hold memory, file descriptors or
//! the event loop. And what is shown must not be invented twice: the same figure under two names is
//! worse than none.
//!
//! **The rule.**
//! - One [`Registry`] a process holds every metric, its own ones and the process's figures
//!   (`process_*`, the names that Prometheus' own clients use), and renders them as text.
//! - One [`HttpServer`] answers `/metrics`, `/health` (the process runs and its event loop turns)
//!   and `/ready` (it can do its work *now*; otherwise 503 and the reason in words). It runs on the
//!   caller's thread as local tasks, so "live" means that this very event loop answers.
//! - Connections are bounded in number and in time, and serve one request each.
//! - A program's own API may be a [`Guest`] on that port, and never takes the room of these.
//! - Loopback only: whoever may log in to the machine may read the figures; nobody else.
//!
//! Figures that already exist elsewhere (a replica's status) are not updated as they change but
//! copied into gauges when somebody looks: see [`Observed::refresh`].

mod http;
pub mod log;
mod process;
mod registry;
mod table;
pub mod trace;

pub use http::{Guest, GuestBody, HttpError, HttpLimits, HttpServer, Observed, metrics};
pub use process::{Figures, FiguresError};
pub use registry::{LATENCY_BUCKETS, MetricError, Registry};
pub use table::Table;

/// The version of this build, from the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this build was made from; "unknown" unless the build said so (`make` does).
pub const COMMIT: &str = match option_env!("KVRAFT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
