//! etcd's API on a living cluster, as its clients call it: every node serves, in etcd's own words.

mod etcd_client;
mod kvctl_home;

use bytes::Bytes;
use etcd_client::{Client, cluster, connect, get, prefix, put, runtime, says, text};
use kvctl_home::wait_until;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvraft::grpc::pb::etcdserverpb::{request_op, response_op};
use tonic::Code;

fn values(response: &pb::RangeResponse) -> Vec<(String, String)> {
    response.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

#[test]
fn every_node_serves_and_the_past_is_there_until_it_is_compacted() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        let mut revisions = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let done = client.put(put("k/a", &number.to_string())).await.unwrap();
            let header = done.header.unwrap();
            assert_eq!(header.member_id, number as u64 + 1);
            assert!(header.cluster_id != 0 && header.raft_term > 0);
            revisions.push(header.revision);
        }
        assert!(revisions.is_sorted() && revisions[0] + 2 == revisions[2], "{revisions:?}");
        for client in &clients {
            let now = client.range(get("k/a")).await.unwrap();
            assert_eq!(values(&now), [("k/a".into(), "2".into())]);
            let kv = &now.kvs[0];
            assert_eq!((kv.create_revision, kv.mod_revision), (revisions[0], revisions[2]));
            assert_eq!((kv.version, now.count, now.more), (3, 1, false));
            let then = pb::RangeRequest { revision: revisions[0], ..get("k/a") };
            assert_eq!(values(&client.range(then).await.unwrap())[0].1, "0");
        }
        clients[0].compact(revisions[1]).await.unwrap();
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        says(clients[1].compact(revisions[1]).await, Code::OutOfRange, compacted);
        let then = pb::RangeRequest { revision: revisions[0], ..get("k/a") };
        says(clients[2].range(then).await, Code::OutOfRange, compacted);
        let then = pb::RangeRequest { revision: revisions[1], ..get("k/a") };
        assert_eq!(values(&clients[2].range(then).await.unwrap())[0].1, "1");
    });
}

#[test]
fn a_range_comes_whole_however_large_and_in_every_order() {
    let (_home, addresses) = cluster(1);
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await;
        // Five mebibytes: several answers of the state machine.
        let large = "x".repeat(100 << 10);
        for number in 0..50 {
            client
                .put(put(&format!("big/{number:02}"), &format!("{number}{large}")))
                .await
                .unwrap();
        }
        let all = client.range(prefix("big/")).await.unwrap();
        assert_eq!((all.kvs.len(), all.count, all.more), (50, 50, false));
        assert!(all.kvs.is_sorted_by_key(|kv| kv.key.clone()));
        let newest = pb::RangeRequest {
            sort_order: pb::range_request::SortOrder::Descend as i32,
            sort_target: pb::range_request::SortTarget::Mod as i32,
            limit: 40,
            ..prefix("big/")
        };
        let newest = client.range(newest).await.unwrap();
        assert_eq!((newest.kvs.len(), newest.count, newest.more), (40, 50, true));
        assert_eq!(&newest.kvs[0].key[..], b"big/49");
        assert_eq!(&newest.kvs[39].key[..], b"big/10");
        let count = pb::RangeRequest { count_only: true, ..prefix("big/") };
        let count = client.range(count).await.unwrap();
        assert_eq!((count.kvs.len(), count.count, count.more), (0, 50, false));
        let everything = pb::RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            keys_only: true,
            ..Default::default()
        };
        assert_eq!(client.range(everything).await.unwrap().kvs.len(), 50);
        let none = pb::RangeRequest { range_end: Bytes::from_static(b"a"), ..get("b") };
        assert_eq!(client.range(none).await.unwrap().count, 0);
    });
}

#[test]
fn transactions_decide_and_see_their_own_writes() {
    let (_home, addresses) = cluster(3);
    let is_absent = |key: &'static str| pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Version as i32,
        key: Bytes::from_static(key.as_bytes()),
        target_union: Some(TargetUnion::Version(0)),
        ..Default::default()
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let request = pb::TxnRequest {
        compare: vec![is_absent("t")],
        success: vec![
            op(request_op::Request::RequestRange(get("t"))),
            op(request_op::Request::RequestPut(put("t", "1"))),
            op(request_op::Request::RequestRange(get("t"))),
        ],
        failure: vec![op(request_op::Request::RequestRange(get("t")))],
    };
    runtime().block_on(async {
        let first = Client::connect(&addresses[1]).await;
        let won = first.txn(request.clone()).await.unwrap();
        let lost = Client::connect(&addresses[2]).await.txn(request).await.unwrap();
        let revision = won.header.unwrap().revision;
        assert!(won.succeeded && !lost.succeeded);
        assert_eq!(lost.header.unwrap().revision, revision);
        let ranges = |response: &pb::TxnResponse| -> Vec<(usize, i64)> {
            let range = |op: &pb::ResponseOp| match op.response.as_ref().unwrap() {
                response_op::Response::ResponseRange(range) => {
                    Some((range.kvs.len(), range.header.unwrap().revision))
                }
                _ => None,
            };
            response.responses.iter().filter_map(range).collect()
        };
        assert_eq!(ranges(&won), [(0, revision - 1), (1, revision)]);
        assert_eq!(ranges(&lost), [(1, revision)]);
    });
}

