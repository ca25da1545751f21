//! etcd's messages, as generated from `schema/etcd`.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/etcd.rs"));
