//! A follower that comes back: how fast it catches up, and what that costs the clients.
//!
//! **The measure.** Among the entries that it misses stand ten marks, evenly spread. Once it runs,
//! a client of this node alone counts how many of them it has applied. Its speed is that from the
//! first mark to the last; beside it stands the time from the node's start on, which is also that
//! of a process that starts and reads its log. The load counts its own acknowledgements.
//!
//! **Beside what.** The disk gives one writer so many bytes a second, a megabyte and a sync at a
//! time. The link gives so many when nobody else wants it: the same follower, without a load.
//!
//! **The caveat.** The follower takes cores and the disk from the leader and the clients, as it
//! would not on a machine of its own. One that got a snapshot has all marks at once; its speed then
//! counts from its start.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use kvraft::client::load::{self, Mix, Target, Workload};
use kvraft::client::{Client, Options as ClientOptions, Range};
use kvraft::config::Address;
use kvraft::control::Action;
use kvraft::replica::Consistency;
use kvraft::testing::Cluster;
use kvraft::types::NodeId;

use crate::{Options, workload};

/// An entry on the disk, and about as much on the wire: its value, its key, and what belongs to it.
const ENTRY: u64 = 380;
const MARKS: u64 = 10;
/// The load is in full swing by then.
const SWING: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(2);
const DEADLINE: Duration = Duration::from_secs(120);

/// A client whose acknowledged puts are counted.
struct Counted(Client, Rc<Cell<u64>>);

impl Target for Counted {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        self.0.put(key, value).await.map_err(|error| error.to_string())?;
        self.1.set(self.1.get() + 1);
        Ok(())
    }

    async fn get(&self, _: Bytes, _: bool) -> Result<(), String> {
        Err("this load only writes".to_owned())
    }
}

/// What was seen of a follower that comes back.
#[derive(Debug, Default)]
struct Return {
    /// From its start until it was level.
    took: Duration,
    /// Between the first mark that was seen and the last.
    bytes_a_second: f64,
    /// Acknowledged writes a second: before its start, until it was level, and then.
    puts: [f64; 3],
}

pub fn measure(options: &Options) -> Result<()> {
    for round in 1..=options.rounds {
        let cluster = Cluster::start(3)?;
        let leader = cluster.leader()?;
        let nodes = cluster.nodes();
        let place = nodes.iter().position(|id| *id != leader).context("a follower")?;
        let follower = (nodes[place], cluster.endpoints()?[place].clone());
        let disk = disk_speed(&cluster)?;

        miss(&cluster, follower.0, "alone/", options)?;
        let nobody = Cell::new(0);
        let alone = cluster.block_on(come_back(&cluster, &follower, "alone/", options, &nobody))?;
        let steady = crate::measure(&cluster, &workload(options, 10_000, 256, options.seconds))?;
        miss(&cluster, follower.0, "loaded/", options)?;
        let loaded = under_load(&cluster, &follower, "loaded/", options)?;
        cluster.down()?;

        let [before, meanwhile, after] = loaded.puts;
        println!(
            "catch-up, round {round}: {} entries. Without a load {:.0} MB/s, level {:.2?} after \
             its start; under load {:.0} MB/s ({:.2}; the disk gives one writer {:.0} MB/s), \
             level after {:.2?}. Puts/s: {:.0} with three nodes, {before:.0} with two, \
             {meanwhile:.0} meanwhile ({:.2} and {:.2}), then {after:.0}",
            options.missed,
            alone.bytes_a_second / 1e6,
            alone.took,
            loaded.bytes_a_second / 1e6,
            loaded.bytes_a_second / alone.bytes_a_second,
            disk / 1e6,
            loaded.took,
            steady.rate(),
            meanwhile / steady.rate(),
            meanwhile / before,
        );
    }
    Ok(())
}

/// Bytes a second that one writer gets from the disk, a megabyte and a sync at a time.
fn disk_speed(cluster: &Cluster) -> Result<f64> {
    let path = cluster.home().join("disk-speed");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; 64 << 20])?;
    file.sync_all()?;
    let chunk = vec![7; 1 << 20];
    let began = Instant::now();
    for place in 0..64 {
        file.write_all_at(&chunk, place << 20)?;
        file.sync_data()?;
    }
    let speed = f64::from(64 << 20) / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(speed)
}

/// Stops `follower`, and writes what it will have missed, with the marks in it.
fn miss(cluster: &Cluster, follower: NodeId, marks: &str, options: &Options) -> Result<()> {
    cluster.stop(follower)?;
    let targets = [cluster.client()?];
    let tenth = Workload { mix: Mix::Get, ..workload(options, options.missed / MARKS, 256, 0) };
    cluster.block_on(async {
        for mark in 0..MARKS {
            load::fill(&targets, &tenth).await.map_err(|error| anyhow!(error))?;
            targets[0].put(format!("{marks}{mark}"), "").await?;
        }
        anyhow::Ok(())
    })
}

fn under_load(
    cluster: &Cluster,
    follower: &(NodeId, Address),
    marks: &str,
    options: &Options,
) -> Result<Return> {
    let puts = Rc::new(Cell::new(0));
    let targets = (0..4)
        .map(|_| Ok(Counted(cluster.client()?, Rc::clone(&puts))))
        .collect::<Result<Vec<_>>>()?;
    let seconds = options.seconds + 2 * SWING.as_secs();
    let load = workload(options, 10_000, 256, seconds);
    let (report, seen) = cluster.block_on(async {
        tokio::join!(
            load::run(&targets, &load),
            come_back(cluster, follower, marks, options, &puts)
        )
    });
    ensure!(report.errors == 0, "{} errors: {:?}", report.errors, report.first_error);
    seen
}

/// Starts the follower, and looks on until it is level. `puts` counts what is acknowledged.
async fn come_back(
    cluster: &Cluster,
    (node, address): &(NodeId, Address),
    marks: &str,
    options: &Options,
    puts: &Cell<u64>,
) -> Result<Return> {
    let rate = async |time: Duration| {
        let (began, had) = (Instant::now(), puts.get());
        tokio::time::sleep(time).await;
        (puts.get() - had) as f64 / began.elapsed().as_secs_f64()
    };
    let supervisor = cluster.supervisor().await?;
    tokio::time::sleep(SWING / 2).await;
    let before = rate(SWING / 2).await;
    let (began, had) = (Instant::now(), puts.get());
    supervisor.act(Some(*node), Action::Start, true).await?;
    let client = loop {
        ensure!(began.elapsed() < DEADLINE, "it does not start");
        let address = std::slice::from_ref(address);
        match Client::connect(address, ClientOptions::default()).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    };
    let mut first: Option<(Instant, u64)> = None;
    loop {
        ensure!(began.elapsed() < DEADLINE, "it does not catch up");
        let range = Range { count_only: true, ..Range::prefix(marks.to_owned()) };
        let applied = client.range(range, Consistency::Stale).await?.answer.count;
        let now = Instant::now();
        first = first.or((applied > 0).then_some((now, applied)));
        if applied == MARKS {
            let took = began.elapsed();
            let meanwhile = (puts.get() - had) as f64 / took.as_secs_f64();
            let by_entries = first.filter(|(_, seen)| *seen < MARKS);
            let (since, seen) = by_entries.unwrap_or((began, 0));
            let bytes = ENTRY * options.missed * (applied - seen) / MARKS;
            return Ok(Return {
                took,
                bytes_a_second: bytes as f64 / now.duration_since(since).as_secs_f64(),
                puts: [before, meanwhile, rate(SWING / 2).await],
            });
        }
        tokio::time::sleep(GLANCE).await;
    }
}
