//! Leases, locks and elections on a living cluster, as etcd's clients call them.

mod etcd_client;
mod kvctl_home;

use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{
    Client, PATIENCE, cluster, connect, get, prefix, put, runtime, says, text, until,
};
use futures::StreamExt;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::{v3electionpb as election, v3lockpb as lock};
use tonic::{Code, Request, Status, Streaming};

impl Client {
    async fn grant(&self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        self.call("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl, id }).await
    }

    async fn revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
        self.call("/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id }).await
    }

    async fn keep_alive(&self, id: i64) -> Result<i64, Status> {
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let mut answers: Streaming<pb::LeaseKeepAliveResponse> =
            self.ask(path, pb::LeaseKeepAliveRequest { id }).await?;
        let answer = answers.message().await?.unwrap();
        assert_eq!(answer.id, id);
        assert!(answers.message().await?.is_none(), "half-closed, and ended with OK");
        Ok(answer.ttl)
    }

    async fn left(&self, id: i64) -> pb::LeaseTimeToLiveResponse {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        self.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await.unwrap()
    }

    async fn leases(&self) -> Vec<i64> {
        let path = "/etcdserverpb.Lease/LeaseLeases";
        let all: pb::LeaseLeasesResponse =
            self.call(path, pb::LeaseLeasesRequest {}).await.unwrap();
        all.leases.iter().map(|lease| lease.id).collect()
    }

    async fn attach(&self, key: &str, lease: i64) -> Result<pb::PutResponse, Status> {
        self.put(pb::PutRequest { lease, ..put(key, "") }).await
    }

    /// The keys that begin with it, and the store's revision.
    async fn keys(&self, start: &str) -> (Vec<String>, i64) {
        let found = self.range(prefix(start)).await.unwrap();
        let name = |kv: &kvraft::grpc::pb::mvccpb::KeyValue| text(&kv.key);
        (found.kvs.iter().map(name).collect(), found.header.unwrap().revision)
    }

    async fn lock(&self, name: &'static str, lease: i64) -> Result<lock::LockResponse, Status> {
        let request = lock::LockRequest { name: name.into(), lease };
        self.call("/v3lockpb.Lock/Lock", request).await
    }

    async fn unlock(&self, key: Bytes) -> Result<lock::UnlockResponse, Status> {
        self.call("/v3lockpb.Lock/Unlock", lock::UnlockRequest { key }).await
    }

    async fn campaign(
        &self,
        lease: i64,
        value: &'static str,
    ) -> Result<election::CampaignResponse, Status> {
        let request = election::CampaignRequest { name: "e".into(), lease, value: value.into() };
        self.call("/v3electionpb.Election/Campaign", request).await
    }

    async fn proclaim(
        &self,
        leader: Option<election::LeaderKey>,
        value: &'static str,
    ) -> Result<election::ProclaimResponse, Status> {
        let request = election::ProclaimRequest { leader, value: value.into() };
        self.call("/v3electionpb.Election/Proclaim", request).await
    }

    async fn resign(
        &self,
        leader: Option<election::LeaderKey>,
    ) -> Result<election::ResignResponse, Status> {
        self.call("/v3electionpb.Election/Resign", election::ResignRequest { leader }).await
    }

    async fn leader(&self) -> Result<election::LeaderResponse, Status> {
        let request = election::LeaderRequest { name: "e".into() };
        self.call("/v3electionpb.Election/Leader", request).await
    }
}

#[test]
fn every_member_serves_leases_in_etcds_words() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        let granted = clients[0].grant(0, 60).await.unwrap();
        assert!(granted.id > 0 && granted.ttl == 60);
        let header = granted.header.unwrap();
        assert!(header.member_id == 1 && header.revision == 1 && header.raft_term > 0);
        for ttl in [1, 0, -5] {
            let short = clients[1].grant(0, ttl).await.unwrap();
            assert_eq!(short.ttl, 2, "the least that there is");
            clients[1].revoke(short.id).await.unwrap();
        }
        assert_eq!(clients[2].grant(-4, 30).await.unwrap().id, -4);
        let not_found = "etcdserver: requested lease not found";
        says(clients[0].revoke(0).await, Code::NotFound, not_found);
        says(clients[0].revoke(77).await, Code::NotFound, not_found);
        says(clients[0].attach("k", 77).await, Code::NotFound, not_found);
        let exists = "etcdserver: lease already exists";
        says(clients[0].grant(-4, 30).await, Code::FailedPrecondition, exists);
        let too_large = "etcdserver: too large lease TTL";
        says(clients[0].grant(0, 9_000_000_001).await, Code::OutOfRange, too_large);

