//! Transactions: decide, check, do.
//!
//! 1. *Decide.* All comparisons, those of nested transactions too, are made on the keys as they
//!    are before anything is done. What is left is a tree of operations without conditions.
//! 2. *Check.* Whatever could be refused is refused now: a revision that cannot be read, a lease
//!    that does not exist, a value to be kept that is not there. As in etcd, this too looks at the
//!    keys as they were; [validation](crate::kv::limits) has seen to it that no operation takes
//!    away what another one builds on.
//! 3. *Do.* One operation after another; each sees what the ones before it did. All changes bear
//!    the same revision, and are numbered within it.
//!
//! Two refusals can only be known on the way: that all the answers together are too large, and that
//! what is read and deleted makes too many keys to look at. Then the store of before takes its
//! place again; to have kept it cost O(1). What the comparisons look at counts too, and is known
//! before anything is done.

use std::sync::Arc;

use super::item::Item;
use super::{Changes, Store};
use crate::kv::limits::{
    ITEM_OVERHEAD_BYTES, MAX_RESULT_PAYLOAD_BYTES, MAX_TRANSACTION_VISITS, RESPONSE_OVERHEAD_BYTES,
};
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, Patience, PutRequest,
    RangeRequest, Refusal, RequestOp, ResponseOp, Transaction, TransactionResult,
};
use crate::types::LeaseId;

/// A transaction that knows which way it goes.
struct Decided {
    succeeded: bool,
    steps: Vec<Step>,
}

enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Transaction(Decided),
}

/// A transaction on its way.
struct Run<'a> {
    changes: Changes,
    /// What is answered so far, in bytes.
    payload: usize,
    visits: Visits<'a>,
}

/// How many keys a transaction may still look at. It is told after each walk: one that goes beyond
/// is the last, so that no more than that one walk is done in vain.
struct Visits<'a> {
    left: u64,
    patience: Patience<'a>,
}

impl Visits<'_> {
    fn spend(&mut self, visited: u64) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(visited).ok_or(Refusal::TooMuchToVisit)?;
        Ok(())
    }
}

impl Store {
    /// Does a valid transaction, wholly or not at all.
    pub fn transact(
        &mut self,
        transaction: Transaction,
        patience: Patience,
    ) -> Result<TransactionResult, Refusal> {
        let past = self.history.as_ref().map_or(0, |history| history.counts().1);
        let left = MAX_TRANSACTION_VISITS + self.keys.len() as u64 + past;
        let mut visits = Visits { left, patience };
        let decided = self.decide(transaction, &mut visits)?;
        self.check_puts(&decided)?;
        self.check_ranges(&decided)?;
        let before = decided.may_be_refused().then(|| self.clone());
        let mut run = Run { changes: Changes::default(), payload: 0, visits };
        let result = self.run(decided, &mut run);
        if let (Err(_), Some(before)) = (&result, before) {
            *self = before;
        }
        result
    }

    /// What a valid transaction finds that only reads.
    pub fn look(
        &self,
        transaction: &Transaction,
        patience: Patience,
    ) -> Result<TransactionResult, Refusal> {
        if !transaction.only_reads() {
            return Err(Refusal::Malformed);
        }
        // The copy costs O(1), and goes as it came.
        self.clone().transact(transaction.clone(), patience)
    }

    fn decide(&self, transaction: Transaction, visits: &mut Visits) -> Result<Decided, Refusal> {
        let Transaction { compare, success, failure } = transaction;
        let mut succeeded = true;
        for compare in &compare {
            succeeded = self.holds(compare, visits)?;
            if !succeeded {
                break;
            }
        }
        let chosen = if succeeded { success } else { failure };
        let mut steps = Vec::with_capacity(chosen.len());
        for operation in chosen {
            steps.push(match operation {
                RequestOp::Range(range) => Step::Range(range),
                RequestOp::Put(put) => Step::Put(put),
                RequestOp::DeleteRange(delete) => Step::DeleteRange(delete),
                RequestOp::Transaction(inner) => Step::Transaction(self.decide(inner, visits)?),
            });
        }
        Ok(Decided { succeeded, steps })
    }

    fn holds(&self, compare: &Compare, visits: &mut Visits) -> Result<bool, Refusal> {
        let mut items = self.items(&compare.start, &compare.end, None, visits.patience);
        let holds = match items.next() {
            None => compare.holds_of_nothing(),
            Some(first) => compare.holds_of(first) && items.all(|item| compare.holds_of(item)),
        };
        visits.spend(items.visited)?;
        Ok(holds)
    }

    /// As in etcd, all puts are looked at before any range: it decides which refusal is told.
    fn check_puts(&self, decided: &Decided) -> Result<(), Refusal> {
        decided.steps.iter().try_for_each(|step| match step {
            Step::Put(put) => self.check_put(put),
            Step::Range(_) | Step::DeleteRange(_) => Ok(()),
            Step::Transaction(inner) => self.check_puts(inner),
        })
    }

