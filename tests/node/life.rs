//! Nodes elect, replicate, relay, fail, come back and stop.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kvraft::replica::Response;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{CLUSTER, Cluster, eventually, local, put};

const ALL: [u64; 3] = [1, 2, 3];

async fn http(cluster: &Cluster, id: u64, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(cluster.config(id).http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn any_node_serves_and_all_hold_the_same() {
    let cluster = Cluster::started(3);
    local(async {
        cluster.leader(&ALL).await;
        for id in ALL {
            let client = cluster.client(id).await;
            let hello = client.hello().await;
            assert_eq!((hello.cluster, hello.node.0), (CLUSTER, id));
            client.put_surely(&format!("from-{id}"), &id.to_string()).await;
        }
        for id in ALL {
            let client = cluster.client(id).await;
            for from in ALL {
                assert_eq!(client.get(&format!("from-{from}")).await, Some(from.to_string()));
            }
        }
        let status = cluster.converged(&ALL).await;
        assert_eq!((status.keys, status.revision.0), (3, 4));
        assert_eq!(status.voters.len(), 3);
    });
}

#[test]
fn figures_health_and_readiness_are_served() {
    let cluster = Cluster::started(3);
    local(async {
        let leader = cluster.leader(&ALL).await;
        cluster.client(leader).await.put_surely("k", "v").await;
        assert!(http(&cluster, leader, "/health").await.starts_with("HTTP/1.1 200"));
        eventually("be ready", async || {
            http(&cluster, leader, "/ready").await.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
        let metrics = http(&cluster, leader, "/metrics").await;
        let expected = [
            "kvraft_role{role=\"leader\"} 1",
            "kvraft_role{role=\"candidate\"} 0",
            "kvraft_client_requests_total{kind=\"write\",outcome=\"ok\"} 1",
            "kvraft_client_requests_total{kind=\"read\",outcome=\"busy\"} 0",
            "kvraft_connections{socket=\"client\"}",
            "process_resident_memory_bytes",
        ];
        for line in expected {
            assert!(metrics.contains(line), "no {line} in:\n{metrics}");
        }
        // What nodes propose of themselves counts, too.
        for name in [
            "kvraft_proposals_total{outcome=\"accepted\"} ",
            "kvraft_commit_duration_seconds_count ",
        ] {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
            assert!(value >= Some(1), "no {name} in:\n{metrics}");
        }
        for peer in ALL.into_iter().filter(|id| *id != leader) {
            let connected = format!("kvraft_peer_connected{{peer=\"{peer}\"}} 1");
            assert!(metrics.contains(&connected), "no {connected} in:\n{metrics}");
        }
    });
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::started(3);
    local(async {
        let old = cluster.leader(&ALL).await;
        cluster.client(old).await.put_surely("before", "1").await;
        cluster.signal(old, Signal::SIGKILL);
        assert_eq!(cluster.ended(old), None);
        let rest: Vec<u64> = ALL.into_iter().filter(|id| *id != old).collect();
        cluster.leader(&rest).await;
        let client = cluster.client(rest[0]).await;
        client.put_surely("after", "2").await;
        assert_eq!(client.get("before").await.as_deref(), Some("1"));
        cluster.start(old);
        let status = cluster.converged(&ALL).await;
        assert_eq!(status.keys, 2);
    });
}

#[test]
fn all_killed_in_the_middle_of_writes_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::started(3);
    local(async {
        let leader = cluster.leader(&ALL).await;
        let client = cluster.client(leader).await;
        client.put_surely("warm", "up").await;
        let keys: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
        let mut writes: FuturesUnordered<_> = keys
            .iter()
            .map(async |key| {
                let response = client.execute(&put(key, key), Duration::from_secs(5)).await;
                matches!(response, Ok(Response::Written(_))).then_some(key)
            })
            .collect();
        let mut acknowledged: Vec<&String> = Vec::new();
        while let Some(answer) = writes.next().await {
            acknowledged.extend(answer);
            if acknowledged.len() == 300 {
                ALL.into_iter().for_each(|id| cluster.signal(id, Signal::SIGKILL));
            }
        }
        assert!((300..3000).contains(&acknowledged.len()), "{}", acknowledged.len());
        for id in ALL {
            cluster.ended(id);
            cluster.start(id);
        }
        cluster.leader(&ALL).await;
        let client = cluster.client(2).await;
        for key in acknowledged {
            assert_eq!(client.get(key).await.as_ref(), Some(key));
        }
    });
}

#[test]
fn a_paused_follower_is_brought_up_to_date() {
    let cluster = Cluster::started(3);
    local(async {
        let leader = cluster.leader(&ALL).await;
        let paused = ALL.into_iter().find(|id| *id != leader).unwrap();
        cluster.signal(paused, Signal::SIGSTOP);
        let client = cluster.client(leader).await;
        let value = "v".repeat(10_000);
        for round in 0..20 {
            let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
            let writes = keys.iter().map(|key| client.put_surely(key, &value));
            futures::future::join_all(writes).await;
            assert_eq!(cluster.status(leader).await.leader.unwrap().0, leader, "round {round}");
        }
        cluster.signal(paused, Signal::SIGCONT);
        cluster.converged(&ALL).await;
    });
}

#[test]
fn sigterm_answers_what_is_under_way_and_leaves_no_socket() {
    let mut cluster = Cluster::started(3);
    local(async {
        let leader = cluster.leader(&ALL).await;
        let client = cluster.client(leader).await;
        client.put_surely("warm", "up").await;
        let request = put("k", "v");
        let writes: FuturesUnordered<_> =
            (0..200).map(|_| client.execute(&request, Duration::from_secs(5))).collect();
        let (first, rest) = writes.into_future().await;
        assert!(matches!(first, Some(Ok(Response::Written(_)))), "{first:?}");
        cluster.signal(leader, Signal::SIGTERM);
        let responses: Vec<_> = rest.collect().await;
        assert_eq!(responses.len(), 199);
        for response in responses {
            let response = response.expect("it was answered before the connection ended");
            // A leader that stops hands over first: what came in between may have gone nowhere.
            let expected = matches!(
                response,
                Response::Written(_)
                    | Response::Refused {
                        why: kvraft::replica::Refused::Stopping
                            | kvraft::replica::Refused::NoLeader { .. },
                        ..
                    }
            );
            assert!(expected, "{response:?}");
        }
        assert_eq!(cluster.ended(leader), Some(0));
        for what in ["peer", "client", "control"] {
            let socket = cluster.directory(leader).join(format!("{what}.sock"));
            assert!(!socket.exists(), "{} is left", socket.display());
        }
        let rest: Vec<u64> = ALL.into_iter().filter(|id| *id != leader).collect();
        cluster.leader(&rest).await;
    });
}

#[test]
fn shutdown_over_the_control_socket_is_graceful() {
    let mut cluster = Cluster::started(1);
    local(async {
        cluster.leader(&[1]).await;
        let stream = kvraft::rpc::connect(&cluster.address(1, "control")).await.unwrap();
        let (client, _connection) = kvraft::rpc::Connection::open::<
            kvraft::schema::control_capnp::node::Client,
        >(stream, kvraft::rpc::Limits::default());
        client.shutdown_request().send().promise.await.unwrap();
        assert_eq!(cluster.ended(1), Some(0));
        assert!(cluster.log(1).contains("stopping: an operator asked for it"));
    });
}
