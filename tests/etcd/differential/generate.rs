//! What is asked next.

use bytes::Bytes;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvraft::grpc::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use kvraft::grpc::pb::etcdserverpb::{RequestOp, request_op};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::answer::Answer;
use super::request::Request;

/// Few keys, so that requests meet.
const KEYS: [&str; 14] =
    ["a", "aa", "ab", "b", "ba", "c", "c/1", "c/2", "c/3", "d", "e", "f", "\0", "\u{ff}\0"];

/// Leases of so many names.
const LEASES: i64 = 6;

/// Decides by a seed, and by what it has learnt.
pub struct Generator {
    random: StdRng,
    /// Where the store stands, and up to where its past is gone.
    revision: i64,
    compacted: i64,
    /// etcd dies of a put that is to keep the value of a key that the same transaction has deleted.
    /// So only one of the two is in a transaction: deletes without an end, or such puts.
    puts_may_ignore: bool,
    /// How many requests were granted and refused.
    granted: usize,
    refused: usize,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let random = StdRng::seed_from_u64(seed);
        Generator {
            random,
            revision: 1,
            compacted: 0,
            puts_may_ignore: true,
            granted: 0,
            refused: 0,
        }
    }

    pub fn one_of(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.one_of(list.len())]
    }

    /// Takes note of what became of a request.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        match answer.is_ok() {
            true => self.granted += 1,
            false => self.refused += 1,
        }
        self.revision = answer.revision().unwrap_or(0).max(self.revision);
        if let (Request::Compact(request), true) = (request, answer.is_ok()) {
            self.compacted = request.revision;
        }
    }

    /// A sequence that is refused, or never is, says little.
    pub fn check_that_it_was_worth_it(&self, requests: usize) {
        assert_eq!(self.granted + self.refused, requests);
        let (granted, refused) = (self.granted * 100 / requests, self.refused * 100 / requests);
        assert!(granted > 70 && refused > 2, "{granted} % granted, {refused} % refused");
        assert!(self.revision as usize > requests / 3 && self.compacted > 0);
    }

    pub fn next(&mut self) -> Request {
        match self.one_of(100) {
            0..28 => Request::Put(self.put()),
            28..54 => Request::Range(self.range()),
            54..62 => Request::DeleteRange(self.delete()),
            62..82 => {
                self.puts_may_ignore = self.chance(50);
                let transaction = self.transaction(2);
                self.puts_may_ignore = true;
                Request::Txn(transaction)
            }
            82..84 => Request::Compact(self.compaction()),
            84..89 => Request::LeaseGrant(self.grant()),
            89..92 => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: self.lease() }),
            92..95 => Request::KeepAlive(pb::LeaseKeepAliveRequest { id: self.lease() }),
            95..98 => Request::TimeToLive(pb::LeaseTimeToLiveRequest {
                id: self.lease(),
                keys: self.chance(70),
            }),
            _ => Request::Leases,
        }
    }

    fn key(&mut self) -> Bytes {
        if self.chance(1) { Bytes::new() } else { self.pick(&KEYS).into() }
    }

    fn value(&mut self) -> Bytes {
        if self.chance(5) {
            return Bytes::new();
        }
        // Seldom twice the same, so that an order by value is certain.
        Bytes::from(format!("v{:08x}", self.random.random::<u32>()))
    }

    fn end(&mut self, key: &Bytes) -> Bytes {
        match self.one_of(10) {
            0..4 => Bytes::new(),
            4..7 => {
                let mut end = key.to_vec();
                if let Some(last) = end.last_mut() {
                    *last = last.saturating_add(1);
                }
                end.into()
            }
            7 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    /// Mostly now; else about what is kept.
    fn past(&mut self) -> i64 {
        match self.one_of(20) {
            0..12 => 0,
            12 => self.revision + 1,
            13 => self.compacted - 1,
            14 => self.compacted,
            15 => self.revision,
            _ => self.random.random_range(self.compacted..=self.revision),
        }
    }

    /// A lower or an upper bound of revisions, mostly none.
    fn bound(&mut self) -> i64 {
        if self.chance(85) { 0 } else { self.random.random_range(0..=self.revision + 1) }
    }

    fn lease(&mut self) -> i64 {
        let id = self.random.random_range(1..=LEASES);
        if self.chance(5) { -id } else { id }
    }

    fn put(&mut self) -> pb::PutRequest {
        let ignore_value = self.puts_may_ignore && self.chance(7);
        let ignore_lease = self.puts_may_ignore && self.chance(7);
        let with_value = !ignore_value || self.chance(3);
        let with_lease = self.chance(15) && (!ignore_lease || self.chance(5));
        pb::PutRequest {
            key: self.key(),
            value: if with_value { self.value() } else { Bytes::new() },
            lease: if with_lease { self.lease() } else { 0 },
            prev_kv: self.chance(40),
            ignore_value,
            ignore_lease,
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let key = self.key();
        let range_end = self.end(&key);
        let orders = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
        // Two keys may have the same of any of these, and come in any order then, but for the last.
        let targets = [SortTarget::Key, SortTarget::Mod];
        let (sort_order, sort_target) = (self.pick(&orders), self.pick(&targets));
        // Of keys that one transaction changed, any may come first, and be what is left of a cut.
        let may_tie = sort_target != SortTarget::Key;
        pb::RangeRequest {
            range_end,
            limit: if !may_tie && self.chance(30) { self.random.random_range(-1..5) } else { 0 },
            revision: self.past(),
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            // On another node than the last write's, it may see less.
            serializable: false,
            keys_only: self.chance(10),
            count_only: self.chance(10),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
            key,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let key = self.key();
        pb::DeleteRangeRequest { range_end: self.end(&key), key, prev_kv: self.chance(50) }
    }

    fn compaction(&mut self) -> pb::CompactionRequest {
        let revision = match self.one_of(10) {
            0 => self.compacted,
            1 => self.revision + 1,
            2 => self.revision,
            _ => self.random.random_range(self.compacted..=self.revision),
        };
        pb::CompactionRequest { revision, physical: self.chance(30) }
    }

    fn grant(&mut self) -> pb::LeaseGrantRequest {
        // Long enough that none ends while the test runs.
        let ttl = if self.chance(3) { 9_000_000_001 } else { self.random.random_range(5000..9000) };
        pb::LeaseGrantRequest { id: self.lease(), ttl }
    }

    fn transaction(&mut self, depth: u32) -> pb::TxnRequest {
        let compare = (0..self.one_of(4)).map(|_| self.compare()).collect();
        let (success, failure) = (self.operations(depth), self.operations(depth));
        pb::TxnRequest { compare, success, failure }
    }

    fn operations(&mut self, depth: u32) -> Vec<RequestOp> {
        let most = if self.chance(1) { 140 } else { 5 };
        (0..self.one_of(most)).map(|_| self.operation(depth)).collect()
    }

    fn operation(&mut self, depth: u32) -> RequestOp {
        use request_op::Request as Op;
        let request = match self.one_of(20) {
            0..8 => Op::RequestPut(self.put()),
            8..15 => Op::RequestRange(self.range()),
            15..18 => {
                let mut delete = self.delete();
                if self.puts_may_ignore && delete.range_end[..] == [0] {
                    delete.range_end.clear();
                }
                Op::RequestDeleteRange(delete)
            }
            _ if depth > 0 => Op::RequestTxn(self.transaction(depth - 1)),
            _ => Op::RequestRange(self.range()),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> pb::Compare {
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let number = self.random.random_range(0..=self.revision);
        let targets = [
            (CompareTarget::Version, TargetUnion::Version(self.random.random_range(0..4))),
            (CompareTarget::Create, TargetUnion::CreateRevision(number)),
            (CompareTarget::Mod, TargetUnion::ModRevision(number)),
            (CompareTarget::Value, TargetUnion::Value(self.value())),
            (CompareTarget::Lease, TargetUnion::Lease(self.lease())),
        ];
        let which = self.one_of(targets.len());
        let (target, union) = targets.into_iter().nth(which).unwrap();
        let key = self.key();
        let is_range = self.chance(25);
        pb::Compare {
            result: self.pick(&results).into(),
            target: target.into(),
            target_union: if self.chance(3) { None } else { Some(union) },
            range_end: if is_range { self.end(&key) } else { Bytes::new() },
            key,
        }
    }
}
