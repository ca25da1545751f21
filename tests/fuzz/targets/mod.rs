//! The targets: for each decoder of bytes from outside, and for the core's one door, a function
//! that takes any bytes at all and must not panic.
//!
//! Each has the same two sides. [`Target::run`] eats bytes: what cannot be decoded must be refused,
//! what can be must keep what the decoder promises (it is encoded again and decoded to the same).
//! [`Target::samples`] are well-formed bytes to begin from: a fuzzer that starts from nothing
//! spends its days finding out what a Cap'n Proto message is.
//!
//! This file is shared: `tests/fuzz` runs every target for a short, deterministic while, and
//! `fuzz/` hands the same functions to libFuzzer.

pub mod client;
pub mod configuration;
pub mod kv;
pub mod peer;
pub mod record;
pub mod script;
pub mod snapshot;
pub mod state;
pub mod step;
pub mod storage;

/// A function that takes any bytes, and bytes that it likes.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "peer_batch", run: peer::run, samples: peer::samples },
    Target { name: "client_request", run: client::run, samples: client::samples },
    Target { name: "configuration", run: configuration::run, samples: configuration::samples },
    Target { name: "kv_values", run: kv::run, samples: kv::samples },
    Target { name: "kv_apply", run: state::run_apply, samples: state::apply_samples },
    Target { name: "kv_restore", run: state::run_restore, samples: state::restore_samples },
    Target { name: "log_open", run: storage::run, samples: storage::samples },
    Target { name: "snapshot_file", run: snapshot::run, samples: snapshot::samples },
    Target { name: "record", run: record::run, samples: record::samples },
    Target { name: "raft_step", run: step::run, samples: step::samples },
];
