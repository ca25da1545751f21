//! Many watches, and one that does not read, on a living cluster.

mod etcd_client;
mod kvctl_home;

use std::collections::BTreeMap;

use etcd_client::watching::{Watching, key, prefix};
use etcd_client::{Client, addresses, cluster, runtime};
use futures::stream::{self, StreamExt};
use kvctl_home::Home;
use kvraft::grpc::pb::etcdserverpb as pb;

#[test]
fn who_does_not_read_while_twenty_thousand_puts_go_by_is_told_them_all() {
    const PUTS: usize = 20_000;
    // The last 10,000 revisions that are kept by themselves are not enough here.
    let home = Home::new();
    home.up_with(1, &["history = \"all\""]);
    let addresses = addresses(&home);
    runtime().block_on(async {
        let mut stalled = Client::connect(&addresses[0]).await.watch(false).await.unwrap();
        let begun = stalled.created(prefix("k/")).await;
        let mut beside = Client::connect(&addresses[0]).await.watch(false).await.unwrap();
        beside.created(key("signal")).await;
        let client = Client::connect(&addresses[0]).await;
        // All of it fits no window of HTTP/2: the node has to wait for the reader.
        let put = async |number| client.set(&format!("k/{}/{number}", "x".repeat(200)), "").await;
        let made = stream::iter(0..PUTS).map(put).buffer_unordered(64).collect::<Vec<_>>().await;
        let last = begun + PUTS as i64;
        assert_eq!(made.into_iter().max(), Some(last));
        // Nobody else waits for it.
        let signal = client.set("signal", "").await;
        assert_eq!(beside.revisions(1).await, [signal]);
        let told = stalled.revisions(PUTS).await;
        assert!(told.into_iter().eq(begun + 1..=last));
        let next = client.set("k/next", "").await;
        assert_eq!(stalled.revisions(1).await, [next]);
    });
}

/// Half of them on one stream, half on a hundred.
#[test]
fn ten_thousand_watches_are_told_every_event() {
    const MANY: usize = 5_000;
    const STREAMS: usize = 100;
    const EACH: usize = 50;
    const PUTS: usize = 5;
    let (_home, addresses) = cluster(1);
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await;
        let mut crowds = vec![(client.watch(false).await.unwrap(), MANY)];
        for _ in 0..10 {
            let connection = Client::connect(&addresses[0]).await;
            for _ in 0..STREAMS / 10 {
                crowds.push((connection.watch(false).await.unwrap(), EACH));
            }
        }
        for (watching, count) in &mut crowds {
            create(watching, *count).await;
        }
        let mut revisions = Vec::new();
        for _ in 0..PUTS {
            revisions.push(client.set("hot/key", "v").await);
        }
        for (watching, count) in &mut crowds {
            let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for (id, event) in watching.events(*count * PUTS).await {
                told.entry(id).or_default().push(event.kv.unwrap().mod_revision);
            }
            assert_eq!(told.len(), *count);
            assert!(told.values().all(|its| *its == revisions), "skipped, twice or in disorder");
        }
    });
}

/// Watches of the same key, by its name and by ranges that hold it.
async fn create(watching: &mut Watching, count: usize) {
    for number in 0..count {
        watching.create(match number % 4 {
            0 => prefix("hot/"),
            1 => prefix(&format!("h{}", if number % 8 == 1 { "o" } else { "ot" })),
            _ => key("hot/key"),
        });
    }
    for number in 0..count {
        let created: pb::WatchResponse = watching.next().await.unwrap();
        assert_eq!((created.created, created.watch_id), (true, number as i64));
    }
}
