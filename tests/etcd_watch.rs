//! Watches on a living cluster, as etcd's clients call them.

mod etcd_client;
mod kvctl_home;

use etcd_client::watching::{key, prefix};
use etcd_client::{Client, cluster, runtime};
use kvctl_home::wait_until;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use tonic::Code;

#[test]
fn every_node_tells_the_same_in_the_same_order() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let mut clients = Vec::new();
        let mut watches = Vec::new();
        for address in &addresses {
            let client = Client::connect(address).await;
            let mut watching = client.watch(false).await.unwrap();
            watching.created(prefix("k/")).await;
            watches.push(watching);
            clients.push(client);
        }
        // Through each of them, so that followers relay.
        let mut revisions = Vec::new();
        for number in 0..30 {
            let client = &mut clients[number % 3];
            revisions.push(client.set(&format!("k/{}", number % 7), "v").await);
            client.set("elsewhere", "v").await;
        }
        revisions.push(clients[1].delete("k/3").await);
        for (number, watching) in watches.iter_mut().enumerate() {
            let mut told = Vec::new();
            while told.len() < revisions.len() {
                let message = watching.next().await.unwrap();
                let header = message.header.unwrap();
                assert_eq!(header.member_id, number as u64 + 1);
                assert!(header.revision >= message.events[0].kv.as_ref().unwrap().mod_revision);
                told.extend(message.events.into_iter().map(|it| (it.r#type, it.kv.unwrap())));
            }
            assert!(told.iter().map(|(_, kv)| kv.mod_revision).eq(revisions.iter().copied()));
            let (kind, last) = told.last().unwrap();
            assert_eq!((*kind, &last.key[..], last.version), (1, &b"k/3"[..], 0));
        }
        // Each has the same past, too.
        for watching in &mut watches {
            watching.created(pb::WatchCreateRequest { start_revision: 1, ..prefix("k/") }).await;
            assert_eq!(watching.revisions(revisions.len()).await, revisions);
        }
    });
}

#[test]
fn a_stream_that_is_half_closed_goes_on() {
    let (_home, addresses) = cluster(1);
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await;
        let mut watching = client.watch(false).await.unwrap();
        watching.created(key("k")).await;
        watching.requests = None;
        for _ in 0..3 {
            let revision = client.set("k", "v").await;
            assert_eq!(watching.revisions(1).await, [revision]);
        }
    });
}

#[test]
fn a_compaction_right_behind_a_write_takes_no_event_from_who_keeps_up() {
    let (_home, addresses) = cluster(1);
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await;
        let mut watching = client.watch(false).await.unwrap();
        watching.created(prefix("k/")).await;
        let mut first = 0;
        for _ in 0..50 {
            let last = client.set("k/a", "v").await;
            client.compact(last).await.unwrap();
            assert_eq!(watching.revisions(1).await, [last]);
            first = last;
        }
        // But who comes late is told that it does.
        watching.created(pb::WatchCreateRequest { start_revision: first - 1, ..key("k") }).await;
        let late = watching.next().await.unwrap();
        assert!(late.canceled && late.cancel_reason.is_empty() && late.events.is_empty());
        assert_eq!((late.watch_id, late.compact_revision), (1, first));
        assert_eq!(late.header.unwrap().revision, 0);
    });
}

#[test]
fn progress_is_told_behind_all_that_it_promises() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let writer = Client::connect(&addresses[0]).await;
        let mut watching = Client::connect(&addresses[2]).await.watch(false).await.unwrap();
        watching.created(prefix("k/")).await;
        for _ in 0..20 {
            let last = writer.set("k/a", "v").await;
            // A follower may be a moment behind: who wants to know asks again.
            let mut told = Vec::new();
            loop {
                watching.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
                let progress = loop {
                    let message = watching.next().await.unwrap();
                    if message.events.is_empty() {
                        break message;
                    }
                    told.extend(message.events.into_iter().map(|it| it.kv.unwrap().mod_revision));
                };
                assert_eq!(progress.watch_id, -1);
                if progress.header.unwrap().revision >= last {
                    break;
                }
            }
            assert_eq!(told, [last], "what was promised had not been told");
        }
    });
}

#[test]
fn without_a_leader_it_is_refused_or_ends_only_for_who_wants_that() {
    let (home, addresses) = cluster(3);
    let runtime = runtime();
    let (mut patient, mut demanding) = runtime.block_on(async {
        let client = Client::connect(&addresses[0]).await;
        let mut patient = client.watch(false).await.unwrap();
        let mut demanding = client.watch(true).await.unwrap();
        patient.created(key("k")).await;
        demanding.created(key("k")).await;
        (patient, demanding)
    });
    home.ok(&["node", "stop", "2"]);
    home.ok(&["node", "stop", "3"]);
    runtime.block_on(async {
        let ended = demanding.next().await.unwrap_err();
        assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
        let client = Client::connect(&addresses[0]).await;
        let refused = client.watch(true).await.err().unwrap();
        assert_eq!(refused.message(), "etcdserver: no leader");
        // The past can be watched all the same.
        client.watch(false).await.unwrap().created(key("k")).await;
    });
    home.ok(&["node", "start", "2"]);
    home.ok(&["node", "start", "3"]);
    wait_until("there is a leader again", || home.run(&["put", "other", "v"]).code == 0);
    runtime.block_on(async {
        let revision = Client::connect(&addresses[0]).await.set("k", "v").await;
        assert_eq!(patient.revisions(1).await, [revision]);
    });
}

#[test]
fn a_watch_goes_on_where_it_was_when_its_node_comes_back() {
    let (home, addresses) = cluster(3);
    let runtime = runtime();
    let (mut watching, mut revisions) = runtime.block_on(async {
        let client = Client::connect(&addresses[2]).await;
        let mut watching = client.watch(false).await.unwrap();
        watching.created(prefix("k/")).await;
        let mut revisions = Vec::new();
        for number in 0..10 {
            revisions.push(client.set(&format!("k/{number}"), "v").await);
        }
        assert_eq!(watching.revisions(10).await, revisions);
        (watching, revisions)
    });
    home.ok(&["node", "stop", "3"]);
    runtime.block_on(async {
        assert!(watching.next().await.is_err(), "its node is gone");
        let client = Client::connect(&addresses[0]).await;
        for number in 0..10 {
            revisions.push(client.set(&format!("k/{number}"), "w").await);
        }
    });
    home.ok(&["node", "start", "3"]);
    runtime.block_on(async {
        // It serves as soon as its socket is there, and tells what it has, when it has it.
        let mut watching = loop {
            let connected = tokio::net::TcpStream::connect(&addresses[2]).await;
            if connected.is_ok() {
                break Client::connect(&addresses[2]).await.watch(false).await.unwrap();
            }
            tokio::task::yield_now().await;
        };
        let from = revisions[9] + 1;
        watching.created(pb::WatchCreateRequest { start_revision: from, ..prefix("k/") }).await;
        assert_eq!(watching.revisions(10).await, revisions[10..]);
    });
}
