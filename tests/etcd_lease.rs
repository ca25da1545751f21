//! Leases, locks and elections on a living cluster, as etcd's clients call them.

mod kvctl_home;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::uri::PathAndQuery;
use kvctl_home::{Home, wait_until};
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::{v3electionpb as election, v3lockpb as lock};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// What a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Client { grpc: Grpc::new(endpoint.connect().await.unwrap()) }
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        self.grpc.unary(Request::new(request), path, codec).await.map(|it| it.into_inner())
    }

    async fn stream<Q, A>(
        &mut self,
        path: &'static str,
        requests: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        self.grpc.streaming(Request::new(requests), path, codec).await.map(|it| it.into_inner())
    }

    async fn grant(&mut self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        self.call("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl, id }).await
    }

    async fn revoke(&mut self, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
        self.call("/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id }).await
    }

    async fn keep_alive(&mut self, id: i64) -> Result<i64, Status> {
        let asked = futures::stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let mut answers: Streaming<pb::LeaseKeepAliveResponse> =
            self.stream("/etcdserverpb.Lease/LeaseKeepAlive", asked).await?;
        let answer = answers.message().await?.unwrap();
        assert_eq!(answer.id, id);
        assert!(answers.message().await?.is_none(), "half-closed, and ended with OK");
        Ok(answer.ttl)
    }

    async fn left(&mut self, id: i64) -> pb::LeaseTimeToLiveResponse {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        self.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await.unwrap()
    }

    async fn leases(&mut self) -> Vec<i64> {
        let path = "/etcdserverpb.Lease/LeaseLeases";
        let all: pb::LeaseLeasesResponse =
            self.call(path, pb::LeaseLeasesRequest {}).await.unwrap();
        all.leases.iter().map(|lease| lease.id).collect()
    }

    async fn put(&mut self, key: &str, lease: i64) -> Result<pb::PutResponse, Status> {
        let key = Bytes::from(key.to_owned());
        let request = pb::PutRequest { key, lease, ..Default::default() };
        self.call("/etcdserverpb.KV/Put", request).await
    }

    /// The keys that begin with it, and the store's revision.
    async fn keys(&mut self, prefix: &str) -> (Vec<String>, i64) {
        let mut range_end = prefix.to_owned().into_bytes();
        *range_end.last_mut().unwrap() += 1;
        let key = Bytes::from(prefix.to_owned());
        let request = pb::RangeRequest { key, range_end: range_end.into(), ..Default::default() };
        let found: pb::RangeResponse = self.call("/etcdserverpb.KV/Range", request).await.unwrap();
        let name = |kv: &kvraft::grpc::pb::mvccpb::KeyValue| text(&kv.key);
        (found.kvs.iter().map(name).collect(), found.header.unwrap().revision)
    }

    async fn lock(&mut self, name: &'static str, lease: i64) -> Result<lock::LockResponse, Status> {
        let request = lock::LockRequest { name: name.into(), lease };
        self.call("/v3lockpb.Lock/Lock", request).await
    }

    async fn unlock(&mut self, key: Bytes) -> Result<lock::UnlockResponse, Status> {
        self.call("/v3lockpb.Lock/Unlock", lock::UnlockRequest { key }).await
    }

    async fn campaign(
        &mut self,
        lease: i64,
        value: &'static str,
    ) -> Result<election::CampaignResponse, Status> {
        let request = election::CampaignRequest { name: "e".into(), lease, value: value.into() };
        self.call("/v3electionpb.Election/Campaign", request).await
    }

    async fn proclaim(
        &mut self,
        leader: Option<election::LeaderKey>,
        value: &'static str,
    ) -> Result<election::ProclaimResponse, Status> {
        let request = election::ProclaimRequest { leader, value: value.into() };
        self.call("/v3electionpb.Election/Proclaim", request).await
    }

    async fn resign(
        &mut self,
        leader: Option<election::LeaderKey>,
    ) -> Result<election::ResignResponse, Status> {
        self.call("/v3electionpb.Election/Resign", election::ResignRequest { leader }).await
    }

    async fn leader(&mut self) -> Result<election::LeaderResponse, Status> {
        let request = election::LeaderRequest { name: "e".into() };
        self.call("/v3electionpb.Election/Leader", request).await
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn says<A: std::fmt::Debug>(refused: Result<A, Status>) -> (Code, String) {
    let status = refused.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// A cluster that knows leases, and where its nodes serve.
fn cluster(nodes: u32) -> (Home, Vec<String>) {
    let home = Home::with(nodes);
    let addresses: Vec<String> =
        home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect();
    let runtime = runtime();
    wait_until("leases are known", || {
        runtime.block_on(async { Client::connect(&addresses[0]).await.grant(99, 2).await }).is_ok()
    });
    runtime.block_on(async { Client::connect(&addresses[0]).await.revoke(99).await }).unwrap();
    (home, addresses)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(addresses: &[String]) -> Vec<Client> {
    let mut clients = Vec::new();
    for address in addresses {
        clients.push(Client::connect(address).await);
    }
    clients
}

/// Asks again and again until what is told is as expected.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn every_member_serves_leases_in_etcds_words() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let mut clients = connect(&addresses).await;
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
        let not_found = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
        assert_eq!(says(clients[0].revoke(0).await), not_found);
        assert_eq!(says(clients[0].revoke(77).await), not_found);
        assert_eq!(says(clients[0].put("k", 77).await), not_found);
        let exists = (Code::FailedPrecondition, "etcdserver: lease already exists".to_owned());
        assert_eq!(says(clients[0].grant(-4, 30).await), exists);
        let too_large = (Code::OutOfRange, "etcdserver: too large lease TTL".to_owned());
        assert_eq!(says(clients[0].grant(0, 9_000_000_001).await), too_large);

        for key in ["k/b", "k/a"] {
            clients[1].put(key, granted.id).await.unwrap();
        }
        for client in &mut clients {
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
        let mut clients = connect(&addresses).await;
        for id in 1..=10 {
            clients[0].grant(id, 60).await.unwrap();
        }
        let ids: Vec<i64> = (0..1000).map(|number| number % 12).collect();
        for client in &mut clients {
            let asked = ids.clone().into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
            let path = "/etcdserverpb.Lease/LeaseKeepAlive";
            let answers: Streaming<pb::LeaseKeepAliveResponse> =
                client.stream(path, futures::stream::iter(asked)).await.unwrap();
            let answers: Vec<_> = answers.map(|it| it.unwrap()).collect().await;
            assert!(answers.iter().map(|answer| answer.id).eq(ids.iter().copied()));
            let ttl = |id| if (1..=10).contains(&id) { 60 } else { 0 };
            assert!(answers.iter().all(|it| it.ttl == ttl(it.id) && it.header.is_some()));
        }
    });
}

#[test]
fn a_lease_outlives_its_leader_while_it_is_kept_alive_and_then_ends_with_all_its_keys() {
    let (home, addresses) = cluster(3);
    runtime().block_on(async {
        let mut clients = connect(&addresses).await;
        let lease = clients[0].grant(0, 4).await.unwrap().id;
        clients[0].put("k/b", lease).await.unwrap();
        let (_, before) = {
            clients[1].put("k/a", lease).await.unwrap();
            clients[1].keys("k/").await
        };
        let mut last = Instant::now();
        for round in 0..16 {
            // Any member will do; the one that was killed comes back.
            let called = until("somebody keeps it alive", async || {
                let called = Instant::now();
                for address in &addresses {
                    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
                        continue;
                    };
                    let Ok(channel) = endpoint.connect().await else { continue };
                    let mut client = Client { grpc: Grpc::new(channel) };
                    match client.keep_alive(lease).await {
                        Ok(ttl) => {
                            assert_eq!(ttl, 4, "it was kept alive all the time");
                            return Some(called);
                        }
                        Err(_) => continue,
                    }
                }
                None
            })
            .await;
            last = called;
            if round == 4 {
                home.ok(&["node", "kill", "leader"]);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut client = clients.remove(0);
        let ended = until("it ends", async || {
            client = Client::connect(&addresses[0]).await;
            let (keys, revision) = client.keys("k/").await;
            keys.is_empty().then_some((Instant::now(), revision))
        })
        .await;
        let lived = ended.0.duration_since(last);
        assert!(lived >= Duration::from_secs(4), "{lived:?}");
        assert!(lived < Duration::from_secs(15), "{lived:?}");
        assert_eq!(ended.1, before + 1, "both keys at one revision");
    });
}

#[test]
fn a_lock_is_handed_over_and_who_gives_up_leaves_nothing() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let mut clients = connect(&addresses).await;
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

        let (mut second, mut third) = (clients[1].clone(), clients[2].clone());
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
        let unknown = |text: &str| (Code::Unknown, text.to_owned());
        let refused = clients[0].lock("m", 77).await;
        assert_eq!(says(refused), unknown("etcdserver: requested lease not found"));
        let refused = clients[0].unlock(Bytes::new()).await;
        assert_eq!(says(refused), unknown("etcdserver: key is not provided"));
    });
}

/// A waiter's key is deleted when it goes: also when all goes down around it.
#[test]
fn a_node_stops_although_somebody_waits_for_a_lock() {
    let (home, addresses) = cluster(1);
    runtime().block_on(async {
        let mut clients = connect(&addresses).await;
        clients[0].lock("m", 0).await.unwrap();
        let mut waiter = Client::connect(&addresses[0]).await;
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
        let mut clients = connect(&addresses).await;
        clients[0].grant(1, 4).await.unwrap();
        clients[0].grant(2, 60).await.unwrap();
        let held = clients[0].lock("m", 2).await.unwrap();
        let mut waiter = clients[1].clone();
        let waiter = tokio::spawn(async move { waiter.lock("m", 1).await });
        until("it waits", async || (clients[0].keys("m/").await.0.len() == 2).then_some(())).await;
        until("its lease ends", async || (clients[0].keys("m/").await.0.len() == 1).then_some(()))
            .await;
        clients[0].unlock(held.key).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
        assert_eq!(says(told), (Code::Unknown, "mutex: session is expired".to_owned()));
    });
}

#[test]
fn elections_are_won_in_turn_and_observed() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let mut clients = connect(&addresses).await;
        let unknown = |text: &str| (Code::Unknown, text.to_owned());
        assert_eq!(says(clients[0].leader().await), unknown("election: no leader"));
        let request = election::LeaderRequest { name: "e".into() };
        let path = "/v3electionpb.Election/Observe";
        let asked = futures::stream::iter([request]);
        let mut observed: Streaming<election::LeaderResponse> =
            clients[2].stream(path, asked).await.unwrap();
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

        let mut second = clients[1].clone();
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
        assert_eq!(says(late), unknown("election: not leader"));
        clients[0].resign(Some(leader)).await.expect("nothing happens");
        let missing = "\"leader\" field must be provided";
        assert_eq!(says(clients[0].proclaim(None, "x").await), unknown(missing));
        assert_eq!(says(clients[0].resign(None).await), unknown(missing));
        // Who gives up leaves nothing.
        clients[0].grant(3, 60).await.unwrap();
        let mut third = clients[1].clone();
        let third = tokio::spawn(async move { third.campaign(3, "three").await });
        until("it stands", async || (clients[0].keys("e/").await.0.len() == 2).then_some(())).await;
        third.abort();
        until("it stands no more", async || {
            (clients[0].keys("e/").await.0 == ["e/2"]).then_some(())
        })
        .await;
    });
}
