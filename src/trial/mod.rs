//! Trials: clients at work on a living cluster, faults at random, and a record of what was seen.
//!
//! # The problem
//!
//! That a store holds what it promises can only be shown while something breaks, and only by those
//! who use it: what counts is what clients were told. So many of them work at once, each writes
//! down what it asked for *before* it asks and what it was told *after* it was told, a *nemesis*
//! (Jepsen's word) injects one fault after the other, and at the end a
//! [checker](crate::verify) that knows nothing of all this looks for a contradiction.
//!
//! # What can go wrong
//!
//! A trial that guesses proves nothing, in either direction:
//!
//! - *A write that failed is not a write that did not happen.* Every outcome is one of three, and
//!   the client says which: done, certainly without effect, unknown ([`client`], [`etcd`]).
//! - *Nothing may be written down late.* An invocation that is recorded after it was sent, or an
//!   answer before it arrived, makes an operation shorter than it was, and contradictions out of
//!   nothing. One recorder stamps and writes, in one thread ([`recorder`]).
//! - *What is unknown stays possible for ever*, and each such write doubles what the checker has to
//!   think of. So keys are used for some hundred operations and then left alone ([`generator`]).
//! - *A clock that runs fast ends leases too early*, and no store can tell. So of leases that live
//!   while a clock is upset nothing is promised ([`lives`]).
//! - *Whoever watches cannot know what it was not told.* So it only says how far it has come when
//!   the store said so, and at the end all must have come to the last revision ([`onlookers`]).
//! - *Faults outlive who injected them*, if that one is killed. So each carries its own end
//!   ([`nemesis`]).
//! - *A cluster that answers nobody is never wrong.* So after the last fault it must be ready again
//!   in time, every key must be readable through every node, and the replicas must be alike
//!   ([`finish`]).
//!
//! # How it is used
//!
//! A [`Tape`] is the clock and the recorder of a trial. A [`Load`] drives a [`Workload`] onto it; a
//! [`Nemesis`] injects faults; a [`Watch`] notes who led, and what became of the nodes. Each is
//! started and stopped on its own, so that a scenario can put other faults beside the same clients;
//! [`Trial`] is all of them together. A [`Performance`] takes the place of the nemesis where a
//! [scenario](crate::scenario) says what goes wrong. What comes out is a [`Record`], and a
//! [`Judgement`] on it.
//!
//! What clients want and which faults come is drawn from a seed: the same seed asks for the same.
//! What became of it is the cluster's, and differs from run to run.

pub mod casualties;
pub mod client;
pub mod drill;
pub mod errand;
pub mod etcd;
pub mod finish;
pub mod generator;
pub mod lives;
pub mod load;
pub mod lock_service;
pub mod nemesis;
pub mod onlookers;
pub mod performance;
pub mod recorder;
pub mod report;
pub mod run;
pub mod site;
pub mod statistics;
pub mod tape;
pub mod verdict;
pub mod watch;
pub mod wish;
pub mod workload;

#[cfg(test)]
mod tests;

pub use load::Load;
pub use nemesis::{Injury, Nemesis};
pub use performance::Performance;
pub use run::{Setup, Trial, TrialError};
pub use site::Site;
pub use statistics::Statistics;
pub use tape::Tape;
pub use verdict::{Expectation, Judgement, Record, Verdict};
pub use watch::{Leadership, Watch};
pub use workload::{Kind, Reads, Workload};
