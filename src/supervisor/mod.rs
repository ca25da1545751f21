//! The keeper of one cluster on one machine.
//!
//! # The problem
//!
//! A person starts a cluster with one command, and the command ends. Somebody must stay who starts
//! a node again when it dies, knows a death from a murder that was asked for, and takes everything
//! away at the end, so that a machine on which clusters were broken all day is as clean in the
//! evening as it was in the morning.
//!
//! # The rule
//!
//! - One supervisor a cluster: it holds a lock on the cluster's directory.
//! - It is not needed. Nodes do not know it; when it dies, they run on, and the next one adopts
//!   them. So nothing passes through it but control: no pipe, no log, no data.
//! - It believes no number. A process is boot, number and start time ([`process`]).
//! - What it decides is decided by a value without a clock ([`lifecycle`]); what it does is thin.
//! - What it did is written down ([`events`]).
//! - Taking down ends with a look ([`receipt`]): processes, sockets, ports and locks that are left,
//!   which ought to be none.
//!
//! # Reading order
//!
//! [`lifecycle`], then [`process`] and [`state`], then `daemon`, which carries out, and `run`, its
//! life from lock to end; [`launch`] is how others start it and talk to it. `leader` and
//! `membership` are what it does for a cluster as a whole: who leads it, and who is in it; [`ops`]
//! what it lets stand beside it; [`console`] the page on which people watch and break it.

mod act;
pub mod backup;
mod chaos;
pub mod console;
mod daemon;
pub mod events;
mod guard;
pub mod launch;
mod leader;
pub mod lifecycle;
mod membership;
mod metrics;
mod node_faults;
pub mod offline;
pub mod ops;
mod poll;
pub mod process;
pub mod receipt;
pub mod recover;
mod refused;
mod rot;
mod run;
mod server;
pub mod spawn;
mod start;
pub mod state;
mod status;

pub use guard::guard;
pub use run::{DaemonError, Ended, Options, run};
