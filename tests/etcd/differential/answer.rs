//! What was answered, without what may differ.

use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::ResponseHeader;
use tonic::{Code, Status};

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    KeepAlive(pb::LeaseKeepAliveResponse),
    TimeToLive(pb::LeaseTimeToLiveResponse),
    Leases(pb::LeaseLeasesResponse),
    Error(Code, String),
}

impl Answer {
    /// Of a call, its header without who says so.
    pub fn of<A>(
        called: Result<A, Status>,
        header: impl Fn(&mut A) -> &mut Option<ResponseHeader>,
        answer: impl Fn(A) -> Answer,
    ) -> Answer {
        match called {
            Ok(mut response) => {
                if let Some(header) = header(&mut response) {
                    let ResponseHeader { cluster_id, member_id, raft_term, .. } = header;
                    assert!(*cluster_id != 0 && *member_id != 0 && *raft_term != 0);
                    (*cluster_id, *member_id, *raft_term) = (0, 0, 0);
                }
                answer(response)
            }
            Err(status) => Answer::Error(status.code(), status.message().to_owned()),
        }
    }

    pub fn is_ok(&self) -> bool {
        !matches!(self, Answer::Error(..))
    }

    /// The store's revision, if it was told.
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Answer::Range(it) => &it.header,
            Answer::Put(it) => &it.header,
            Answer::DeleteRange(it) => &it.header,
            Answer::Txn(it) => &it.header,
            Answer::Compact(it) => &it.header,
            Answer::LeaseGrant(it) => &it.header,
            Answer::LeaseRevoke(it) => &it.header,
            Answer::KeepAlive(it) => &it.header,
            Answer::TimeToLive(it) => &it.header,
            Answer::Leases(it) => &it.header,
            Answer::Error(..) => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}
