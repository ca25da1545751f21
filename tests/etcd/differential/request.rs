//! One request, and how it is sent.

use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::{ResponseOp, response_op};
use kvraft::grpc::pb::mvccpb::KeyValue;
use tonic::Status;

use super::answer::Answer;
use crate::etcd_client::Client;

#[derive(Clone, Debug)]
pub enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    KeepAlive(pb::LeaseKeepAliveRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
}

impl Request {
    pub async fn send(&self, client: &Client) -> Answer {
        match self.clone() {
            Request::Range(request) => {
                let called = client.call("/etcdserverpb.KV/Range", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::RangeResponse| &mut it.header,
                    |mut response| {
                        order_ties(&mut response.kvs);
                        Answer::Range(response)
                    },
                )
            }
            Request::Put(request) => {
                let called = client.call("/etcdserverpb.KV/Put", request).await;
                Answer::of(called, |it: &mut pb::PutResponse| &mut it.header, Answer::Put)
            }
            Request::DeleteRange(request) => {
                let called = client.call("/etcdserverpb.KV/DeleteRange", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::DeleteRangeResponse| &mut it.header,
                    Answer::DeleteRange,
                )
            }
            Request::Txn(request) => {
                let called = client.call("/etcdserverpb.KV/Txn", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::TxnResponse| &mut it.header,
                    |mut response| {
                        order_ties_within(&mut response.responses);
                        Answer::Txn(response)
                    },
                )
            }
            Request::Compact(request) => {
                let called = client.call("/etcdserverpb.KV/Compact", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::CompactionResponse| &mut it.header,
                    Answer::Compact,
                )
            }
            Request::LeaseGrant(request) => {
                let called = client.call("/etcdserverpb.Lease/LeaseGrant", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::LeaseGrantResponse| &mut it.header,
                    Answer::LeaseGrant,
                )
            }
            Request::LeaseRevoke(request) => {
                let called = client.call("/etcdserverpb.Lease/LeaseRevoke", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::LeaseRevokeResponse| &mut it.header,
                    Answer::LeaseRevoke,
                )
            }
            Request::KeepAlive(request) => {
                let called = keep_alive(client, request).await;
                Answer::of(
                    called,
                    |it: &mut pb::LeaseKeepAliveResponse| &mut it.header,
                    Answer::KeepAlive,
                )
            }
            // How much time is left is for the clock to say; keys come in no certain order.
            Request::TimeToLive(request) => {
                let called = client.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::LeaseTimeToLiveResponse| &mut it.header,
                    |mut response| {
                        let (left, granted) = (response.ttl, response.granted_ttl);
                        assert!(left == -1 || (granted - 600..=granted).contains(&left), "{left}");
                        response.ttl = left.min(0);
                        response.keys.sort();
                        Answer::TimeToLive(response)
                    },
                )
            }
            Request::Leases => {
                // It is answered from what the node itself knows: let it know all.
                let read = pb::RangeRequest { key: "x".into(), ..Default::default() };
                let read: Result<pb::RangeResponse, _> =
                    client.call("/etcdserverpb.KV/Range", read).await;
                assert!(read.is_ok());
                let request = pb::LeaseLeasesRequest {};
                let called = client.call("/etcdserverpb.Lease/LeaseLeases", request).await;
                Answer::of(
                    called,
                    |it: &mut pb::LeaseLeasesResponse| &mut it.header,
                    |mut response| {
                        response.leases.sort_by_key(|lease| lease.id);
                        Answer::Leases(response)
                    },
                )
            }
        }
    }
}

async fn keep_alive(
    client: &Client,
    request: pb::LeaseKeepAliveRequest,
) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let mut answers = client.ask("/etcdserverpb.Lease/LeaseKeepAlive", request).await?;
    answers.message().await?.ok_or_else(|| Status::unknown("the stream ended"))
}

/// Keys of one mod revision that stand together may do so in any order.
fn order_ties(items: &mut [KeyValue]) {
    for tied in items.chunk_by_mut(|a, b| a.mod_revision == b.mod_revision) {
        tied.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

fn order_ties_within(responses: &mut [ResponseOp]) {
    for response in responses {
        match &mut response.response {
            Some(response_op::Response::ResponseRange(range)) => order_ties(&mut range.kvs),
            Some(response_op::Response::ResponseTxn(inner)) => {
                order_ties_within(&mut inner.responses);
            }
            _ => {}
        }
    }
}
