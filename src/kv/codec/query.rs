//! Queries and answers as bytes.

use bytes::Bytes;

use super::outcome::{decode_refusal, decode_result, encode_refusal, encode_result, result_words};
use super::transaction::{decode_transaction, encode_transaction, transaction_words};
use super::{
    DecodeError, Failure, copy, decode, decode_items, encode, encode_items, items_words,
    list_words, message_bytes, struct_words, words,
};
use crate::kv::limits::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES};
use crate::kv::{Answer, LeaseStatus, Query, RangeRequest, SortOrder, SortTarget};
use crate::schema::kv_capnp as schema;
use crate::types::{LeaseId, Revision};

use capnp::data_list;

impl Query {
    /// The bytes for a request. The query must be [valid](Query::validate).
    pub fn encode(&self) -> Bytes {
        encode(self.encoded_bytes(), |message| {
            let mut root = message.init_root::<schema::query::Builder<'_>>();
            match self {
                Query::Get { key } => root.set_get(key),
                Query::Range(range) => encode_range(range, root.init_range()),
                Query::Lease { id, keys, after } => {
                    let mut lease = root.init_lease();
                    lease.set_id(id.0);
                    lease.set_keys(*keys);
                    lease.set_after(after);
                }
                Query::Leases { after } => root.set_leases(after.0),
                Query::Revision => root.set_revision(()),
                Query::Transaction(transaction) => {
                    encode_transaction(transaction, root.init_transaction());
                }
            }
        })
    }

    /// How long [`Query::encode`]'s bytes are.
    pub fn encoded_bytes(&self) -> usize {
        let root = 1 + struct_words::<schema::query::Builder<'_>>();
        message_bytes(
            root + match self {
                Query::Get { key } => words(key),
                Query::Range(range) => range_words(range),
                Query::Lease { after, .. } => {
                    struct_words::<schema::lease_query::Builder<'_>>() + words(after)
                }
                Query::Leases { .. } | Query::Revision => 0,
                Query::Transaction(transaction) => {
                    struct_words::<schema::transaction::Builder<'_>>()
                        + transaction_words(transaction)
                }
            },
        )
    }

    /// The query that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Query, DecodeError> {
        use schema::query::Which;
        decode("query", bytes, MAX_REQUEST_BYTES, |message| {
            Ok(match message.get_root::<schema::query::Reader<'_>>()?.which()? {
                Which::Get(key) => Query::Get { key: copy(key?) },
                Which::Range(range) => Query::Range(decode_range(range?)?),
                Which::Lease(lease) => {
                    let lease = lease?;
                    Query::Lease {
                        id: LeaseId(lease.get_id()),
                        keys: lease.get_keys(),
                        after: copy(lease.get_after()?),
                    }
                }
                Which::Leases(after) => Query::Leases { after: LeaseId(after) },
                Which::Revision(()) => Query::Revision,
                Which::Transaction(it) => Query::Transaction(decode_transaction(it?)?),
            })
        })
    }
}

/// Words of a range and what its pointers lead to.
pub(super) fn range_words(range: &RangeRequest) -> usize {
    struct_words::<schema::range::Builder<'_>>() + words(&range.start) + words(&range.end)
}

pub(super) fn encode_range(range: &RangeRequest, mut into: schema::range::Builder<'_>) {
    use schema::range::{SortOrder as Order, SortTarget as Target};
    into.set_start(&range.start);
    into.set_end(&range.end);
    into.set_limit(range.limit);
    into.set_keys_only(range.keys_only);
    into.set_count_only(range.count_only);
    into.set_revision(range.revision.0);
    into.set_min_mod_revision(range.min_mod_revision.0);
    into.set_max_mod_revision(range.max_mod_revision.0);
    into.set_min_create_revision(range.min_create_revision.0);
    into.set_max_create_revision(range.max_create_revision.0);
    into.set_skip(range.skip);
    into.set_sort_order(match range.sort_order {
        SortOrder::None => Order::None,
        SortOrder::Ascend => Order::Ascend,
        SortOrder::Descend => Order::Descend,
    });
    into.set_sort_target(match range.sort_target {
        SortTarget::Key => Target::Key,
        SortTarget::Version => Target::Version,
        SortTarget::Create => Target::Create,
        SortTarget::Mod => Target::Mod,
        SortTarget::Value => Target::Value,
    });
}