        for key in ["k/b", "k/a"] {
            clients[1].attach(key, granted.id).await.unwrap();
        }
        for client in &clients {
            let left = client.left(granted.id).await;
            assert!((55..60).contains(&left.ttl), "rounded down: {}", left.ttl);
            assert_eq!((left.granted_ttl, left.id), (60, granted.id));
            assert_eq!(left.keys.iter().map(text).collect::<Vec<_>>(), ["k/a", "k/b"]);
            assert_eq!(client.keep_alive(granted.id).await.unwrap(), 60);
            assert_eq!(client.keep_alive(77).await.unwrap(), 0);
            let unknown = client.left(77).await;
            assert_eq!((unknown.ttl, unknown.granted_ttl, unknown.keys.len()), (-1, 0, 0));
            let mut all = client.leases().await;
            all.sort_unstable();
            assert_eq!(all, [-4, granted.id]);
        }
        let before = clients[0].keys("k/").await.1;
        let revoked = clients[2].revoke(granted.id).await.unwrap().header.unwrap();
        assert_eq!((revoked.revision, revoked.member_id), (before + 1, 3));
        assert_eq!(clients[0].keys("k/").await, (Vec::new(), before + 1));
    });
}

/// A client may ask again before it is answered.
#[test]
fn a_stream_of_keep_alives_answers_each_in_order() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        for id in 1..=10 {
            clients[0].grant(id, 60).await.unwrap();
        }
        let ids: Vec<i64> = (0..1000).map(|number| number % 12).collect();
        for client in &clients {
            let asked = ids.clone().into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
            let path = "/etcdserverpb.Lease/LeaseKeepAlive";
            let answers: Streaming<pb::LeaseKeepAliveResponse> =
                client.stream(path, Request::new(futures::stream::iter(asked))).await.unwrap();
            let answers: Vec<_> = answers.map(|it| it.unwrap()).collect().await;
            assert!(answers.iter().map(|answer| answer.id).eq(ids.iter().copied()));
            let ttl = |id| if (1..=10).contains(&id) { 60 } else { 0 };
            assert!(answers.iter().all(|it| it.ttl == ttl(it.id) && it.header.is_some()));
        }
    });
}

/// What was handed to a leader that died is answered late: meanwhile another node is asked.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Keeps it alive at whoever answers; when that was asked for, and of whom.
async fn keep_alive_anywhere(addresses: &[String], lease: i64) -> (Instant, Client) {
    until("somebody keeps it alive", async || {
        for address in addresses {
            let Ok(client) = Client::try_connect(address).await else { continue };
            let asked = Instant::now();
            let kept = tokio::time::timeout(ATTEMPT, client.keep_alive(lease)).await;
            if let Ok(Ok(ttl)) = kept {
                assert_eq!(ttl, 4, "it was kept alive all the time");
                return Some((asked, client));
            }
        }
        None
    })
    .await
}

#[test]
fn a_lease_outlives_its_leader_while_it_is_kept_alive_and_then_ends_with_all_its_keys() {
    let (home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        let [kept, left_alone] = [1, 2];
        for lease in [kept, left_alone] {
            clients[0].grant(lease, 4).await.unwrap();
        }
        clients[0].attach("k/b", kept).await.unwrap();
        clients[1].attach("k/a", kept).await.unwrap();
        clients[1].attach("alone", left_alone).await.unwrap();
        keep_alive_anywhere(&addresses, kept).await;
        home.ok(&["node", "kill", "leader"]);
        // A new leader gives every lease its whole time again. So this takes longer than that.
        let (last, client) = until("the one that is left alone ends", async || {
            let (asked, client) = keep_alive_anywhere(&addresses, kept).await;
            let found = client.range(get("alone")).await.ok()?;
            (found.count == 0).then_some((asked, client))
        })
        .await;
        let (keys, before) = client.keys("k/").await;
        assert_eq!(keys, ["k/a", "k/b"]);
        let after = until("it ends", async || {
            let (keys, revision) = client.keys("k/").await;
            keys.is_empty().then_some(revision)
        })
        .await;
        let lived = last.elapsed();
        assert!(lived >= Duration::from_secs(4), "{lived:?}");
        assert_eq!(after, before + 1, "both keys at one revision");
    });
}

