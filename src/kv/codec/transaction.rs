//! Transactions as bytes.

use super::query::{decode_range, encode_range, range_words};
use super::{Failure, copy, list_words, struct_words, words};
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RequestOp, Transaction,
};
use crate::schema::kv_capnp as schema;
use crate::types::{LeaseId, Revision};

use capnp::struct_list;

/// Words of what a transaction's pointers lead to.
pub(super) fn transaction_words(transaction: &Transaction) -> usize {
    let compare = list_words::<schema::compare::Builder<'_>>(transaction.compare.len());
    let compared = transaction.compare.iter().map(|compare| {
        let value = match &compare.target {
            CompareTarget::Value(value) => words(value),
            _ => 0,
        };
        words(&compare.start) + words(&compare.end) + value
    });
    compare
        + compared.sum::<usize>()
        + operations_words(&transaction.success)
        + operations_words(&transaction.failure)
}

fn operations_words(operations: &[RequestOp]) -> usize {
    let of_operation = |operation: &RequestOp| match operation {
        RequestOp::Range(range) => range_words(range),
        RequestOp::Put(put) => {
            let put_words = struct_words::<schema::put_request::Builder<'_>>();
            put_words + words(&put.key) + words(&put.value)
        }
        RequestOp::DeleteRange(delete) => {
            let delete_words = struct_words::<schema::delete_range::Builder<'_>>();
            delete_words + words(&delete.start) + words(&delete.end)
        }
        RequestOp::Transaction(inner) => {
            struct_words::<schema::transaction::Builder<'_>>() + transaction_words(inner)
        }
    };
    list_words::<schema::request_op::Builder<'_>>(operations.len())
        + operations.iter().map(of_operation).sum::<usize>()
}

pub(super) fn encode_transaction(
    transaction: &Transaction,
    mut into: schema::transaction::Builder<'_>,
) {
    let mut list = into.reborrow().init_compare(transaction.compare.len() as u32);
    for (position, compare) in transaction.compare.iter().enumerate() {
        encode_compare(compare, list.reborrow().get(position as u32));
    }
    let success = into.reborrow().init_success(transaction.success.len() as u32);
    encode_operations(&transaction.success, success);
    let failure = into.init_failure(transaction.failure.len() as u32);
    encode_operations(&transaction.failure, failure);
}

fn encode_compare(compare: &Compare, mut into: schema::compare::Builder<'_>) {
    use schema::compare::Result as Coded;
    into.set_start(&compare.start);
    into.set_end(&compare.end);
    into.set_result(match compare.result {
        CompareResult::Equal => Coded::Equal,
        CompareResult::Greater => Coded::Greater,
        CompareResult::Less => Coded::Less,
        CompareResult::NotEqual => Coded::NotEqual,
    });
    match &compare.target {
        CompareTarget::Version(version) => into.set_version(*version),
        CompareTarget::CreateRevision(revision) => into.set_create_revision(revision.0),
        CompareTarget::ModRevision(revision) => into.set_mod_revision(revision.0),
        CompareTarget::Value(value) => into.set_value(value),
        CompareTarget::Lease(lease) => into.set_lease(lease.0),
    }
}

fn encode_operations(
    operations: &[RequestOp],
    mut list: struct_list::Builder<'_, schema::request_op::Owned>,
) {
    for (position, operation) in operations.iter().enumerate() {
        let into = list.reborrow().get(position as u32);
        match operation {
            RequestOp::Range(range) => encode_range(range, into.init_range()),
            RequestOp::Put(put) => {
                let mut into = into.init_put();
                into.set_key(&put.key);
                into.set_value(&put.value);
                into.set_lease(put.lease.0);
                into.set_prev_kv(put.prev_kv);
                into.set_ignore_value(put.ignore_value);
                into.set_ignore_lease(put.ignore_lease);
            }
            RequestOp::DeleteRange(delete) => {
                let mut into = into.init_delete_range();
                into.set_start(&delete.start);
                into.set_end(&delete.end);
                into.set_prev_kv(delete.prev_kv);
            }
            RequestOp::Transaction(inner) => encode_transaction(inner, into.init_transaction()),
        }
    }
}

pub(super) fn decode_transaction(
    from: schema::transaction::Reader<'_>,
) -> Result<Transaction, Failure> {
    Ok(Transaction {
        compare: from.get_compare()?.iter().map(decode_compare).collect::<Result<_, _>>()?,
        success: decode_operations(from.get_success()?)?,
        failure: decode_operations(from.get_failure()?)?,
    })
}

fn decode_compare(from: schema::compare::Reader<'_>) -> Result<Compare, Failure> {
    use schema::compare::{Result as Coded, Which};
    Ok(Compare {
        start: copy(from.get_start()?),
        end: copy(from.get_end()?),
        result: match from.get_result()? {
            Coded::Equal => CompareResult::Equal,
            Coded::Greater => CompareResult::Greater,
            Coded::Less => CompareResult::Less,
            Coded::NotEqual => CompareResult::NotEqual,
        },
        target: match from.which()? {
            Which::Version(version) => CompareTarget::Version(version),
            Which::CreateRevision(at) => CompareTarget::CreateRevision(Revision(at)),
            Which::ModRevision(at) => CompareTarget::ModRevision(Revision(at)),
            Which::Value(value) => CompareTarget::Value(copy(value?)),
            Which::Lease(lease) => CompareTarget::Lease(LeaseId(lease)),
        },
    })
}

fn decode_operations(
    list: struct_list::Reader<'_, schema::request_op::Owned>,
) -> Result<Vec<RequestOp>, Failure> {
    list.iter().map(decode_request_op).collect()
}

fn decode_request_op(from: schema::request_op::Reader<'_>) -> Result<RequestOp, Failure> {
    use schema::request_op::Which;
    Ok(match from.which()? {
        Which::Range(range) => RequestOp::Range(decode_range(range?)?),
        Which::Put(put) => {
            let put = put?;
            RequestOp::Put(PutRequest {
                key: copy(put.get_key()?),
                value: copy(put.get_value()?),
                lease: LeaseId(put.get_lease()),
                prev_kv: put.get_prev_kv(),
                ignore_value: put.get_ignore_value(),
                ignore_lease: put.get_ignore_lease(),
            })
        }
        Which::DeleteRange(delete) => {
            let delete = delete?;
            RequestOp::DeleteRange(DeleteRangeRequest {
                start: copy(delete.get_start()?),
                end: copy(delete.get_end()?),
                prev_kv: delete.get_prev_kv(),
            })
        }
        Which::Transaction(inner) => RequestOp::Transaction(decode_transaction(inner?)?),
    })
}
