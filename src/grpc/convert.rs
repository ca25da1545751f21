//! From etcd's messages to the state machine's words, and back.
//!
//! etcd writes "one key" as a range without an end, and "to the last key" as an end of one zero
//! byte; the state machine has a half-open range with an empty end for the latter. Numbers are
//! signed in etcd's messages: below zero is as good as zero, but where two are compared.

use bytes::Bytes;
use tonic::Status;

use super::pb::etcdserverpb as pb;
use super::pb::etcdserverpb::compare::{CompareResult as Result_, CompareTarget as Target};
use super::pb::etcdserverpb::{request_op, response_op};
use super::pb::mvccpb;
use super::status;
use crate::kv::limits::MAX_TRANSACTION_OPS;
use crate::kv::{
    Answer, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest,
    RangeRequest, RequestOp, ResponseOp, SortOrder, SortTarget, Transaction, TransactionResult,
    after,
};
use crate::types::{LeaseId, Revision};

/// A number that cannot be below zero.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number of ours, none of which comes near the largest.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn revision(number: i64) -> Revision {
    Revision(unsigned(number))
}

/// The half-open range that is meant.
fn range_of(key: Bytes, range_end: &Bytes) -> Result<(Bytes, Bytes), Status> {
    if key.is_empty() {
        return Err(status::empty_key());
    }
    let end = match &range_end[..] {
        [] => after(&key),
        [0] => Bytes::new(),
        _ if *range_end <= key => {
            // Empty: a range that ends where it begins.
            return Ok((key.clone(), key));
        }
        _ => range_end.clone(),
    };
    Ok((key, end))
}

pub fn range(request: pb::RangeRequest) -> Result<RangeRequest, Status> {
    use pb::range_request::{SortOrder as Order, SortTarget as By};
    let (start, end) = range_of(request.key, &request.range_end)?;
    let sort_order = match Order::try_from(request.sort_order) {
        Ok(Order::None) => SortOrder::None,
        Ok(Order::Ascend) => SortOrder::Ascend,
        Ok(Order::Descend) => SortOrder::Descend,
        Err(_) => return Err(status::invalid_sort_option()),
    };
    let sort_target = match By::try_from(request.sort_target) {
        Ok(By::Key) => SortTarget::Key,
        Ok(By::Version) => SortTarget::Version,
        Ok(By::Create) => SortTarget::Create,
        Ok(By::Mod) => SortTarget::Mod,
        Ok(By::Value) => SortTarget::Value,
        Err(_) => return Err(status::invalid_sort_option()),
    };
    Ok(RangeRequest {
        start,
        end,
        limit: unsigned(request.limit),
        keys_only: request.keys_only,
        count_only: request.count_only,
        revision: revision(request.revision),
        min_mod_revision: revision(request.min_mod_revision),
        max_mod_revision: revision(request.max_mod_revision),
        min_create_revision: revision(request.min_create_revision),
        max_create_revision: revision(request.max_create_revision),
        sort_order,
        sort_target,
        skip: 0,
    })
}