    fn check_ranges(&self, decided: &Decided) -> Result<(), Refusal> {
        decided.steps.iter().try_for_each(|step| match step {
            Step::Range(range) => self.check_revision(range.revision),
            Step::Put(_) | Step::DeleteRange(_) => Ok(()),
            Step::Transaction(inner) => self.check_ranges(inner),
        })
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), Refusal> {
        if (put.ignore_value || put.ignore_lease) && self.keys.get(&put.key).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        if put.lease.0 != 0 && self.leases.get(put.lease).is_none() {
            return Err(Refusal::LeaseNotFound);
        }
        Ok(())
    }

    fn run(&mut self, decided: Decided, run: &mut Run) -> Result<TransactionResult, Refusal> {
        let mut responses = Vec::with_capacity(decided.steps.len());
        for step in decided.steps {
            run.pay(RESPONSE_OVERHEAD_BYTES)?;
            responses.push(match step {
                Step::Range(range) => self.run_range(&range, run)?,
                Step::Put(put) => self.run_put(put, run)?,
                Step::DeleteRange(delete) => self.run_delete(&delete, run)?,
                Step::Transaction(inner) => ResponseOp::Transaction(self.run(inner, run)?),
            });
        }
        Ok(TransactionResult { succeeded: decided.succeeded, responses })
    }

    fn run_range(&self, range: &RangeRequest, run: &mut Run) -> Result<ResponseOp, Refusal> {
        let found = self.range(range, MAX_RESULT_PAYLOAD_BYTES, run.visits.patience)?;
        run.visits.spend(found.visited)?;
        if found.cut {
            return Err(Refusal::ResultTooLarge);
        }
        run.pay(found.payload)?;
        let (items, more, count) = (found.items, found.more, found.count);
        Ok(ResponseOp::Range { items, more, count })
    }

    fn run_put(&mut self, put: PutRequest, run: &mut Run) -> Result<ResponseOp, Refusal> {
        let before = self.keys.get(&put.key).map(|item| &item.kv);
        let kept = before.filter(|_| put.ignore_value).map(|kv| kv.value.clone());
        let lease = before.filter(|_| put.ignore_lease).map_or(put.lease, |kv| kv.lease);
        let prev = before.filter(|_| put.prev_kv).cloned();
        run.pay(prev.as_ref().map_or(0, payload))?;
        self.set(&mut run.changes, put.key, kept.unwrap_or(put.value), lease);
        Ok(ResponseOp::Put { prev })
    }

    fn run_delete(
        &mut self,
        delete: &DeleteRangeRequest,
        run: &mut Run,
    ) -> Result<ResponseOp, Refusal> {
        let items = self.items(&delete.start, &delete.end, None, run.visits.patience);
        let items: Vec<Arc<Item>> = items.cloned().collect();
        run.visits.spend(items.len() as u64)?;
        let mut prev = Vec::new();
        for item in &items {
            if delete.prev_kv {
                run.pay(payload(&item.kv))?;
                prev.push(item.show(true));
            }
            self.unset(&mut run.changes, &item.kv.key);
        }
        Ok(ResponseOp::DeleteRange { deleted: items.len() as u64, prev })
    }
}

impl Run<'_> {
    fn pay(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.payload += bytes;
        if self.payload > MAX_RESULT_PAYLOAD_BYTES { Err(Refusal::ResultTooLarge) } else { Ok(()) }
    }
}

fn payload(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + ITEM_OVERHEAD_BYTES
}

impl Decided {
    /// No request is so long that one put, or any number of them that answer nothing of what is
    /// stored, could say too much; and they look at no key but their own.
    fn may_be_refused(&self) -> bool {
        match &self.steps[..] {
            [Step::Put(_)] => false,
            steps => steps.iter().any(|step| !matches!(step, Step::Put(put) if !put.prev_kv)),
        }
    }
}

impl Compare {
    fn holds_of(&self, item: &Item) -> bool {
        let kv = &item.kv;
        self.result.accepts(match &self.target {
            CompareTarget::Version(version) => kv.version.cmp(version),
            CompareTarget::CreateRevision(revision) => kv.create_revision.cmp(revision),
            CompareTarget::ModRevision(revision) => kv.mod_revision.cmp(revision),
            CompareTarget::Value(value) => kv.value.cmp(value),
            CompareTarget::Lease(lease) => signed(kv.lease).cmp(&signed(*lease)),
        })
    }

    fn holds_of_nothing(&self) -> bool {
        self.result.accepts(match &self.target {
            CompareTarget::Version(number) => 0.cmp(number),
            CompareTarget::CreateRevision(revision) | CompareTarget::ModRevision(revision) => {
                0.cmp(&revision.0)
            }
            CompareTarget::Lease(lease) => 0.cmp(&signed(*lease)),
            CompareTarget::Value(_) => return false,
        })
    }
}

/// etcd's ids are signed, and compared so.
fn signed(lease: LeaseId) -> i64 {
    lease.0 as i64
}

impl CompareResult {
    fn accepts(self, order: std::cmp::Ordering) -> bool {
        match self {
            CompareResult::Equal => order.is_eq(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
            CompareResult::NotEqual => order.is_ne(),
        }
    }
}
