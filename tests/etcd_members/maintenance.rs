//! Alarms, hashes, snapshots, who leads; and what else is on the port.

use bytes::Bytes;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::alarm_request::AlarmAction;
use kvraft::grpc::pb::grpc::health::v1 as health;
use kvraft::grpc::pb::grpc::reflection::v1 as reflection;
use kvraft::grpc::pb::grpc::reflection::v1::server_reflection_request::MessageRequest;
use kvraft::grpc::pb::grpc::reflection::v1::server_reflection_response::MessageResponse;
use tonic::Code;

use crate::client::{Client, clients, cluster, of_leader};
use crate::etcd_client::says;
use crate::kvctl_home::{Home, wait_until};

#[test]
fn without_room_writes_are_refused_until_the_alarm_is_off() {
    let home = Home::new();
    home.up_with(3, &["quota = \"256KiB\""]);
    let clients = clients(&home);
    let leader = of_leader(&clients);
    let follower = &clients[(leader + 1) % 3];
    let large = "x".repeat(50 << 10);
    let no_space = "etcdserver: mvcc: database space exceeded";
    for number in 0.. {
        assert!(number < 10, "there is a quota");
        if let Err(error) = follower.put(&format!("large/{number}"), &large) {
            assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, no_space));
            break;
        }
    }
    let kind = pb::AlarmType::Nospace;
    let raised = [(leader as u64 + 1, i32::from(kind))];
    wait_until("the alarm is on", || follower.alarm(AlarmAction::Get, 0, kind) == raised);
    says(follower.put("small", "x"), Code::ResourceExhausted, no_space);
    wait_until("all know", || {
        let text = format!("memberID:{} alarm:NOSPACE ", leader + 1);
        clients.iter().all(|client| client.status().errors == [text.clone()])
    });
    let all = pb::DeleteRangeRequest {
        key: Bytes::from("large/"),
        range_end: Bytes::from("large0"),
        prev_kv: false,
    };
    let deleted: pb::DeleteRangeResponse =
        follower.call("/etcdserverpb.KV/DeleteRange", all).unwrap();
    assert!(deleted.deleted >= 4);
    let revision = deleted.header.unwrap().revision;
    let compact = pb::CompactionRequest { revision, physical: true };
    let _: pb::CompactionResponse = follower.call("/etcdserverpb.KV/Compact", compact).unwrap();
    wait_until("what was compacted is swept", || {
        clients[leader].status().db_size_in_use < 64 << 10
    });
    wait_until("there is room again", || {
        follower.alarm(AlarmAction::Deactivate, leader as u64 + 1, kind);
        follower.put("small", "x").is_ok()
    });
    assert_eq!(follower.alarm(AlarmAction::Deactivate, 77, kind), []);
    assert_eq!(follower.alarm(AlarmAction::Activate, 77, pb::AlarmType::None), []);
    assert_eq!(follower.alarm(AlarmAction::Get, 0, pb::AlarmType::None), []);
    let corrupt = pb::AlarmType::Corrupt;
    let on = [(2, i32::from(corrupt))];
    assert_eq!(follower.alarm(AlarmAction::Activate, 2, corrupt), on);
    says(follower.put("small", "x"), Code::DataLoss, "etcdserver: corrupt cluster");
    assert_eq!(follower.alarm(AlarmAction::Deactivate, 2, corrupt), on);
    follower.put("small", "x").unwrap();
}

