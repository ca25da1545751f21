//! Operations per second, and how long one takes: interleaved rounds on clusters of one size.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use kvraft::client::load::{self, Mix, Report as Measured, Target, Workload};
use kvraft::types::Random;

use crate::etcd::Etcd;
use crate::machine::{Machine, Span};
use crate::nothing::Nothing;
use crate::report::{Comparison, Report};
use crate::system::{Swap, System};
use crate::{Op, Options, Over};

/// All operations and numbers of clients on a pair of clusters of one size.
pub async fn run<O: System>(
    options: &Options,
    members: usize,
    place: &tempfile::TempDir,
    report: &mut Report,
) -> Result<()> {
    if options.ops.is_empty() || options.clients.is_empty() {
        return Ok(());
    }
    let ours = start::<O>(options, members, place.path()).await?;
    let etcd = start::<Etcd>(options, members, place.path()).await?;
    let mut workload = Workload {
        mix: Mix::Put,
        clients: 64,
        value_bytes: options.value_bytes,
        keys: options.keys,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs_f64(options.seconds),
        seed: 1,
    };
    fill(&ours, &workload).await?;
    fill(&etcd, &workload).await?;
    for &op in &options.ops {
        // What does nothing is compared where there is next to nothing to do.
        let nothing = match (options.over, op) {
            (Over::Grpc, Op::StaleGet) => Some(Nothing::start(members, options.value_bytes).await?),
            _ => None,
        };
        for &clients in &options.clients {
            workload.clients = clients;
            let our_connections = ours.connections(clients).await?;
            let etcd_connections = etcd.connections(clients).await?;
            let mut comparison = Comparison::new(members, op, clients);
            for n in 0..options.rounds {
                workload.seed = n as u64;
                comparison.ours.push(round(&ours, &our_connections, &workload, op).await?);
                comparison.etcd.push(round(&etcd, &etcd_connections, &workload, op).await?);
                if let Some(nothing) = &nothing {
                    let connections = nothing.connections(clients).await?;
                    let pids = nothing.pids();
                    comparison.nothing.push(timed(&pids, &connections, &workload, op).await?);
                }
            }
            report.comparison(comparison);
        }
    }
    ours.stop().await?;
    etcd.stop().await
}

async fn start<S: System>(options: &Options, members: usize, place: &Path) -> Result<S> {
    match options.keep {
        Some(kept) => S::start_keeping(members, place, kept).await,
        None => S::start(members, place).await,
    }
}

/// Writes every key once.
async fn fill<S: System>(system: &S, workload: &Workload) -> Result<()> {
    let connections = system.connections(64).await?;
    let filled = load::fill(&connections, workload).await;
    filled.map_err(|error| anyhow!("filling {}: {error}", S::NAME))
}

/// One round on one cluster, with what it cost the machine.
async fn round<S: System>(
    system: &S,
    connections: &[S::Connection],
    workload: &Workload,
    op: Op,
) -> Result<(Measured, Span)> {
    let measured = timed(&system.pids().await?, connections, workload, op).await?;
    ensure!(
        measured.0.operations > 0,
        "{} completed nothing in {:?}: {}",
        S::NAME,
        workload.duration,
        measured.0.first_error.as_deref().unwrap_or("no error either")
    );
    Ok(measured)
}

async fn timed<C: Target + Swap>(
    pids: &[u32],
    connections: &[C],
    workload: &Workload,
    op: Op,
) -> Result<(Measured, Span)> {
    // The first half second fills caches and windows and is not counted.
    let warm_up = Workload { duration: Duration::from_millis(500), ..workload.clone() };
    operate(connections, &warm_up, op).await;
    let before = Machine::now(pids)?;
    let measured = operate(connections, workload, op).await;
    Ok((measured, before.until(&Machine::now(pids)?)))
}

async fn operate<C: Target + Swap>(connections: &[C], workload: &Workload, op: Op) -> Measured {
    let mix = match op {
        Op::Put => Mix::Put,
        Op::Get => Mix::Get,
        Op::StaleGet => Mix::StaleGet,
        Op::Swap => return swaps(connections, workload).await,
    };
    load::run(connections, &Workload { mix, ..workload.clone() }).await
}

/// Each client swaps the value of a key of its own, which it knows the revision of.
async fn swaps<C: Swap>(connections: &[C], workload: &Workload) -> Measured {
    let value = load::value(workload.value_bytes);
    let known = RefCell::new(vec![0; workload.clients]);
    load::drive(connections, workload, async |connection: &C, client, _: &mut Random| {
        let key = Bytes::from(format!("swap/{client:012}"));
        let since = known.borrow()[client];
        let swapped = connection.swap(key.clone(), since, value.clone()).await?;
        let (Ok(revision) | Err(revision)) = swapped;
        known.borrow_mut()[client] = revision;
        // It may be there from an earlier round: once, a client must hear of it.
        if swapped.is_ok() || since == 0 { Ok(()) } else { Err("a stranger's write".to_owned()) }
    })
    .await
}