pub(super) fn decode_range(from: schema::range::Reader<'_>) -> Result<RangeRequest, Failure> {
    use schema::range::{SortOrder as Order, SortTarget as Target};
    Ok(RangeRequest {
        start: copy(from.get_start()?),
        end: copy(from.get_end()?),
        limit: from.get_limit(),
        keys_only: from.get_keys_only(),
        count_only: from.get_count_only(),
        revision: Revision(from.get_revision()),
        min_mod_revision: Revision(from.get_min_mod_revision()),
        max_mod_revision: Revision(from.get_max_mod_revision()),
        min_create_revision: Revision(from.get_min_create_revision()),
        max_create_revision: Revision(from.get_max_create_revision()),
        skip: from.get_skip(),
        sort_order: match from.get_sort_order()? {
            Order::None => SortOrder::None,
            Order::Ascend => SortOrder::Ascend,
            Order::Descend => SortOrder::Descend,
        },
        sort_target: match from.get_sort_target()? {
            Target::Key => SortTarget::Key,
            Target::Version => SortTarget::Version,
            Target::Create => SortTarget::Create,
            Target::Mod => SortTarget::Mod,
            Target::Value => SortTarget::Value,
        },
    })
}

impl Answer {
    /// The bytes for the client.
    pub fn encode(&self) -> Bytes {
        encode(self.encoded_bytes(), |message| {
            let mut root = message.init_root::<schema::answer::Builder<'_>>();
            root.set_revision(self.revision.0);
            root.set_more(self.more);
            root.set_count(self.count);
            encode_items(&self.items, root.reborrow().init_items(self.items.len() as u32));
            if !self.leases.is_empty() {
                let mut list = root.reborrow().init_leases(self.leases.len() as u32);
                for (position, lease) in self.leases.iter().enumerate() {
                    encode_lease(lease, list.reborrow().get(position as u32));
                }
            }
            if let Some(result) = &self.transaction {
                encode_result(result, root.reborrow().init_transaction());
            }
            if let Some(refusal) = self.refused {
                root.init_refusal().set_refused(encode_refusal(refusal));
            }
        })
    }

    fn encoded_bytes(&self) -> usize {
        let root = 1 + struct_words::<schema::answer::Builder<'_>>();
        let of_keys =
            |lease: &LeaseStatus| -> usize { lease.keys.iter().map(|key| 1 + words(key)).sum() };
        let leases = match self.leases.len() {
            0 => 0,
            count => list_words::<schema::lease_status::Builder<'_>>(count),
        };
        let keys: usize = self.leases.iter().map(of_keys).sum();
        let result = self.transaction.as_ref().map_or(0, |result| {
            struct_words::<schema::transaction_result::Builder<'_>>() + result_words(result)
        });
        message_bytes(root + items_words(&self.items) + leases + keys + result)
    }

    /// The answer that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Answer, DecodeError> {
        use schema::answer::refusal::Which;
        decode("answer", bytes, MAX_ANSWER_BYTES, |message| {
            let root = message.get_root::<schema::answer::Reader<'_>>()?;
            Ok(Answer {
                revision: Revision(root.get_revision()),
                items: decode_items(root.get_items()?)?,
                more: root.get_more(),
                count: root.get_count(),
                leases: root.get_leases()?.iter().map(decode_lease).collect::<Result<_, _>>()?,
                transaction: match root.has_transaction() {
                    true => Some(decode_result(root.get_transaction()?)?),
                    false => None,
                },
                refused: match root.get_refusal().which()? {
                    Which::None(()) => None,
                    Which::Refused(refusal) => Some(decode_refusal(refusal?)),
                },
            })
        })
    }
}

fn encode_lease(lease: &LeaseStatus, mut into: schema::lease_status::Builder<'_>) {
    into.set_id(lease.id.0);
    into.set_granted(lease.granted);
    into.set_remaining(lease.remaining);
    if lease.keys.is_empty() {
        return;
    }
    let mut keys: data_list::Builder<'_> = into.init_keys(lease.keys.len() as u32);
    for (position, key) in lease.keys.iter().enumerate() {
        keys.set(position as u32, key);
    }
}

fn decode_lease(from: schema::lease_status::Reader<'_>) -> Result<LeaseStatus, Failure> {
    Ok(LeaseStatus {
        id: LeaseId(from.get_id()),
        granted: from.get_granted(),
        remaining: from.get_remaining(),
        keys: from.get_keys()?.iter().map(|key| Ok(copy(key?))).collect::<Result<_, Failure>>()?,
    })
}
