//! Clients of etcd's API that wait for their answers, and clusters for them.

use futures::StreamExt;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::alarm_request::AlarmAction;
use tonic::{Status, Streaming};

use crate::etcd_client::{self, addresses, get, put, runtime};
use crate::kvctl_home::{Home, wait_until};

/// A connection to one node, and what waits for its answers.
pub struct Client {
    client: etcd_client::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let runtime = runtime();
        Client { client: runtime.block_on(etcd_client::Client::connect(address)), runtime }
    }

    pub fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.runtime.block_on(self.client.call(path, request))
    }

    /// The answers to a question that has several, until they end or there are so many.
    pub fn answers<Q, A>(&self, path: &'static str, request: Q, most: usize) -> Vec<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.runtime.block_on(async {
            let answers: Streaming<A> = self.client.ask(path, request).await.unwrap();
            answers.take(most).map(Result::unwrap).collect().await
        })
    }

    pub fn members(&self, linearizable: bool) -> Vec<pb::Member> {
        self.runtime.block_on(self.client.members(linearizable)).unwrap()
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
        self.runtime.block_on(self.client.put(put(key, value)))
    }

    pub fn get(&self, key: &str, serializable: bool) -> Result<pb::RangeResponse, Status> {
        let request = pb::RangeRequest { serializable, ..get(key) };
        self.runtime.block_on(self.client.range(request))
    }

    pub fn compact(&self, revision: i64) -> Result<pb::CompactionResponse, Status> {
        self.runtime.block_on(self.client.compact(revision))
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
        let told = self.client.alarm(action, member_id, alarm);
        let told = self.runtime.block_on(told).unwrap();
        told.alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
    }

    pub fn hash_kv(&self, revision: i64) -> Result<(u32, i64), Status> {
        let request = pb::HashKvRequest { revision };
        let told: pb::HashKvResponse = self.call("/etcdserverpb.Maintenance/HashKV", request)?;
        Ok((told.hash, told.compact_revision))
    }
}

/// A cluster, and a client of each node.
pub fn cluster(nodes: u32) -> (Home, Vec<Client>) {
    let home = Home::with(nodes);
    let clients = clients(&home);
    (home, clients)
}

pub fn clients(home: &Home) -> Vec<Client> {
    addresses(home).iter().map(|it| Client::connect(it)).collect()
}

pub fn of_leader(clients: &[Client]) -> usize {
    let leads = |client: &Client| {
        let status = client.status();
        status.leader == status.header.unwrap().member_id
    };
    wait_until("somebody leads", || clients.iter().filter(|it| leads(it)).count() == 1);
    clients.iter().position(leads).unwrap()
}