#[test]
fn members_that_agree_have_the_same_hash_at_every_revision() {
    let (_home, clients) = cluster(3);
    let mut now = Vec::new();
    for number in 0..20 {
        let key = format!("k{}", number % 7);
        let done = clients[number % 3].put(&key, &number.to_string()).unwrap();
        let revision = done.header.unwrap().revision;
        assert!(clients[0].get(&key, false).unwrap().count == 1, "it has applied that much");
        now.push((revision, clients[0].hash_kv(0).unwrap()));
    }
    for client in &clients {
        client.get("k1", false).unwrap();
        for (revision, then) in &now {
            assert_eq!(client.hash_kv(*revision).unwrap(), *then, "at {revision}");
            assert_eq!(then.1, -1, "it was never compacted");
        }
    }
    let (first, last) = (now[0].0, now[19].0);
    clients[0].compact(last).unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    says(clients[0].hash_kv(first), Code::OutOfRange, compacted);
    let future = "etcdserver: mvcc: required revision is a future revision";
    says(clients[0].hash_kv(last + 1), Code::OutOfRange, future);
    assert_eq!(clients[0].hash_kv(0).unwrap(), (now[19].1.0, last));
    let hashes: Vec<u32> = clients
        .iter()
        .map(|client| {
            client.get("k1", false).unwrap();
            let told: pb::HashResponse =
                client.call("/etcdserverpb.Maintenance/Hash", pb::HashRequest {}).unwrap();
            told.hash
        })
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn the_leadership_is_moved_by_who_has_it() {
    let (_home, clients) = cluster(3);
    let leader = of_leader(&clients);
    let (own, to) = (leader as u64 + 1, (leader as u64 + 1) % 3 + 1);
    let path = "/etcdserverpb.Maintenance/MoveLeader";
    let moved = |client: &Client, target_id| {
        client.call::<_, pb::MoveLeaderResponse>(path, pb::MoveLeaderRequest { target_id })
    };
    let not_leader = "etcdserver: not leader";
    says(moved(&clients[(leader + 1) % 3], to), Code::FailedPrecondition, not_leader);
    for bad in [0, 77] {
        let text = "etcdserver: bad leader transferee";
        says(moved(&clients[leader], bad), Code::FailedPrecondition, text);
    }
    assert_eq!(moved(&clients[leader], own).unwrap().header, None);
    moved(&clients[leader], to).unwrap();
    wait_until("the other one leads", || clients[leader].status().leader == to);
}

#[test]
fn a_snapshot_is_what_etcdctl_wants_and_kvctl_restores_it() {
    use sha2::Digest;
    let (home, clients) = cluster(1);
    let large = "y".repeat(100 << 10);
    clients[0].put("large", &large).unwrap();
    clients[0].put("small", "x").unwrap();
    let path = "/etcdserverpb.Maintenance/Snapshot";
    let blobs: Vec<pb::SnapshotResponse> =
        clients[0].answers(path, pb::SnapshotRequest {}, usize::MAX);
    let (sum, body) = blobs.split_last().unwrap();
    let whole: Vec<u8> = body.iter().flat_map(|blob| blob.blob.to_vec()).collect();
    assert_eq!(whole.len() % 512, 0);
    assert!(body[..body.len() - 1].iter().all(|blob| blob.blob.len() == 32 << 10));
    let mut left = whole.len() as u64;
    for blob in body {
        left -= blob.blob.len() as u64;
        assert_eq!(blob.remaining_bytes, left);
    }
    assert_eq!((sum.remaining_bytes, &sum.blob[..]), (0, &sha2::Sha256::digest(&whole)[..]));
    let file = home.path().join("saved.db");
    let saved = [&whole[..], &sum.blob].concat();
    std::fs::write(&file, &saved).unwrap();
    let file = file.to_str().unwrap();
    home.ok(&["--name", "copy", "snapshot", "restore", file, "-n", "1"]);
    assert_eq!(home.ok(&["--name", "copy", "get", "large"]).trim(), large);
    let mut damaged = saved;
    damaged[whole.len() - 100] ^= 1;
    std::fs::write(file, damaged).unwrap();
    let error = home.fails(1, &["--name", "other", "snapshot", "restore", file]);
    assert!(error.contains("SHA-256"), "{error}");
    // Defragmenting takes a snapshot, too.
    let path = "/etcdserverpb.Maintenance/Defragment";
    let done: pb::DefragmentResponse = clients[0].call(path, pb::DefragmentRequest {}).unwrap();
    assert_eq!(done.header, None);
}

#[test]
fn users_are_not_kept_and_the_server_tells_what_it_serves() {
    let (_home, clients) = cluster(1);
    let client = &clients[0];
    let enable = client.call::<_, pb::AuthEnableResponse>(
        "/etcdserverpb.Auth/AuthEnable",
        pb::AuthEnableRequest {},
    );
    says(enable, Code::FailedPrecondition, "etcdserver: root user does not exist");
    let status: pb::AuthStatusResponse =
        client.call("/etcdserverpb.Auth/AuthStatus", pb::AuthStatusRequest {}).unwrap();
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
    assert!(status.header.unwrap().revision > 0);
    let user = |name: &str| pb::AuthUserAddRequest { name: name.into(), ..Default::default() };
    let path = "/etcdserverpb.Auth/UserAdd";
    let unnamed = client.call::<_, pb::AuthUserAddResponse>(path, user(""));
    says(unnamed, Code::InvalidArgument, "etcdserver: user name is empty");
    let named = client.call::<_, pb::AuthUserAddResponse>(path, user("root"));
    assert_eq!(named.unwrap_err().code(), Code::Unimplemented);
    let users: pb::AuthUserListResponse =
        client.call("/etcdserverpb.Auth/UserList", pb::AuthUserListRequest {}).unwrap();
    assert!(users.users.is_empty());
    let path = "/etcdserverpb.Maintenance/Downgrade";
    let down = |version: &str| {
        let version = version.to_owned();
        let request = pb::DowngradeRequest { version, ..Default::default() };
        client.call::<_, pb::DowngradeResponse>(path, request)
    };
    let wrong = "etcdserver: wrong downgrade target version format";
    says(down("3.4.1"), Code::InvalidArgument, wrong);
    says(down("3.4"), Code::InvalidArgument, "etcdserver: invalid downgrade target version");

    let ask = |service: &str| health::HealthCheckRequest { service: service.into() };
    let path = "/grpc.health.v1.Health/Check";
    let checked: health::HealthCheckResponse = client.call(path, ask("")).unwrap();
    assert_eq!(checked.status, 1);
    let unknown = client.call::<_, health::HealthCheckResponse>(path, ask("x"));
    says(unknown, Code::NotFound, "unknown service");
    let watched: Vec<health::HealthCheckResponse> =
        client.answers("/grpc.health.v1.Health/Watch", ask("x"), 1);
    assert_eq!(watched[0].status, 3);

    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let message_request = Some(MessageRequest::FileContainingSymbol("etcdserverpb.KV".into()));
        let question =
            reflection::ServerReflectionRequest { message_request, ..Default::default() };
        let told: Vec<reflection::ServerReflectionResponse> = client.answers(path, question, 2);
        let [told] = &told[..] else { panic!("one answer for one question: {told:?}") };
        let Some(MessageResponse::FileDescriptorResponse(file)) = &told.message_response else {
            panic!("{told:?}");
        };
        assert!(!file.file_descriptor_proto.is_empty());
    }
}
