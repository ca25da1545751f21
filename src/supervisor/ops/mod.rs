//! Prometheus and Grafana beside the cluster.
//!
//! # The problem
//!
//! Figures that nobody keeps say nothing of a minute ago. Whoever starts a cluster on a laptop
//! should have its past, its alerts and its dashboards with one more command, of the very programs
//! that they will use in earnest.
//!
//! # The rule
//!
//! - The programs are somebody else's, and are found on the PATH. They are started like nodes: in a
//!   session of their own, adopted by the next supervisor, ended with the cluster, and started
//!   again with it (`keep`).
//! - They are told whom to ask by a file that follows the members ([`files`]): Prometheus reads it
//!   again when it changes (`file_sd`).
//! - Rules, alerts and dashboards are the project's own, from `ops/prometheus` and `dashboards`;
//!   they lie in this program. For rehearsals every window is a sixtieth ([`windows`]).
//! - What Prometheus alerts to comes into the cluster's history (`alerts`).
//! - Like all else they listen on 127.0.0.1 only.

mod alerts;
pub mod files;
mod keep;
mod probe;
mod record;
pub mod windows;

pub(super) use keep::Beside;
pub use record::SideCar;
pub(super) use record::{Ops, Record};
