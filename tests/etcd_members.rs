//! Members, maintenance and the rest of etcd's API on living clusters, in etcd's own words.

mod kvctl_home;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::uri::PathAndQuery;
use kvctl_home::{Home, wait_until};
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::alarm_request::AlarmAction;
use kvraft::grpc::pb::grpc::health::v1 as health;
use kvraft::grpc::pb::grpc::reflection::v1 as reflection;
use kvraft::grpc::pb::grpc::reflection::v1::server_reflection_request::MessageRequest;
use kvraft::grpc::pb::grpc::reflection::v1::server_reflection_response::MessageResponse;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// A connection to one node, and what waits for its answers.
struct Client {
    grpc: Grpc<Channel>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    fn connect(address: &str) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Client { grpc: Grpc::new(channel), runtime }
    }

    fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, path) = (self.grpc.clone(), PathAndQuery::from_static(path));
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(Request::new(request), path, codec).await.map(|it| it.into_inner())
        })
    }

    /// The answers to a question that has several, until they end or there are so many.
    fn answers<Q, A>(&self, path: &'static str, request: Q, most: usize) -> Vec<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, path) = (self.grpc.clone(), PathAndQuery::from_static(path));
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<Q, A>::default();
            let questions = tokio_stream(request);
            let answers = grpc.streaming(Request::new(questions), path, codec).await.unwrap();
            let mut answers: Streaming<A> = answers.into_inner();
            let mut all = Vec::new();
            while all.len() < most
                && let Some(answer) = answers.message().await.unwrap()
            {
                all.push(answer);
            }
            all
        })
    }

    fn members(&self, linearizable: bool) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable };
        let list: pb::MemberListResponse =
            self.call("/etcdserverpb.Cluster/MemberList", request).unwrap();
        assert_eq!(list.header.unwrap().revision, 0);
        list.members
    }

    fn add(&self, url: &str, is_learner: bool) -> Result<pb::MemberAddResponse, Status> {
        let request = pb::MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner };
        self.call("/etcdserverpb.Cluster/MemberAdd", request)
    }

    fn remove(&self, id: u64) -> Result<pb::MemberRemoveResponse, Status> {
        self.call("/etcdserverpb.Cluster/MemberRemove", pb::MemberRemoveRequest { id })
    }

    fn promote(&self, id: u64) -> Result<pb::MemberPromoteResponse, Status> {
        self.call("/etcdserverpb.Cluster/MemberPromote", pb::MemberPromoteRequest { id })
    }

    fn update(&self, id: u64, urls: &[&str]) -> Result<pb::MemberUpdateResponse, Status> {
        let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
        let request = pb::MemberUpdateRequest { id, peer_ur_ls };
        self.call("/etcdserverpb.Cluster/MemberUpdate", request)
    }

    fn put(&self, key: &str, value: &str) -> Result<pb::PutResponse, Status> {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        self.call("/etcdserverpb.KV/Put", pb::PutRequest { key, value, ..Default::default() })
    }

    fn get(&self, key: &str, serializable: bool) -> Result<pb::RangeResponse, Status> {
        let key = Bytes::from(key.to_owned());
        let request = pb::RangeRequest { key, serializable, ..Default::default() };
        self.call("/etcdserverpb.KV/Range", request)
    }

    fn status(&self) -> pb::StatusResponse {
        self.call("/etcdserverpb.Maintenance/Status", pb::StatusRequest {}).unwrap()
    }

    fn alarm(&self, action: AlarmAction, member_id: u64, alarm: pb::AlarmType) -> Vec<(u64, i32)> {
        let (action, alarm) = (action.into(), alarm.into());
        let request = pb::AlarmRequest { action, member_id, alarm };
        let told: pb::AlarmResponse =
            self.call("/etcdserverpb.Maintenance/Alarm", request).unwrap();
        told.alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
    }

    fn hash_kv(&self, revision: i64) -> Result<(u32, i64), Status> {
        let request = pb::HashKvRequest { revision };
        let told: pb::HashKvResponse = self.call("/etcdserverpb.Maintenance/HashKV", request)?;
        Ok((told.hash, told.compact_revision))
    }
}

/// A stream of one.
fn tokio_stream<Q: Send + 'static>(only: Q) -> impl futures::Stream<Item = Q> + Send {
    futures::stream::iter([only])
}

/// What is expected of an error.
#[track_caller]
fn says<A: std::fmt::Debug>(result: Result<A, Status>, code: Code, text: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.message()), (code, text));
}

fn addresses(home: &Home) -> Vec<String> {
    home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect()
}

/// A cluster whose members know each other's names, and a client of each.
fn cluster(nodes: u32) -> (Home, Vec<Client>) {
    let home = Home::with(nodes);
    let clients = clients(&home);
    (home, clients)
}