#[test]
fn a_lock_is_handed_over_and_who_gives_up_leaves_nothing() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        for lease in [0x1a2b, 0xc, 0xd] {
            clients[0].grant(lease, 60).await.unwrap();
        }
        let held = clients[0].lock("m", 0x1a2b).await.unwrap();
        assert_eq!(text(&held.key), "m/1a2b");
        let taken = held.header.unwrap().revision;
        assert_eq!(clients[1].keys("m/").await, (vec!["m/1a2b".to_owned()], taken));
        let again = clients[2].lock("m", 0x1a2b).await.unwrap();
        assert_eq!(
            (text(&again.key), again.header.unwrap().revision),
            ("m/1a2b".into(), taken + 1)
        );

        let (second, third) = (clients[1].clone(), clients[2].clone());
        let second = tokio::spawn(async move { second.lock("m", 0xc).await });
        until("the second waits", async || {
            (clients[0].keys("m/").await.0.len() == 2).then_some(())
        })
        .await;
        let third = tokio::spawn(async move { third.lock("m", 0xd).await });
        until("the third waits", async || (clients[0].keys("m/").await.0.len() == 3).then_some(()))
            .await;
        // Its client gives up.
        second.abort();
        until("its key is gone", async || {
            (clients[0].keys("m/").await.0 == ["m/1a2b", "m/d"]).then_some(())
        })
        .await;
        assert_eq!(clients[0].left(0xc).await.granted_ttl, 60, "its lease lives on");
        assert!(!third.is_finished());

        clients[0].unlock(held.key.clone()).await.unwrap();
        let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap().unwrap();
        assert_eq!(text(&third.key), "m/d");
        clients[0].unlock(held.key).await.expect("there was none");

        let own = clients[0].lock("own", 0).await.unwrap();
        let lease = i64::from_str_radix(text(&own.key).trim_start_matches("own/"), 16).unwrap();
        assert_eq!(clients[0].left(lease).await.granted_ttl, 60);
        clients[0].grant(-4, 60).await.unwrap();
        assert_eq!(text(&clients[0].lock("neg", -4).await.unwrap().key), "neg/-4");
        let refused = clients[0].lock("m", 77).await;
        says(refused, Code::Unknown, "etcdserver: requested lease not found");
        let refused = clients[0].unlock(Bytes::new()).await;
        says(refused, Code::Unknown, "etcdserver: key is not provided");
    });
}

/// A client asks again elsewhere while its first call is cleaned up.
#[test]
fn who_asks_again_with_the_same_lease_keeps_its_place() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        for lease in [1, 2, 3] {
            clients[0].grant(lease, 60).await.unwrap();
        }
        let waiting = |client: &Client, lease| {
            let client = client.clone();
            tokio::spawn(async move { client.lock("m", lease).await })
        };
        let held = clients[0].lock("m", 1).await.unwrap();
        let first = waiting(&clients[1], 2);
        until("it waits", async || (clients[0].keys("m/").await.0.len() == 2).then_some(())).await;
        let (_, before) = clients[0].keys("m/").await;
        let again = waiting(&clients[2], 2);
        until("it is put anew", async || (clients[0].keys("m/").await.1 > before).then_some(()))
            .await;
        first.abort();
        // Another that gave up after it has been cleaned up.
        let other = waiting(&clients[1], 3);
        until("another waits", async || (clients[0].keys("m/").await.0.len() == 3).then_some(()))
            .await;
        other.abort();
        until("it is gone", async || {
            (clients[0].keys("m/").await.0 == ["m/1", "m/2"]).then_some(())
        })
        .await;
        clients[0].unlock(held.key).await.unwrap();
        let again = tokio::time::timeout(PATIENCE, again).await.unwrap().unwrap().unwrap();
        assert_eq!(text(&again.key), "m/2");
        assert_eq!(clients[0].keys("m/").await.0, ["m/2"]);

        // Nobody waits any more: nothing is left.
        let (first, before) = (waiting(&clients[1], 1), clients[0].keys("m/").await.1);
        until("it waits", async || (clients[0].keys("m/").await.0.len() == 2).then_some(())).await;
        let again = waiting(&clients[2], 1);
        until("both wait", async || (clients[0].keys("m/").await.1 > before + 1).then_some(()))
            .await;
        first.abort();
        again.abort();
        until("they are gone", async || (clients[0].keys("m/").await.0 == ["m/2"]).then_some(()))
            .await;
    });
}

