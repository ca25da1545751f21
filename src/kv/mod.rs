//! The state machine: what the replicated log *means*.
//!
//! Consensus makes every replica see the same commands in the same order. This room makes of them
//! the same state: an ordered map with a global revision, and a table of client sessions that lets
//! a retried write take effect once.
//!
//! ```text
//!   bytes of the log ──► codec ──► Machine ──┬──► Sessions: seen before? then the old answer
//!                                            └──► Store:    keys, revision
//!                                   │ hash: one sum over both, kept up to date
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
//!   keys themselves are not: a quota comes with the multi-version store.
//!
//! # Where the multi-version model docks
//!
//! [`Store`](store::Store) holds the latest version of each key with etcd's three numbers (create
//! revision, mod revision, version). etcd's history goes beside it as a second ordered map, from
//! (revision, position in the transaction) to what changed; watches and reads of the past walk that
//! one, and today's map stays the index of the latest. Sessions, hash and codec do not change.

mod codec;
mod command;
pub mod hash;
pub mod limits;
mod machine;
mod restore;
pub mod session;
pub mod snapshot;
pub mod store;
pub mod version;

#[cfg(test)]
mod tests;

pub use codec::{COMMAND_VERSION, DecodeError};
pub use command::*;
pub use limits::Invalid;
pub use machine::{Machine, MachineOptions};
pub use restore::Restore;
pub use snapshot::{MachineSnapshot, SnapshotError};
