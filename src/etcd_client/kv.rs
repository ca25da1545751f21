//! Keys: ranges, puts, deletions, transactions, compaction.

use super::call::Method;
use super::{Client, Error, pb};
use pb::request_op::Request;

const RANGE: Method = Method::read("/etcdserverpb.KV/Range");
const PUT: Method = Method::write("/etcdserverpb.KV/Put");
const DELETE_RANGE: Method = Method::write("/etcdserverpb.KV/DeleteRange");
const TXN: Method = Method::write("/etcdserverpb.KV/Txn");
const TXN_READ: Method = Method::read("/etcdserverpb.KV/Txn").with_leader(true);
const COMPACT: Method = Method::write("/etcdserverpb.KV/Compact");

impl Client {
    /// Reads keys; all that were asked for come in one answer.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let method = RANGE.with_leader(!request.serializable);
        self.call(method, request).await
    }

    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Error> {
        self.call(PUT, request).await
    }

    pub async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Error> {
        self.call(DELETE_RANGE, request).await
    }

    /// Several operations at one revision. One that only reads is tried again as a read is.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let method = if only_reads(&request) { TXN_READ } else { TXN };
        self.call(method, request).await
    }

    /// Forgets what was before a revision.
    pub async fn compact(
        &self,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Error> {
        self.call(COMPACT, request).await
    }
}

fn only_reads(request: &pb::TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|operation| match &operation.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(inner)) => only_reads(inner),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_with_a_write_in_any_branch_is_a_write() {
        let op = |request| pb::RequestOp { request: Some(request) };
        let read = || op(Request::RequestRange(pb::RangeRequest::default()));
        let write = || op(Request::RequestPut(pb::PutRequest::default()));
        let reads = pb::TxnRequest { success: vec![read()], ..Default::default() };
        assert!(only_reads(&reads));
        let nested = |inner| pb::TxnRequest {
            failure: vec![read(), op(Request::RequestTxn(inner))],
            ..Default::default()
        };
        assert!(only_reads(&nested(reads.clone())));
        let writes = pb::TxnRequest { failure: vec![write()], ..reads };
        assert!(!only_reads(&nested(writes)));
    }
}
