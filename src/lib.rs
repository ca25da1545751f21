//! # kvraft
//!
//! A replicated key-value store on Raft that a person starts with one command on one machine,
//! breaks on purpose, and then gets proof of what held.

pub mod codec;
pub mod config;
pub mod consensus;
pub mod control;
pub mod kv;
pub mod link;
pub mod observe;
pub mod replica;
pub mod rpc;
pub mod schema;
pub mod storage;
pub mod types;