/// A waiter's key is deleted when it goes: also when all goes down around it.
#[test]
fn a_node_stops_although_somebody_waits_for_a_lock() {
    let (home, addresses) = cluster(1);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        clients[0].lock("m", 0).await.unwrap();
        let waiter = Client::connect(&addresses[0]).await;
        let waiter = tokio::spawn(async move { waiter.lock("m", 0).await });
        until("it waits", async || (clients[0].keys("m/").await.0.len() == 2).then_some(())).await;
        home.ok(&["node", "stop", "1"]);
        let told = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
        assert!(told.is_err(), "{told:?}");
        let log = home.path().join("default/nodes/1/node.log");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("stopped") && !log.contains("panicked"), "{log}");
    });
}

#[test]
fn who_waits_for_a_lock_with_a_lease_that_ends_is_told() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        clients[0].grant(1, 4).await.unwrap();
        clients[0].grant(2, 60).await.unwrap();
        let held = clients[0].lock("m", 2).await.unwrap();
        let waiter = clients[1].clone();
        let waiter = tokio::spawn(async move { waiter.lock("m", 1).await });
        until("it waits", async || (clients[0].keys("m/").await.0.len() == 2).then_some(())).await;
        until("its lease ends", async || (clients[0].keys("m/").await.0.len() == 1).then_some(()))
            .await;
        clients[0].unlock(held.key).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
        says(told, Code::Unknown, "mutex: session is expired");
    });
}

#[test]
fn elections_are_won_in_turn_and_observed() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        says(clients[0].leader().await, Code::Unknown, "election: no leader");
        let request = election::LeaderRequest { name: "e".into() };
        let path = "/v3electionpb.Election/Observe";
        let mut observed: Streaming<election::LeaderResponse> =
            clients[2].ask(path, request).await.unwrap();
        let mut next = async || {
            let told = tokio::time::timeout(PATIENCE, observed.message()).await.unwrap();
            let told = told.unwrap().unwrap();
            let kv = told.kv.unwrap();
            (text(&kv.key), text(&kv.value), told.header.unwrap().revision, kv.mod_revision)
        };
        for lease in [1, 2] {
            clients[0].grant(lease, 60).await.unwrap();
        }
        let first = clients[0].campaign(1, "one").await.unwrap();
        let leader = first.leader.unwrap();
        let revision = first.header.unwrap().revision;
        assert_eq!((text(&leader.key), leader.rev, leader.lease), ("e/1".into(), revision, 1));
        assert_eq!(next().await, ("e/1".into(), "one".into(), revision, revision));

        let second = clients[1].clone();
        let second = tokio::spawn(async move { second.campaign(2, "two").await });
        until("it stands", async || (clients[0].keys("e/").await.0.len() == 2).then_some(())).await;
        let put = clients[0].keys("e/").await.1;
        let leads = clients[1].leader().await.unwrap().kv.unwrap();
        assert_eq!(text(&leads.value), "one");
        clients[1].proclaim(Some(leader.clone()), "uno").await.unwrap();
        let told = next().await;
        assert_eq!((&told.0[..], &told.1[..], told.2), ("e/1", "uno", told.3));
        // Again with the same lease: it leads, and its value is replaced.
        let again = clients[0].campaign(1, "eins").await.unwrap().leader.unwrap();
        assert_eq!(again.rev, leader.rev);
        assert_eq!(next().await.1, "eins");
        assert!(!second.is_finished());

        clients[2].resign(Some(leader.clone())).await.unwrap();
        let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
        let next_leader = second.leader.unwrap();
        assert_eq!((next_leader.rev, second.header.unwrap().revision), (put, put));
        let told = next().await;
        assert_eq!((&told.0[..], &told.1[..], told.3), ("e/2", "two", put));
        assert!(told.2 > put, "the store's revision when it was looked up");

        let late = clients[0].proclaim(Some(leader.clone()), "eins").await;
        says(late, Code::Unknown, "election: not leader");
        clients[0].resign(Some(leader)).await.expect("nothing happens");
        let missing = "\"leader\" field must be provided";
        says(clients[0].proclaim(None, "x").await, Code::Unknown, missing);
        says(clients[0].resign(None).await, Code::Unknown, missing);
        // Who gives up leaves nothing.
        clients[0].grant(3, 60).await.unwrap();
        let third = clients[1].clone();
        let third = tokio::spawn(async move { third.campaign(3, "three").await });
        until("it stands", async || (clients[0].keys("e/").await.0.len() == 2).then_some(())).await;
        third.abort();
        until("it stands no more", async || {
            (clients[0].keys("e/").await.0 == ["e/2"]).then_some(())
        })
        .await;
    });
}
