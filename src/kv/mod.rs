//! The state machine: what the replicated log *means*.
//!
//! Consensus makes every replica see the same commands in the same order. This room makes of them
//! the same state: etcd's ordered map of keys with a global revision, its past and its leases, and
//! a table of client sessions that lets a retried write take effect once.
//!
//! ```text
//!   bytes of the log ──► codec ──► Machine ──┬──► Sessions: seen before? then the old answer
//!                                            ├──► Store:    keys, their past, leases
//!                                            └──► Roster:   alarms, what members say of themselves
//!                                   │ hash: one sum over all, kept up to date
//!   Query ────────────► codec ──► Machine::query ──► Answer
//! ```
//!
//! # What can go wrong, and the rules
//!
//! - *Replicas drift apart.* Applying may depend on nothing but the state and the entry: no clock,
//!   no randomness, no order of a hash table, no allocation limit of this machine. What cannot be
//!   decoded is refused by every replica alike ([`Effect::Refused`]) and never panics. If they
//!   drift apart all the same, [`Machine::state_hash`] tells ([`hash`]).
//! - *A write happens twice.* A client that hears nothing must try again, and then its command
//!   stands in the log twice. [`session`] tells the copies from new writes.
//! - *A snapshot stops the writes.* Store and sessions are persistent maps (`imbl::OrdMap`): to
//!   clone the machine is to count a few references, and later writes copy only the path that they
//!   touch.
//! - *Programs of two versions apply one log.* What a later version does differently begins at an
//!   entry of the log, the same for all ([`version`]).
//! - *A snapshot is damaged, or not the state it says.* It is checked part by part, and at the end
//!   against the state's hash ([`snapshot`]).
//! - *Memory grows.* Requests, answers, sessions and what they keep are bounded ([`limits`]). The
//!   past goes when it is compacted ([`Operation::Compact`]), by a client, or by the leader when it
//!   has more than is to be kept ([`replica::forgetting`](crate::replica::forgetting)). And an
//!   alarm stops the writes when all of it is more than it may be
//!   ([`replica::quota`](crate::replica::quota)).
//! - *Clocks differ.* A lease ends by an entry of the log like any other, so that no replica need
//!   ask its own clock. As yet only a client's revocation is such an entry: no leader counts the
//!   time of leases, and what nobody revokes stays.

mod codec;
mod command;
mod duplicates;
pub mod hash;
pub mod limits;
mod machine;
mod query;
mod restore;
pub mod roster;
pub mod session;
pub mod snapshot;
pub mod store;
mod transaction;
pub mod version;

#[cfg(test)]
mod tests;

pub use codec::{COMMAND_VERSION, DecodeError};
pub use command::*;
pub use limits::Invalid;
pub use machine::{Machine, MachineOptions};
pub use query::*;
pub use restore::Restore;
pub use snapshot::{MachineSnapshot, SnapshotError};
pub use transaction::*;