fn clients(home: &Home) -> Vec<Client> {
    let clients: Vec<_> = addresses(home).iter().map(|it| Client::connect(it)).collect();
    let named = |client: &Client| client.members(false).iter().all(|it| !it.name.is_empty());
    wait_until("all are known by name", || {
        clients.iter().all(|client| client.members(false).len() == clients.len() && named(client))
    });
    clients
}

fn of_leader(clients: &[Client]) -> usize {
    let leads = |client: &Client| {
        let status = client.status();
        status.leader == status.header.unwrap().member_id
    };
    wait_until("somebody leads", || clients.iter().filter(|it| leads(it)).count() == 1);
    clients.iter().position(leads).unwrap()
}

#[test]
fn every_member_knows_where_the_others_serve() {
    let (home, clients) = cluster(3);
    let addresses = addresses(&home);
    for client in &clients {
        let members = client.members(true);
        for (place, member) in members.iter().enumerate() {
            assert_eq!(member.id, place as u64 + 1);
            assert_eq!(member.name, format!("node-{}", member.id));
            assert_eq!(member.client_ur_ls, [format!("http://{}", addresses[place])]);
            assert!(member.peer_ur_ls[0].starts_with("unix:///"), "{member:?}");
            assert!(!member.is_learner);
        }
    }
}

#[test]
fn members_are_added_moved_promoted_and_removed_at_any_member() {
    let (_home, clients) = cluster(3);
    let leader = of_leader(&clients);
    let (follower, other) = (&clients[(leader + 1) % 3], &clients[(leader + 2) % 3]);
    let (first, second) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
    // The leader has not yet seen the others for five seconds.
    let unhealthy = "etcdserver: unhealthy cluster";
    wait_until("the cluster is healthy", || match follower.add(first, false) {
        Ok(done) => {
            assert_eq!(done.member.as_ref().unwrap().id, 4);
            done.members.len() == 4
        }
        Err(error) => {
            assert_eq!((error.code(), error.message()), (Code::Unavailable, unhealthy));
            false
        }
    });
    let members = other.members(true);
    let new = &members[3];
    assert_eq!((new.id, new.name.as_str(), new.is_learner), (4, "", false), "it is to vote");
    assert_eq!((&new.peer_ur_ls[..], new.client_ur_ls.len()), (&[first.to_owned()][..], 0));
    says(follower.add(second, false), Code::Unavailable, unhealthy);
    let invalid = "etcdserver: given member URLs are invalid";
    says(follower.add("http://127.0.0.1", false), Code::InvalidArgument, invalid);
    let not_found = "etcdserver: member not found";
    says(follower.update(77, &["nothing"]), Code::NotFound, not_found);
    says(follower.update(4, &["nothing"]), Code::InvalidArgument, invalid);
    let exists = "etcdserver: Peer URLs already exists";
    let of_leader = members[leader].peer_ur_ls[0].as_str();
    says(follower.update(4, &[of_leader]), Code::FailedPrecondition, exists);
    follower.update(4, &[second]).unwrap();
    assert_eq!(other.members(true)[3].peer_ur_ls, [second]);
    let no_learner = "etcdserver: can only promote a learner member";
    says(other.promote(4), Code::FailedPrecondition, no_learner);
    says(other.promote(77), Code::NotFound, not_found);
    assert_eq!(other.remove(4).unwrap().members.len(), 3);
    says(other.remove(4), Code::NotFound, not_found);

    let learner = follower.add(first, true).unwrap().member.unwrap();
    assert_eq!((learner.id, learner.is_learner), (5, true), "no number is given twice");
    let too_many = "etcdserver: too many learner members in cluster";
    says(other.add(second, true), Code::FailedPrecondition, too_many);
    let joining = "etcdserver: member ID already exist";
    says(other.add(first, true), Code::FailedPrecondition, joining);
    let behind = "etcdserver: can only promote a learner member which is in sync with leader";
    says(other.promote(5), Code::FailedPrecondition, behind);
    other.remove(5).unwrap();
    for client in &clients {
        assert_eq!(client.members(true).len(), 3);
    }
}

