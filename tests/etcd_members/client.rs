//! Clients of etcd's API, and clusters for them.

use bytes::Bytes;
use http::uri::PathAndQuery;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::alarm_request::AlarmAction;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::kvctl_home::{Home, wait_until};

/// A connection to one node, and what waits for its answers.
pub struct Client {
    grpc: Grpc<Channel>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Client { grpc: Grpc::new(channel), runtime }
    }

    pub fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
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
    pub fn answers<Q, A>(&self, path: &'static str, request: Q, most: usize) -> Vec<A>
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

    pub fn members(&self, linearizable: bool) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable };
        let list: pb::MemberListResponse =
            self.call("/etcdserverpb.Cluster/MemberList", request).unwrap();
        assert_eq!(list.header.unwrap().revision, 0);
        list.members
    }

    pub fn add(&self, url: &str, is_learner: bool) -> Result<pb::MemberAddResponse, Status> {
        let request = pb::MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner };
        self.call("/etcdserverpb.Cluster/MemberAdd", request)
    }

    pub fn remove(&self, id: u64) -> Result<pb::MemberRemoveResponse, Status> {
        self.call("/etcdserverpb.Cluster/MemberRemove", pb::MemberRemoveRequest { id })
    }

    pub fn promote(&self, id: u64) -> Result<pb::MemberPromoteResponse, Status> {
        self.call("/etcdserverpb.Cluster/MemberPromote", pb::MemberPromoteRequest { id })
    }

    pub fn update(&self, id: u64, urls: &[&str]) -> Result<pb::MemberUpdateResponse, Status> {
        let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
        let request = pb::MemberUpdateRequest { id, peer_ur_ls };
        self.call("/etcdserverpb.Cluster/MemberUpdate", request)
    }

    pub fn put(&self, key: &str, value: &str) -> Result<pb::PutResponse, Status> {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        self.call("/etcdserverpb.KV/Put", pb::PutRequest { key, value, ..Default::default() })
    }

    pub fn get(&self, key: &str, serializable: bool) -> Result<pb::RangeResponse, Status> {
        let key = Bytes::from(key.to_owned());
        let request = pb::RangeRequest { key, serializable, ..Default::default() };
        self.call("/etcdserverpb.KV/Range", request)
    }

    pub fn status(&self) -> pb::StatusResponse {
        self.call("/etcdserverpb.Maintenance/Status", pb::StatusRequest {}).unwrap()
    }

    pub fn alarm(
        &self,
        action: AlarmAction,
        member_id: u64,
        alarm: pb::AlarmType,
    ) -> Vec<(u64, i32)> {
        let (action, alarm) = (action.into(), alarm.into());
        let request = pb::AlarmRequest { action, member_id, alarm };
        let told: pb::AlarmResponse =
            self.call("/etcdserverpb.Maintenance/Alarm", request).unwrap();
        told.alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
    }

    pub fn hash_kv(&self, revision: i64) -> Result<(u32, i64), Status> {
        let request = pb::HashKvRequest { revision };
        let told: pb::HashKvResponse = self.call("/etcdserverpb.Maintenance/HashKV", request)?;
        Ok((told.hash, told.compact_revision))
    }
}

/// A stream of one.
pub fn tokio_stream<Q: Send + 'static>(only: Q) -> impl futures::Stream<Item = Q> + Send {
    futures::stream::iter([only])
}

/// What is expected of an error.
#[track_caller]
pub fn says<A: std::fmt::Debug>(result: Result<A, Status>, code: Code, text: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.message()), (code, text));
}

pub fn addresses(home: &Home) -> Vec<String> {
    home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect()
}

/// A cluster whose members know each other's names, and a client of each.
pub fn cluster(nodes: u32) -> (Home, Vec<Client>) {
    let home = Home::with(nodes);
    let clients = clients(&home);
    (home, clients)
}

pub fn clients(home: &Home) -> Vec<Client> {
    let clients: Vec<_> = addresses(home).iter().map(|it| Client::connect(it)).collect();
    let named =
        |client: &Client| client.members(false).iter().all(|it| !it.client_ur_ls.is_empty());
    wait_until("all are known by name", || {
        clients.iter().all(|client| client.members(false).len() == clients.len() && named(client))
    });
    clients
}

pub fn of_leader(clients: &[Client]) -> usize {
    let leads = |client: &Client| {
        let status = client.status();
        status.leader == status.header.unwrap().member_id
    };
    wait_until("somebody leads", || clients.iter().filter(|it| leads(it)).count() == 1);
    clients.iter().position(leads).unwrap()
}
