//! Resident memory of nodes that were written to for long and keep the last 1,000 revisions.
//!
//! Both are told so at their start. etcd looks only every five minutes; so both are also told,
//! every 10,000 writes, to compact what is older.

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::StreamExt;
use kvraft::client::load;
use kvraft::retention::Retention;
use kvraft::types::Random;
use serde_json::json;

use crate::Options;
use crate::etcd::Etcd;
use crate::grpc::Connection;
use crate::over_grpc::OverGrpc;
use crate::report::Report;
use crate::system::System;

const KEPT: u64 = 1000;
const BETWEEN_COMPACTIONS: u64 = 10_000;

pub async fn run(options: &Options, place: &tempfile::TempDir, report: &mut Report) -> Result<()> {
    let members = options.members.iter().copied().min().unwrap_or(3);
    let ours = OverGrpc::start_keeping(members, place.path(), Retention::Revisions(KEPT)).await?;
    let etcd = Etcd::start_keeping(members, place.path(), Retention::Revisions(KEPT)).await?;
    write(&ours, options).await.context("kvraft")?;
    write(&etcd, options).await.context("etcd")?;
    let (a, b) = (ours.memory().await?, etcd.memory().await?);
    let sum = |all: &[u64]| all.iter().sum::<u64>() as f64 / f64::from(1 << 20);
    println!(
        "\n{members} members, {} puts to {} keys, the last {KEPT} revisions kept: resident memory",
        options.forgetting, options.keys
    );
    println!("  kvraft {:>9.0} MiB", sum(&a));
    println!("  etcd   {:>9.0} MiB", sum(&b));
    println!("  ratio  {:>9.2}", sum(&a) / sum(&b));
    report.forgetting = json!({
        "members": members, "writes": options.forgetting, "revisions": KEPT,
        "kvraft_resident_bytes": a, "etcd_resident_bytes": b, "ratio": sum(&a) / sum(&b),
    });
    ours.stop().await?;
    etcd.stop().await
}

async fn write<S>(system: &S, options: &Options) -> Result<()>
where
    S: System<Connection = Connection>,
{
    let connections = system.connections(64).await?;
    let value = load::value(options.value_bytes);
    let mut random = Random::from_seed(1);
    let mut left = options.forgetting;
    while left > 0 {
        let some = left.min(BETWEEN_COMPACTIONS);
        left -= some;
        let keys: Vec<Bytes> = (0..some).map(|_| load::key(random.below(options.keys))).collect();
        let mut writes = futures::stream::iter(keys.into_iter().zip(connections.iter().cycle()))
            .map(|(key, connection)| connection.put_one(key, value.clone()))
            .buffer_unordered(64);
        let mut newest = 0;
        while let Some(written) = writes.next().await {
            newest = newest.max(written.map_err(|error| anyhow!("a put: {error}"))?);
        }
        let kept = newest - KEPT.cast_signed();
        if kept > 0 {
            match connections[0].compact(kept).await {
                // It compacts by itself as well, and may have been first.
                Err(error) if !error.contains("compacted") => return Err(anyhow!(error)),
                _ => {}
            }
        }
    }
    Ok(())
}
