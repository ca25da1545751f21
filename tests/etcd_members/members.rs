//! Who the members are, at any of them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tonic::Code;

use crate::client::{Client, cluster, of_leader};
use crate::etcd_client::{addresses, says};
use crate::kvctl_home::{Home, wait_until};

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

/// They say it of themselves when they have begun: whoever asks so early waits for that.
#[test]
fn a_new_cluster_knows_its_members_from_the_first_answer() {
    let home = Home::with(3);
    for address in home.ok(&["env", "-o", "name"]).lines() {
        let names: Vec<String> =
            Client::connect(address).members(false).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["node-1", "node-2", "node-3"]);
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
    says(other.add(first, true), Code::FailedPrecondition, exists);
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