/// A process that goes with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `node.toml` of another node than the first, for whoever starts it by hand.
fn node_toml(home: &Home, id: u64, ports: [u16; 3]) -> PathBuf {
    let nodes = home.path().join("default/nodes");
    let text = std::fs::read_to_string(nodes.join("1/node.toml")).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    let directory = home.path().join(format!("by-hand-{id}"));
    std::fs::create_dir(&directory).unwrap();
    let [peer, http, grpc] = ports.map(|port| format!("127.0.0.1:{port}"));
    let at = |name: &str| toml::Value::from(format!("unix:{}/{name}", directory.display()));
    config.insert("node".into(), (id as i64).into());
    config.insert("directory".into(), directory.display().to_string().into());
    config.insert("peer".into(), format!("tcp:{peer}").into());
    config.insert("client".into(), at("client.sock"));
    config.insert("control".into(), at("control.sock"));
    config.insert("http".into(), http.into());
    config.insert("grpc".into(), grpc.into());
    let other = |id: u64| {
        let socket = nodes.join(format!("{id}/peer.sock"));
        (id.to_string(), toml::Value::from(format!("unix:{}", socket.display())))
    };
    let join: toml::Table = (1..=3).map(other).collect();
    config.insert("join".into(), join.into());
    let path = directory.join("node.toml");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn kvnode(arguments: &[&str], config: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    command.args(arguments).arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// As with etcd: first it is added, then somebody starts it, wherever that is.
#[test]
fn a_member_that_was_added_is_started_by_hand_and_gets_its_vote() {
    let (home, clients) = cluster(3);
    let ports = [free_port(), free_port(), free_port()];
    let url = format!("http://127.0.0.1:{}", ports[0]);
    wait_until("it is added", || clients[0].add(&url, false).is_ok());
    let config = node_toml(&home, 4, ports);
    assert!(kvnode(&["init", "--join"], &config).status().unwrap().success());
    let node = Process(kvnode(&["run"], &config).spawn().unwrap());
    let votes = || {
        let list = home.json(&["member", "list"]);
        let members = list["members"].as_array().unwrap();
        members.iter().any(|member| member["node"] == 4 && member["role"] == "voter")
    };
    wait_until("it votes", votes);
    wait_until("it is known", || clients[1].members(true)[3].name == "node-4");
    let own = Client::connect(&format!("127.0.0.1:{}", ports[2]));
    own.put("through the new one", "x").unwrap();
    assert_eq!(clients[0].get("through the new one", false).unwrap().count, 1);
    wait_until("it is removed", || clients[2].remove(4).is_ok());
    drop(node);
    assert_eq!(clients[0].members(true).len(), 3);
}

#[test]
fn a_learner_answers_only_what_etcds_does_until_it_is_promoted() {
    let (home, clients) = cluster(3);
    let ports = [free_port(), free_port(), free_port()];
    let url = format!("http://127.0.0.1:{}", ports[0]);
    wait_until("it is added", || clients[0].add(&url, true).is_ok());
    let config = node_toml(&home, 4, ports);
    assert!(kvnode(&["init", "--join"], &config).status().unwrap().success());
    let _node = Process(kvnode(&["run"], &config).spawn().unwrap());
    wait_until("it is known", || clients[1].members(true)[3].name == "node-4");
    let own = Client::connect(&format!("127.0.0.1:{}", ports[2]));
    wait_until("it knows that it is a learner", || own.status().is_learner);
    let refused = "etcdserver: rpc not supported for learner";
    says(own.put("", ""), Code::Unavailable, refused);
    says(own.get("k", false), Code::Unavailable, refused);
    assert!(own.get("k", true).is_ok());
    wait_until("it is promoted", || clients[1].promote(4).is_ok());
    wait_until("it is a member like the others", || own.get("k", false).is_ok());
    assert!(!own.status().is_learner);
}

/// Removed by a client, a node of the supervisor's is stopped by it; and a node that is added by
/// the supervisor gets a number that no client's member had.
#[test]
fn the_supervisor_follows_what_clients_do_to_its_members() {
    let (home, clients) = cluster(3);
    let leader = of_leader(&clients);
    let removed = (leader + 1) % 3;
    let id = removed as u64 + 1;
    let other = &clients[leader];
    wait_until("one is added and removed", || other.add("http://127.0.0.1:1", true).is_ok());
    other.remove(4).unwrap();
    wait_until("it is removed", || other.remove(id).is_ok());
    wait_until("it is retired", || {
        let status = home.json(&["cluster", "status"]);
        let retired = status["retired"].as_array().unwrap();
        retired.iter().any(|it| it["node"] == id)
    });
    assert_eq!(home.ok(&["member", "add", "-o", "name"]).trim(), "5");
    assert_eq!(other.members(true).len(), 3);
    wait_until("it is known by name", || other.members(true)[2].name == "node-5");
}

#[test]
fn without_room_writes_are_refused_until_the_alarm_is_off() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "3", "--no-start"]);
    let path = home.path().join("default/cluster.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let smaller = text.replace("quota = \"2GiB\"", "quota = \"256KiB\"");
    assert_ne!(text, smaller);
    std::fs::write(&path, smaller).unwrap();
    home.ok(&["cluster", "up"]);
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
    let compact = pb::CompactionRequest { revision: last, physical: false };
    let _: pb::CompactionResponse = clients[0].call("/etcdserverpb.KV/Compact", compact).unwrap();
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
