//! Power cuts on a real cluster: every node dies in mid-write, losing what it had not synced, and
//! every write that was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvraft::client::{Client, Options};
use kvraft::config::{Address, Durability};
use kvraft::replica::Consistency;
use kvraft::testing::Cluster;
use kvraft::types::Random;

/// Clients that write at the same time.
const WRITERS: u64 = 32;

/// What the writers and whoever cuts the power tell each other.
#[derive(Default)]
struct Round {
    acknowledged: AtomicU64,
    over: AtomicBool,
}

/// Writes with many clients until the round is over; what was acknowledged, ever.
fn write(endpoints: &[Address], number: u64, round: &Round) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let client = Client::connect(endpoints, Options::default()).await.unwrap();
        let writer = async |writer: u64| {
            let mut mine = BTreeMap::new();
            for i in 0.. {
                if round.over.load(Ordering::Acquire) {
                    break;
                }
                let (key, value) = (format!("{number}-{writer}-{i}"), format!("value {i}"));
                if client.put(key.clone(), value.clone()).await.is_ok() {
                    mine.insert(key, value);
                    round.acknowledged.fetch_add(1, Ordering::AcqRel);
                }
            }
            mine
        };
        let all = futures::future::join_all((0..WRITERS).map(writer)).await;
        all.into_iter().flatten().collect()
    })
}

/// Everything that the cluster holds.
fn everything(cluster: &Cluster) -> BTreeMap<String, String> {
    let client = cluster.client().unwrap();
    cluster.block_on(async {
        let mut all = BTreeMap::new();
        let mut range = kvraft::client::Range::default();
        loop {
            let page = client.range(range.clone(), Consistency::Linearizable).await.unwrap().answer;
            for item in page.items {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                all.insert(text(&item.key), text(&item.value));
                range.start = [&item.key[..], &[0]].concat().into();
            }
            if !page.more {
                return all;
            }
        }
    })
}

#[test]
fn twenty_power_cuts_lose_no_acknowledged_write() {
    let cluster = Cluster::builder(5).durability(Durability::FsyncDropUnsynced).start().unwrap();
    let mut random = Random::from_seed(20);
    let mut acknowledged = BTreeMap::new();
    for number in 0..20 {
        let after = 20 + random.below(400);
        let endpoints = cluster.endpoints().unwrap();
        let round = Round::default();
        let new = std::thread::scope(|scope| {
            let writers = scope.spawn(|| write(&endpoints, number, &round));
            let deadline = Instant::now() + Duration::from_secs(20);
            while round.acknowledged.load(Ordering::Acquire) < after {
                assert!(Instant::now() < deadline, "round {number}: nobody writes");
                std::thread::yield_now();
            }
            cluster.power_cut().unwrap();
            round.over.store(true, Ordering::Release);
            cluster.wait_ready().unwrap();
            writers.join().unwrap()
        });
        assert!(new.len() as u64 >= after, "round {number}");
        acknowledged.extend(new);
        let found = everything(&cluster);
        let lost: Vec<_> = acknowledged.iter().filter(|(k, v)| found.get(*k) != Some(*v)).collect();
        assert!(lost.is_empty(), "lost by cut {number}, after {after} writes: {lost:?}");
    }
    cluster.down().unwrap();
}
