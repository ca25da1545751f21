//! `etcdserverpb.KV`: range, put, delete, transactions, compaction.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::header::header;
use super::large::{LargeQueries, unrefused};
use super::message::{Framed, Reply};
use super::pb::etcdserverpb as pb;
use super::pb::etcdserverpb::request_op;
use super::{convert, status};
use crate::kv::{
    Answer, Command, Effect, Operation, Outcome, PutRequest, Query, RequestOp, ResponseOp,
    Transaction, TransactionResult,
};
use crate::replica::{Consistency, Request, Response};
use crate::types::Revision;

/// Serves one connection.
pub struct Kv {
    pub backend: Rc<dyn Backend>,
    pub large: Rc<LargeQueries>,
}

impl Kv {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let kv = self;
        Some(match method {
            "Range" => call.unary(async move |message, time| kv.range(message, time).await).await,
            "Put" => call.unary(async move |message, time| kv.put(message, time).await).await,
            "DeleteRange" => {
                call.unary(async move |message, time| kv.delete_range(message, time).await).await
            }
            "Txn" => call.unary(async move |message, time| kv.txn(message, time).await).await,
            "Compact" => {
                call.unary(async move |message, time| kv.compact(message, time).await).await
            }
            _ => return None,
        })
    }

    pub async fn range(
        &self,
        request: pb::RangeRequest,
        timeout: Duration,
    ) -> Result<Framed, Status> {
        if !request.serializable && self.backend.is_learner() {
            return Err(status::not_at_learner());
        }
        let consistency = match request.serializable {
            true => Consistency::Stale,
            false => Consistency::Linearizable,
        };
        let query = Query::Range(convert::range(request)?);
        let small = self.look(&query, consistency, timeout).await?;
        // To write down what is large is much work, too.
        let header = header(&*self.backend, Revision(0));
        let write = move |answer| convert::range_response(header, answer).framed();
        match small {
            Some(answer) => write(answer),
            None => self.large.answer(&*self.backend, query, timeout, write).await,
        }
    }

    pub async fn put(
        &self,
        request: pb::PutRequest,
        timeout: Duration,
    ) -> Result<pb::PutResponse, Status> {
        let put = convert::put(request)?;
        let is_plain = put.lease.0 == 0 && !put.prev_kv && !put.ignore_value && !put.ignore_lease;
        if is_plain {
            let PutRequest { key, value, .. } = put;
            let outcome = self.write(Operation::Put { key, value }, timeout).await?;
            let header = Some(header(&*self.backend, outcome.revision));
            return Ok(pb::PutResponse { header, prev_kv: None });
        }
        let lease = put.lease;
        let done = match self.alone(RequestOp::Put(put), timeout).await {
            // Both may be missing. A transaction says so of the key first, a put of the lease.
            Err(status)
                if lease.0 != 0 && status.message() == status::key_not_found().message() =>
            {
                let of_lease = Query::Lease { id: lease, keys: false, after: Bytes::new() };
                self.query(of_lease, Consistency::Linearizable, timeout).await?;
                Err(status)
            }
            other => other,
        };
        let (revision, response) = done?;
        let ResponseOp::Put { prev } = response else { return Err(another_kind()) };
        let header = Some(header(&*self.backend, revision));
        Ok(pb::PutResponse { header, prev_kv: prev.map(convert::key_value) })
    }

    pub async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
        timeout: Duration,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        let delete = convert::delete_range(request)?;
        let (revision, response) = self.alone(RequestOp::DeleteRange(delete), timeout).await?;
        let ResponseOp::DeleteRange { deleted, prev } = response else {
            return Err(another_kind());
        };
        Ok(pb::DeleteRangeResponse {
            header: Some(header(&*self.backend, revision)),
            deleted: convert::signed(deleted),
            prev_kvs: prev.into_iter().map(convert::key_value).collect(),
        })
    }

    /// One operation that takes a transaction's form.
    async fn alone(
        &self,
        operation: RequestOp,
        timeout: Duration,
    ) -> Result<(Revision, ResponseOp), Status> {
        let transaction = Transaction { success: vec![operation], ..Transaction::default() };
        let (revision, mut result) = self.transact(transaction, timeout).await?;
        let response = result.responses.pop().ok_or_else(another_kind)?;
        Ok((revision, response))
    }

    pub async fn transact(
        &self,
        transaction: Transaction,
        timeout: Duration,
    ) -> Result<(Revision, TransactionResult), Status> {
        let outcome = self.write(Operation::Transaction(transaction), timeout).await?;
        match outcome.effect {
            Effect::Transaction(result) => Ok((outcome.revision, Arc::unwrap_or_clone(result))),
            _ => Err(another_kind()),
        }
    }

    pub async fn txn(
        &self,
        request: pb::TxnRequest,
        timeout: Duration,
    ) -> Result<pb::TxnResponse, Status> {
        let consistency = consistency(&request);
        let transaction = convert::transaction(request)?;
        let (revision, result) = match transaction.only_reads() {
            true => self.read_together(transaction, consistency, timeout).await?,
            false => self.transact(transaction, timeout).await?,
        };
        let changed = convert::has_changed(&result.responses);
        let before = Revision(revision.0 - u64::from(changed));
        Ok(pb::TxnResponse {
            header: Some(header(&*self.backend, revision)),
            succeeded: result.succeeded,
            responses: convert::responses(&result, before),
        })
    }

    /// A transaction that only reads is a query: it needs no place in the log.
    async fn read_together(
        &self,
        transaction: Transaction,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<(Revision, TransactionResult), Status> {
        let query = Query::Transaction(transaction);
        let answer = self.query(query, consistency, timeout).await?;
        Ok((answer.revision, answer.transaction.ok_or_else(another_kind)?))
    }

    pub async fn compact(
        &self,
        request: pb::CompactionRequest,
        timeout: Duration,
    ) -> Result<pb::CompactionResponse, Status> {
        let Ok(revision) = u64::try_from(request.revision) else {
            return Err(status::compacted());
        };
        let operation = Operation::Compact { revision: Revision(revision) };
        let outcome = self.write(operation, timeout).await?;
        // The leader has applied it; this member is to have forgotten it, too, before it says so.
        self.catch_up(timeout).await?;
        Ok(pb::CompactionResponse { header: Some(header(&*self.backend, outcome.revision)) })
    }

    /// Waits until this member has applied all that was acknowledged so far.
    pub async fn catch_up(&self, timeout: Duration) -> Result<(), Status> {
        let query = Query::Get { key: Bytes::from_static(b"\0") };
        self.query(query, Consistency::Linearizable, timeout).await.map(drop)
    }

    /// Writes, through the log. Nothing is tried twice: clients of etcd do that themselves.
    pub async fn write(&self, operation: Operation, timeout: Duration) -> Result<Outcome, Status> {
        let command = Command { session: None, operation };
        command.validate().map_err(|invalid| status::of_invalid(&invalid))?;
        let request = Request::Write { command: command.encode() };
        let written = match self.backend.ask(request, timeout).await {
            Response::Written(bytes) => bytes,
            other => return Err(status::of_response(&other)),
        };
        let outcome = decoded(Outcome::decode(&written))?;
        match outcome.effect {
            Effect::Refused(refusal) => Err(status::of_refusal(refusal)),
            _ => Ok(outcome),
        }
    }

    /// Asks the state machine, here. A range is answered whole.
    pub async fn query(
        &self,
        query: Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<Answer, Status> {
        match self.look(&query, consistency, timeout).await? {
            Some(answer) => Ok(answer),
            None => self.large.answer(&*self.backend, query, timeout, Ok).await,
        }
    }

    /// The same; nothing if it is much work.
    async fn look(
        &self,
        query: &Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<Option<Answer>, Status> {
        query.validate().map_err(|invalid| status::of_invalid(&invalid))?;
        let looked = self.backend.look(query.clone(), consistency, timeout).await;
        let answer = looked.map_err(|response| status::of_response(&response))?;
        answer.map(unrefused).transpose()
    }
}

/// How fresh a transaction must be that only reads: as the strictest of its ranges.
fn consistency(request: &pb::TxnRequest) -> Consistency {
    let mut operations = request.success.iter().chain(&request.failure).peekable();
    // One without operations asks for nothing old: its comparisons decide.
    let is_empty = operations.peek().is_none();
    let serializable = operations.all(|operation| match &operation.request {
        Some(request_op::Request::RequestRange(range)) => range.serializable,
        _ => false,
    });
    if serializable && !is_empty { Consistency::Stale } else { Consistency::Linearizable }
}

pub(super) fn decoded<T>(result: Result<T, crate::kv::DecodeError>) -> Result<T, Status> {
    result.map_err(|error| Status::internal(format!("etcdserver: {error}")))
}

pub fn another_kind() -> Status {
    Status::internal("etcdserver: the replica's answer is of another kind")
}
