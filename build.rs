//! Generates the Cap'n Proto code for everything under `schema/`, and names the consensus core.
//!
//! etcd's messages, under `schema/etcd`, and gRPC's own, under `schema/grpc`, are compiled by
//! crates alone. What they look like is kept, too: servers tell it to who asks (reflection).
//!
//! The compiler plug-in of Cap'n Proto is a crate; the parser in front of it, the `capnp` tool, is
//! not.
//!
//! A recorded life of a core can be lived again only by the same core, and a version number says
//! little about that: every build of a branch has the same one. So the core is named by what it is
//! made of: `KVRAFT_CORE` is a digest of its source.

use std::path::PathBuf;
use std::process::Command;

use xxhash_rust::xxh3::xxh3_64;

const SCHEMAS: [&str; 5] = ["log", "kv", "peer", "client", "control"];

fn main() {
    println!("cargo:rerun-if-changed=schema");
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
    if let Err(error) = etcd() {
        fail(&format!("the schemas under schema/etcd do not compile: {error}"));
    }
    match digest_of(&CORE) {
        Ok(digest) => println!("cargo:rustc-env=KVRAFT_CORE={digest:016x}"),
        Err(error) => fail(&format!("cannot read the core's source: {error}")),
    }
}

/// etcd's messages and gRPC's own, each package a module of one file. Keys and values keep the
/// buffer that they came in. Who knows messages by name alone, the gateway and reflection, gets
/// their description.
fn etcd() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 8] = [
        "kv.proto",
        "auth.proto",
        "rpc.proto",
        "lock.proto",
        "election.proto",
        "health.proto",
        "reflection_v1.proto",
        "reflection_v1alpha.proto",
    ];
    let files = protox::compile(FILES, ["schema/etcd", "schema/grpc"])?;
    let mut bare = files.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("etcd.descriptors"), prost::Message::encode_to_vec(&bare))?;
    prost_build::Config::new().bytes(["."]).include_file("etcd.rs").compile_fds(files)?;
    Ok(())
}

/// Everything that decides what a core does, and how its state is written down.
const CORE: [&str; 3] = ["src/consensus", "src/museum.rs", "src/types.rs"];

/// A digest of the files at and below `roots`, and of their names.
fn digest_of(roots: &[&str]) -> std::io::Result<u64> {
    let mut waiting: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        println!("cargo:rerun-if-changed={}", path.display());
        match path.is_dir() {
            true => {
                for entry in path.read_dir()? {
                    waiting.push(entry?.path());
                }
            }
            false => files.push(path),
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read(&file)?;
        all.extend_from_slice(&xxh3_64(file.to_string_lossy().as_bytes()).to_le_bytes());
        all.extend_from_slice(&xxh3_64(&text).to_le_bytes());
    }
    Ok(xxh3_64(&all))
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
