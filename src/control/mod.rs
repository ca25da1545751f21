//! What operators say to a node and to a supervisor: `schema/control.capnp` as plain Rust.
//!
//! # The problem
//!
//! Three programs speak this language: the node and the supervisor answer in it, `kvctl` and the
//! supervisor ask in it. Cap'n Proto's own readers and builders are tied to the message they lie
//! in, cannot be kept, compared or printed, and say nothing of meaning: a term and an index are
//! both a `u64` there. So every struct of the schema has a twin here ([`NodeStatus`],
//! [`ClusterStatus`], [`Event`] …) that owns its data, uses the project's own types, and is
//! serialisable, because `kvctl -o json` prints exactly these.
//!
//! # The rule
//!
//! Each twin has `write` (into a builder, cannot fail) and `read` (out of a reader). What arrives
//! comes from another process and may be anything: a word that is not known or an address that is
//! none is a [`ControlError`] which names the field, never a panic.
//!
//! # Caveats
//!
//! Control goes over Unix sockets in 0700 directories only: whoever can connect is the owner, and
//! may do everything. There is no further authentication here.

mod client;
mod clock;
mod convert;
mod faults;
mod judged;
mod ops;
mod orders;
mod traffic;
mod types;

pub use client::{MAX_GRACE, NodeClient, SupervisorClient};
pub use clock::unix_millis;
pub use convert::{ControlError, Refusal};
pub use faults::{Injected, Receipt};
pub use judged::Judged;
pub use ops::{OpsOrder, OpsStatus, SideCarState, SideCarStatus, Windows};
pub use orders::{
    MAX_CHANGES, MAX_CHUNK, SnapshotClient, SnapshotFacts, order_timeout, read_changes,
    write_outcome,
};
pub use traffic::{LinkTraffic, Served};
pub use types::{
    Action, ClusterStatus, Event, Handover, NodeState, NodeStatus, PeerStatus, Retired, Role,
    Standing, State, Stopped, Taken,
};

#[cfg(test)]
mod tests;
