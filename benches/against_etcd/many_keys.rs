//! Many keys: what one costs in memory beside its own bytes, and how soon a node that holds them
//! all is back.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use kvraft::client::load::{self, Mix, Workload};
use serde_json::json;

use crate::Options;
use crate::over_grpc::OverGrpc;
use crate::report::{Report, median};
use crate::system::System;

pub async fn run(options: &Options, place: &tempfile::TempDir, report: &mut Report) -> Result<()> {
    let members = options.members.iter().copied().min().unwrap_or(3);
    let ours = OverGrpc::start(members, place.path()).await?;
    let empty = ours.memory().await?;
    let workload = Workload {
        mix: Mix::Put,
        clients: 64,
        value_bytes: options.value_bytes,
        keys: options.many_keys,
        warm_up: std::time::Duration::ZERO,
        duration: std::time::Duration::ZERO,
        seed: 1,
    };
    let began = Instant::now();
    let filled = load::fill(&ours.connections(64).await?, &workload).await;
    filled.map_err(|error| anyhow!(error)).context("writing the keys")?;
    let written = began.elapsed();
    let full = ours.memory().await?;
    let data = (load::key(0).len() + options.value_bytes) as f64;
    let keys = options.many_keys as f64;
    let grown = empty.iter().zip(&full).map(|(empty, full)| full.saturating_sub(*empty) as f64);
    let over: Vec<f64> = grown.map(|bytes| bytes / keys - data).collect();
    let one = ours.0.bring_back_one().await?;
    let back = ours.memory().await?;
    let all = ours.0.bring_back_all().await?;
    println!("\n{members} members, {} keys of {} B", options.many_keys, options.value_bytes);
    println!("  written in                    {:>9.1} s", written.as_secs_f64());
    let shown: Vec<String> = over.iter().map(|bytes| format!("{bytes:.0}")).collect();
    println!("  memory per key over the data  {} B", shown.join(" "));
    println!("  a killed node is ready after  {:>9.2} s", one.as_secs_f64());
    println!("  all, stopped, are ready after {:>9.2} s", all.as_secs_f64());
    report.many_keys = json!({
        "members": members, "keys": options.many_keys, "data_bytes_per_key": data,
        "seconds_to_write": written.as_secs_f64(),
        "resident_bytes_empty": empty, "resident_bytes_full": full,
        "resident_bytes_after_restart_of_one": back,
        "bytes_per_key_over_data": over, "median_over_data": median(over.iter().copied()),
        "seconds_until_one_is_back": one.as_secs_f64(),
        "seconds_until_all_are_back": all.as_secs_f64(),
    });
    ours.stop().await
}