#[test]
fn what_makes_no_sense_is_refused_in_etcds_words() {
    let (_home, addresses) = cluster(1);
    let op = |request| pb::RequestOp { request: Some(request) };
    let puts = |count: usize, key: fn(usize) -> String| pb::TxnRequest {
        success: (0..count)
            .map(|number| op(request_op::Request::RequestPut(put(&key(number), ""))))
            .collect(),
        ..Default::default()
    };
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await;
        let large = "x".repeat(1536 << 10);
        for (request, code, text) in [
            (put("", "1"), Code::InvalidArgument, "etcdserver: key is not provided"),
            (put("k", &large), Code::InvalidArgument, "etcdserver: request is too large"),
            (
                pb::PutRequest { ignore_value: true, ..put("k", "v") },
                Code::InvalidArgument,
                "etcdserver: value is provided",
            ),
            (
                pb::PutRequest { ignore_value: true, ..put("nowhere", "") },
                Code::InvalidArgument,
                "etcdserver: key not found",
            ),
            (
                pb::PutRequest { lease: 77, ..put("k", "v") },
                Code::NotFound,
                "etcdserver: requested lease not found",
            ),
            (
                put("k", &"x".repeat(3 << 20)),
                Code::ResourceExhausted,
                "grpc: received message larger than max (3145736 vs. 2097152)",
            ),
        ] {
            says(client.put(request).await, code, text);
        }
        for (request, code, text) in [
            (
                pb::RangeRequest { revision: 1_000_000, ..get("k") },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (
                pb::RangeRequest { sort_target: 99, ..get("k") },
                Code::InvalidArgument,
                "etcdserver: invalid sort option",
            ),
        ] {
            says(client.range(request).await, code, text);
        }
        for (request, text) in [
            (puts(129, |it| it.to_string()), "etcdserver: too many operations in txn request"),
            (puts(2, |_| "same".into()), "etcdserver: duplicate key given in txn request"),
            (puts(1, |_| String::new()), "etcdserver: key is not provided"),
        ] {
            says(client.txn(request).await, Code::InvalidArgument, text);
        }
        let unknown = client.call::<_, pb::PutResponse>("/etcdserverpb.KV/Nope", get("k")).await;
        says(unknown, Code::Unimplemented, "unknown method Nope for service etcdserverpb.KV");
        let unknown = client.call::<_, pb::PutResponse>("/nope.X/Y", get("k")).await;
        says(unknown, Code::Unimplemented, "unknown service nope.X");
        // Whoever was refused may go on.
        client.put(put("k", "v")).await.unwrap();
    });
}

#[test]
fn a_member_says_how_it_is() {
    let (home, addresses) = cluster(3);
    let status = || {
        runtime().block_on(async {
            let client = Client::connect(&addresses[2]).await;
            let path = "/etcdserverpb.Maintenance/Status";
            client.call::<_, pb::StatusResponse>(path, pb::StatusRequest {}).await.unwrap()
        })
    };
    // Who leads may change at any time.
    wait_until("the member and the supervisor name the same leader", || {
        home.json(&["cluster", "status"])["leader"].as_u64() == Some(status().leader)
    });
    let status = status();
    assert_eq!(status.header.unwrap().member_id, 3);
    assert!(status.version.starts_with("3.5.") && status.raft_index > 0 && !status.is_learner);
    runtime().block_on(async {
        let client = Client::connect(&addresses[2]).await;
        let members = client.members(false).await.unwrap();
        let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(members[2].client_ur_ls, [format!("http://{}", addresses[2])]);
    });
    let told = home.ok(&["env"]);
    let expected =
        format!("export ETCDCTL_ENDPOINTS={}\nexport ETCDCTL_API=3\n", addresses.join(","));
    assert_eq!(told, expected);
}
