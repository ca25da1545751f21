//! Scenarios: what is done to a cluster, step by step, and what is expected of it.
//!
//! # The problem
//! A fault alone teaches little, and a person who types faults by hand never types the same twice.
//! What one wants to keep is the whole experiment: these clients, this fault at that moment, and
//! what must hold meanwhile. And once it is written down it should run where it is cheap (a
//! simulated world, a thousand seeds) and where it is real (processes, sockets, disks).
//!
//! # The rule
//! A scenario is a file. Its faults are written in the words of `kvctl chaos`, its orders in those
//! of `kvctl`; what is expected is written in phrases. Everything in here is a value: the file is
//! read ([`read()`]), the [`Director`] says which step is due, [`judge`](judge::judge) what came of
//! the expectations. Who runs it (the [simulator](crate::sim), `kvctl chaos run`) only tells the
//! director what it sees, does what it says, and writes down a [`Timeline`].
//!
//! ```text
//!   file ──► read ──► Scenario ──► Director ◄── Sight      what is seen
//!              │                      └───────► step       what is to be done
//!           Mistake                Timeline ──► judge ──► Finding
//! ```
//!
//! Reading order: [`script`] (what a scenario is), [`moment`], [`deed`], [`expectation`] (what can
//! be written), [`lint`] (what makes no sense), [`director`], [`timeline`], [`judge`](mod@judge).
//!
//! # Caveats
//! What a role means (`leader`) is looked up when the step begins; if nobody leads then, the step
//! waits until somebody does. A step that never began is a finding, not a success.

mod ailment;
pub mod deed;
pub mod director;
pub mod expectation;
mod fields;
pub mod judge;
mod line;
pub mod lint;
pub mod mistake;
pub mod moment;
mod read;
pub mod script;
pub mod timeline;
mod words;

pub use director::{Director, Sight};
pub use judge::{Finding, Held, judge};
pub use mistake::{Mistake, Source};
pub use read::read;
pub use script::{Of, Scenario, Step, Workload};
pub use timeline::{Answered, Timeline};
