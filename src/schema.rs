//! The code generated from `schema/*.capnp`.

#![allow(clippy::all, clippy::pedantic, rustdoc::all, missing_docs, unused_qualifications)]

capnp::generated_code!(pub mod log_capnp);
capnp::generated_code!(pub mod kv_capnp);
capnp::generated_code!(pub mod peer_capnp);
capnp::generated_code!(pub mod client_capnp);
capnp::generated_code!(pub mod control_capnp);
