//! Generates the Cap'n Proto code for everything under `schema/`.
//!
//! The compiler plug-in is a crate; the parser in front of it, the `capnp` tool, is not.

use std::process::Command;

const SCHEMAS: [&str; 5] = ["log", "kv", "peer", "client", "control"];

fn main() {
    println!("cargo:rerun-if-changed=schema");
    println!("cargo:rerun-if-env-changed=PATH");
    if Command::new("capnp").arg("--version").output().is_err() {
        fail("the `capnp` tool is missing: apt-get install capnproto");
    }
    let mut command = capnpc::CompilerCommand::new();
    command.src_prefix("schema").default_parent_module(vec!["schema".into()]);
    for schema in SCHEMAS {
        command.file(format!("schema/{schema}.capnp"));
    }
    if let Err(error) = command.run() {
        fail(&format!("the schemas under schema/ do not compile: {error}"));
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
