//! Watches that outlive their connections.

use std::time::Duration;

use kvraft::etcd_client::{
    Client, Options, Told, WatchError, WatchOptions, Watcher, event_revision, is_delete, pb,
};
use kvraft::types::Revision;

use crate::block_on;
use crate::client::put;
use crate::proxy::Proxy;
use crate::reference::Reference;

fn client(endpoints: &[&str]) -> Client {
    Client::new(endpoints, Options::default()).unwrap()
}

fn everything(start: Option<Revision>) -> WatchOptions {
    let (key, range_end) = (b"\0"[..].to_vec().into(), b"\0"[..].to_vec().into());
    WatchOptions { key, range_end, start, prev_kv: true, ..WatchOptions::default() }
}

/// What is told next, if it comes in time.
async fn next(watcher: &mut Watcher) -> Result<Told, WatchError> {
    let told = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
    told.expect("something to be told")
}

async fn standing(watcher: &mut Watcher) -> Revision {
    match next(watcher).await.unwrap() {
        Told::Standing { from, .. } => from,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_skipped_or_told_twice_however_often_the_connection_breaks() {
    const WRITES: u64 = 600;
    let etcd = Reference::start(1, &[]);
    let (first, second) = (Proxy::to(&etcd.addresses[0]), Proxy::to(&etcd.addresses[0]));
    block_on(async {
        let direct = client(&[&etcd.addresses[0]]);
        let mut watcher = client(&[&first.address, &second.address]).watch(everything(None));
        assert_eq!(standing(&mut watcher).await, Revision(2));
        let writing = tokio::task::spawn_local(async move {
            for number in 0..WRITES / 2 {
                direct.put(put(&format!("k{}", number % 7), &number.to_string())).await.unwrap();
                // Two changes at one revision.
                let op = |request| pb::RequestOp { request: Some(request) };
                let txn = pb::TxnRequest {
                    success: ["x", "y"]
                        .map(|key| op(pb::request_op::Request::RequestPut(put(key, "1"))))
                        .to_vec(),
                    ..Default::default()
                };
                direct.txn(txn).await.unwrap();
            }
        });
        let (mut told, mut breaks, mut next_revision) = (0, 0, Revision(2));
        while next_revision.0 < 2 + WRITES {
            match next(&mut watcher).await.unwrap() {
                Told::Events { events, .. } => {
                    for event in &events {
                        let revision = event_revision(event);
                        assert!(revision >= next_revision && !is_delete(event));
                        assert!(revision.0 <= next_revision.0 + 1, "{revision} was skipped to");
                        next_revision = revision;
                    }
                    told += events.len();
                    next_revision = Revision(next_revision.0 + 1);
                    assert_eq!(watcher.position(), Some(next_revision));
                    // About every fiftieth revision it breaks, on the way that is in use.
                    if next_revision.0 / 50 > breaks {
                        breaks = next_revision.0 / 50;
                        for proxy in [&first, &second] {
                            proxy.close();
                            proxy.open();
                        }
                    }
                }
                Told::Interrupted { .. } => {}
                Told::Standing { from, .. } => assert_eq!(from, next_revision),
                Told::Progress(revision) => panic!("nobody asked for {revision}"),
            }
        }
        writing.await.unwrap();
        assert!(breaks >= 10, "{breaks}");
        assert_eq!(told as u64, WRITES / 2 * 3);
    });
}

#[test]
fn a_stalled_server_is_left_for_another() {
    let etcd = Reference::start(1, &[]);
    let (first, second) = (Proxy::to(&etcd.addresses[0]), Proxy::to(&etcd.addresses[0]));
    block_on(async {
        let mut watcher = client(&[&first.address, &second.address]).watch(everything(None));
        standing(&mut watcher).await;
        first.stall();
        client(&[&etcd.addresses[0]]).put(put("a", "1")).await.unwrap();
        let told = next(&mut watcher).await.unwrap();
        assert!(matches!(&told, Told::Interrupted { endpoint, .. } if *endpoint == first.address));
        assert_eq!(standing(&mut watcher).await, Revision(2));
        let Told::Events { events, .. } = next(&mut watcher).await.unwrap() else { panic!() };
        assert_eq!(event_revision(&events[0]), Revision(2));
    });
}

#[test]
fn what_was_compacted_meanwhile_is_said() {
    let etcd = Reference::start(1, &[]);
    let proxy = Proxy::to(&etcd.addresses[0]);
    block_on(async {
        let direct = client(&[&etcd.addresses[0]]);
        let mut watcher = client(&[&proxy.address]).watch(everything(Some(Revision(1))));
        assert_eq!(standing(&mut watcher).await, Revision(1));
        proxy.close();
        for number in 0..9 {
            direct.put(put("a", &number.to_string())).await.unwrap();
        }
        let compact = pb::CompactionRequest { revision: 8, physical: true };
        direct.compact(compact).await.unwrap();
        proxy.open();
        let error = loop {
            match next(&mut watcher).await {
                Ok(Told::Interrupted { .. } | Told::Standing { .. }) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        let (wanted, compacted) = (Revision(1), Revision(8));
        assert_eq!(error, WatchError::Compacted { wanted, compacted });
        let mut empty = client(&[&etcd.addresses[0]]).watch(WatchOptions {
            key: "b".into(),
            range_end: "a".into(),
            ..WatchOptions::default()
        });
        let error = loop {
            match next(&mut empty).await {
                Ok(Told::Standing { .. }) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, WatchError::Canceled { .. }), "{error}");
    });
}