pub fn put(request: pb::PutRequest) -> Result<PutRequest, Status> {
    if request.key.is_empty() {
        return Err(status::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(status::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(status::lease_provided());
    }
    Ok(PutRequest {
        key: request.key,
        value: request.value,
        lease: lease(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// Any 64 bits are a lease's name.
fn lease(id: i64) -> LeaseId {
    LeaseId(id as u64)
}

pub fn delete_range(request: pb::DeleteRangeRequest) -> Result<DeleteRangeRequest, Status> {
    let (start, end) = range_of(request.key, &request.range_end)?;
    Ok(DeleteRangeRequest { start, end, prev_kv: request.prev_kv })
}

/// A transaction, checked in etcd's order: how many operations, then the comparisons' keys, then
/// each operation. Overlaps are found by [`Transaction::validate`].
pub fn transaction(request: pb::TxnRequest) -> Result<Transaction, Status> {
    within(request, MAX_TRANSACTION_OPS)
}

fn within(request: pb::TxnRequest, room: usize) -> Result<Transaction, Status> {
    let pb::TxnRequest { compare: compares, success, failure } = request;
    let most = compares.len().max(success.len()).max(failure.len());
    let left = room.checked_sub(most).ok_or_else(status::too_many_operations)?;
    let all = |list: Vec<pb::RequestOp>| -> Result<Vec<RequestOp>, Status> {
        list.into_iter().map(|operation| request_op(operation, left)).collect()
    };
    let compare = compares.into_iter().map(compare).collect::<Result<_, _>>()?;
    Ok(Transaction { compare, success: all(success)?, failure: all(failure)? })
}

fn request_op(operation: pb::RequestOp, left: usize) -> Result<RequestOp, Status> {
    Ok(match operation.request.ok_or_else(status::key_not_found)? {
        request_op::Request::RequestRange(request) => RequestOp::Range(range(request)?),
        request_op::Request::RequestPut(request) => RequestOp::Put(put(request)?),
        request_op::Request::RequestDeleteRange(request) => {
            RequestOp::DeleteRange(delete_range(request)?)
        }
        request_op::Request::RequestTxn(request) => RequestOp::Transaction(within(request, left)?),
    })
}

fn compare(request: pb::Compare) -> Result<Compare, Status> {
    use pb::compare::TargetUnion as Union;
    let (start, end) = range_of(request.key, &request.range_end)?;
    let result = match Result_::try_from(request.result) {
        Ok(Result_::Equal) => CompareResult::Equal,
        Ok(Result_::Greater) => CompareResult::Greater,
        Ok(Result_::Less) => CompareResult::Less,
        Ok(Result_::NotEqual) => CompareResult::NotEqual,
        Err(_) => return Ok(certain(start, end, true)),
    };
    let union = request.target_union;
    let number = match (Target::try_from(request.target), &union) {
        (Ok(Target::Version), Some(Union::Version(number)))
        | (Ok(Target::Create), Some(Union::CreateRevision(number)))
        | (Ok(Target::Mod), Some(Union::ModRevision(number))) => *number,
        _ => 0,
    };
    if number < 0 {
        // Whatever is there is greater.
        let holds = matches!(result, CompareResult::Greater | CompareResult::NotEqual);
        return Ok(certain(start, end, holds));
    }
    let target = match Target::try_from(request.target) {
        Ok(Target::Version) => CompareTarget::Version(unsigned(number)),
        Ok(Target::Create) => CompareTarget::CreateRevision(revision(number)),
        Ok(Target::Mod) => CompareTarget::ModRevision(revision(number)),
        Ok(Target::Value) => CompareTarget::Value(match union {
            Some(Union::Value(value)) => value,
            _ => Bytes::new(),
        }),
        Ok(Target::Lease) => CompareTarget::Lease(match union {
            Some(Union::Lease(id)) => lease(id),
            _ => LeaseId(0),
        }),
        // As if what is there were equal.
        Err(_) => return Ok(certain(start, end, result == CompareResult::Equal)),
    };
    Ok(Compare { start, end, result, target })
}

/// A comparison that always holds, or never: no key has so many versions.
fn certain(start: Bytes, end: Bytes, holds: bool) -> Compare {
    let result = if holds { CompareResult::NotEqual } else { CompareResult::Equal };
    Compare { start, end, result, target: CompareTarget::Version(u64::MAX) }
}

pub fn key_value(item: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: item.key,
        create_revision: signed(item.create_revision.0),
        mod_revision: signed(item.mod_revision.0),
        version: signed(item.version),
        value: item.value,
        lease: item.lease.0 as i64,
    }
}

/// What a range answers. The header gets the answer's revision.
pub fn range_response(header: pb::ResponseHeader, answer: Answer) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(pb::ResponseHeader { revision: signed(answer.revision.0), ..header }),
        kvs: answer.items.into_iter().map(key_value).collect(),
        more: answer.more,
        count: signed(answer.count),
    }
}

/// What a transaction's operations answer, each with the revision that the store had after it.
/// `before` is that of the store before the transaction.
pub fn responses(result: &TransactionResult, before: Revision) -> Vec<pb::ResponseOp> {
    let mut changed = false;
    list(&result.responses, before, &mut changed)
}

fn list(responses: &[ResponseOp], before: Revision, changed: &mut bool) -> Vec<pb::ResponseOp> {
    responses.iter().map(|response| one(response, before, changed)).collect()
}

fn one(response: &ResponseOp, before: Revision, changed: &mut bool) -> pb::ResponseOp {
    *changed |= match response {
        ResponseOp::Put { .. } => true,
        ResponseOp::DeleteRange { deleted, .. } => *deleted > 0,
        ResponseOp::Range { .. } | ResponseOp::Transaction(_) => false,
    };
    let header = Some(pb::ResponseHeader {
        revision: signed(before.0 + u64::from(*changed)),
        ..pb::ResponseHeader::default()
    });
    let shown = |items: &[KeyValue]| items.iter().cloned().map(key_value).collect();
    let response = match response {
        ResponseOp::Range { items, more, count } => {
            response_op::Response::ResponseRange(pb::RangeResponse {
                header,
                kvs: shown(items),
                more: *more,
                count: signed(*count),
            })
        }
        ResponseOp::Put { prev } => response_op::Response::ResponsePut(pb::PutResponse {
            header,
            prev_kv: prev.clone().map(key_value),
        }),
        ResponseOp::DeleteRange { deleted, prev } => {
            response_op::Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header,
                deleted: signed(*deleted),
                prev_kvs: shown(prev),
            })
        }
        ResponseOp::Transaction(inner) => response_op::Response::ResponseTxn(pb::TxnResponse {
            // There, and empty, as etcd's.
            header: Some(pb::ResponseHeader::default()),
            succeeded: inner.succeeded,
            responses: list(&inner.responses, before, changed),
        }),
    };
    pb::ResponseOp { response: Some(response) }
}

/// Whether a transaction's operations changed anything.
pub fn has_changed(responses: &[ResponseOp]) -> bool {
    responses.iter().any(|response| match response {
        ResponseOp::Put { .. } => true,
        ResponseOp::DeleteRange { deleted, .. } => *deleted > 0,
        ResponseOp::Range { .. } => false,
        ResponseOp::Transaction(inner) => has_changed(&inner.responses),
    })
}
