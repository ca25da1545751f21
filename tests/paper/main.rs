//! The claims of the Raft paper (extended version) and of the dissertation that this core rests on:
//! a test for each, on a single core that is stepped by hand. After etcd's `raft_paper_test.go`.
//!
//! A test says which claim it is for, in the paper's words where they are few. Whole groups are the
//! business of the stories in `tests/raft` and of the simulator.

mod server;

mod dissertation;
mod s5_1_basics;
mod s5_2_election;
mod s5_3_replication;
mod s5_4_safety;
mod s5_5_crashes;
mod s5_6_timing;
mod s6_membership;
mod s7_compaction;
mod s8_clients;
