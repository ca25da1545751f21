//! The state machine of version 4 as one would write it on a blackboard: every map there ever was
//! is kept, and whatever is asked is looked up in the right one.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::kv::roster::Member;
use crate::types::NodeId;

pub type Map = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Default)]
pub struct PastModel {
    /// The keys at each revision, from 1.
    maps: Vec<Map>,
    /// What is being done at the next one.
    now: Map,
    /// Every change, with its number within its revision.
    pub changes: Vec<Change>,
    /// At zero or never compacted, all can be read: but at zero only once.
    pub compacted: u64,
    was_compacted: bool,
    pub leases: BTreeMap<LeaseId, (u64, u64)>,
    pub alarms: BTreeSet<Alarm>,
    pub members: BTreeMap<NodeId, Member>,
}

impl PastModel {
    pub fn new() -> PastModel {
        PastModel { maps: vec![Map::new()], ..PastModel::default() }
    }

    pub fn revision(&self) -> u64 {
        self.maps.len() as u64
    }

    pub fn at(&self, revision: u64) -> &Map {
        &self.maps[revision as usize - 1]
    }

    pub fn apply(&mut self, operation: &Operation) -> Outcome {
        let command = alone(operation.clone());
        let effect = match command.validate() {
            Err(_) => Err(Refusal::Malformed),
            Ok(()) => self.forbidden(operation).and_then(|()| self.perform(operation)),
        };
        if self.made() > 0 {
            self.maps.push(self.now.clone());
        }
        let effect = effect.unwrap_or_else(Effect::Refused);
        Outcome { revision: Revision(self.revision()), effect }
    }

    /// Changes of the revision that is being made.
    fn made(&self) -> u32 {
        let next = self.revision() + 1;
        self.changes.iter().filter(|it| it.item.mod_revision.0 == next).count() as u32
    }

    fn forbidden(&self, operation: &Operation) -> Result<(), Refusal> {
        use Operation::{
            Alarm, Announce, CompareAndSwap, Enlist, LeaseCheckpoint, LeaseGrant, Put, RaiseVersion,
        };
        let on = |kind| self.alarms.iter().any(|alarm| alarm.kind == kind);
        match operation {
            Alarm(_) | Announce(_) | Enlist { .. } | RaiseVersion { .. } | LeaseCheckpoint(_) => {
                Ok(())
            }
            _ if on(AlarmKind::Corrupt) => Err(Refusal::Corrupt),
            Put { .. } | CompareAndSwap { .. } | LeaseGrant { .. } if on(AlarmKind::NoSpace) => {
                Err(Refusal::NoSpace)
            }
            Operation::Transaction(transaction) if on(AlarmKind::NoSpace) && puts(transaction) => {
                Err(Refusal::NoSpace)
            }
            _ => Ok(()),
        }
    }

    fn perform(&mut self, operation: &Operation) -> Result<Effect, Refusal> {
        Ok(match operation.clone() {
            Operation::Put { key, value } => {
                Effect::Put { existed: self.set(key, value, LeaseId(0)).is_some() }
            }
            Operation::Delete { key } => Effect::Deleted { existed: self.unset(&key).is_some() },
            Operation::CompareAndSwap { key, expected, value } => {
                let found = self.now.get(&key).cloned();
                let same = match (&expected, &found) {
                    (Expected::Absent, None) => true,
                    (Expected::Value(wanted), Some(found)) => found.value == wanted,
                    (Expected::ModRevision(at), Some(found)) => found.mod_revision == *at,
                    _ => false,
                };
                if same {
                    self.set(key, value, LeaseId(0));
                    Effect::Swapped
                } else {
                    Effect::Unchanged { found }
                }
            }
            Operation::Transaction(transaction) => {
                let before = self.now.clone();
                self.check(&transaction, &before, true)?;
                self.check(&transaction, &before, false)?;
                let result = self.transact(&transaction, &before);
                Effect::Transaction(std::sync::Arc::new(result))
            }
            Operation::Compact { revision }
                if revision.0 < self.compacted + u64::from(self.was_compacted) =>
            {
                return Err(Refusal::Compacted);
            }
            Operation::Compact { revision } if revision.0 > self.revision() => {
                return Err(Refusal::FutureRevision);
            }
            Operation::Compact { revision } => {
                (self.compacted, self.was_compacted) = (revision.0, true);
                Effect::Compacted
            }
            Operation::LeaseGrant { id, .. } if self.leases.contains_key(&id) => {
                return Err(Refusal::LeaseExists);
            }
            Operation::LeaseGrant { id, ttl } => {
                self.leases.insert(id, (ttl, 0));
                Effect::LeaseGranted
            }
            Operation::LeaseRevoke { id } => {
                self.leases.remove(&id).ok_or(Refusal::LeaseNotFound)?;
                let keys = self.keys_of(id);
                keys.iter().for_each(|key| drop(self.unset(key)));
                Effect::LeaseRevoked { deleted: keys.len() as u64 }
            }
            Operation::LeaseCheckpoint(checkpoints) => {
                for LeaseCheckpoint { id, remaining } in checkpoints {
                    self.leases.entry(id).and_modify(|lease| lease.1 = remaining);
                }
                Effect::LeasesCheckpointed
            }
            Operation::Alarm(AlarmOrder { alarm, is_on: true }) => {
                self.alarms.insert(alarm);
                Effect::Alarm { alarm: Some(alarm) }
            }
            Operation::Alarm(AlarmOrder { alarm, is_on: false }) => {
                Effect::Alarm { alarm: self.alarms.remove(&alarm).then_some(alarm) }
            }
            Operation::Announce(Announcement { node, name, client_urls }) => {
                let member = self.members.entry(node).or_default();
                (member.name, member.client_urls) = (name, client_urls);
                Effect::Announced
            }
            Operation::Enlist { node } => {
                self.members.entry(node).or_default().is_enlisted = true;
                Effect::Enlisted
            }
            Operation::RaiseVersion { .. } => unreachable!("it is of version 4 already"),
        })
    }

    pub fn keys_of(&self, id: LeaseId) -> Vec<Bytes> {
        let of_lease = |kv: &&KeyValue| kv.lease == id;
        self.now.values().filter(of_lease).map(|kv| kv.key.clone()).collect()
    }

    fn set(&mut self, key: Bytes, value: Bytes, lease: LeaseId) -> Option<KeyValue> {
        let (sub, mod_revision) = (self.made(), Revision(self.revision() + 1));
        let before = self.now.get(&key);
        let (create_revision, version) =
            before.map_or((mod_revision, 1), |kv| (kv.create_revision, kv.version + 1));
        let item =
            KeyValue { key: key.clone(), value, create_revision, mod_revision, version, lease };
        self.changes.push(Change { sub, is_delete: false, item: item.clone() });
        self.now.insert(key, item)
    }

    fn unset(&mut self, key: &Bytes) -> Option<KeyValue> {
        let before = self.now.remove(key)?;
        let item = KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: Revision(0),
            mod_revision: Revision(self.revision() + 1),
            version: 0,
            lease: LeaseId(0),
        };
        self.changes.push(Change { sub: self.made(), is_delete: true, item });
        Some(before)
    }

    fn holds(compare: &Compare, before: &Map) -> bool {
        let within = select(before, &compare.start, &compare.end);
        let absent = |target: &CompareTarget| match target {
            CompareTarget::Value(_) => None,
            CompareTarget::Version(n) => Some(0.cmp(n)),
            CompareTarget::CreateRevision(n) | CompareTarget::ModRevision(n) => Some(0.cmp(&n.0)),
            CompareTarget::Lease(n) => Some(0.cmp(&(n.0 as i64))),
        };
        let present = |kv: &KeyValue| match &compare.target {
            CompareTarget::Value(value) => kv.value.cmp(value),
            CompareTarget::Version(n) => kv.version.cmp(n),
            CompareTarget::CreateRevision(n) => kv.create_revision.cmp(n),
            CompareTarget::ModRevision(n) => kv.mod_revision.cmp(n),
            CompareTarget::Lease(n) => (kv.lease.0 as i64).cmp(&(n.0 as i64)),
        };
        let accepts = |order: std::cmp::Ordering| match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
            CompareResult::NotEqual => !order.is_eq(),
        };
        match within.is_empty() {
            true => absent(&compare.target).is_some_and(accepts),
            false => within.iter().all(|kv| accepts(present(kv))),
        }
    }

    fn chosen<'a>(transaction: &'a Transaction, before: &Map) -> (bool, &'a [RequestOp]) {
        let holds = transaction.compare.iter().all(|compare| PastModel::holds(compare, before));
        (holds, if holds { &transaction.success } else { &transaction.failure })
    }

    /// Of the path that is taken the puts, or all else.
    fn check(&self, transaction: &Transaction, before: &Map, puts: bool) -> Result<(), Refusal> {
        for operation in PastModel::chosen(transaction, before).1 {
            match operation {
                RequestOp::Range(range) if !puts => drop(self.map_of(range.revision)?),
                RequestOp::Put(put) if puts => {
                    let keeps = put.ignore_value || put.ignore_lease;
                    if keeps && !before.contains_key(&put.key) {
                        return Err(Refusal::KeyNotFound);
                    }
                    if put.lease.0 != 0 && !self.leases.contains_key(&put.lease) {
                        return Err(Refusal::LeaseNotFound);
                    }
                }
                RequestOp::Transaction(inner) => self.check(inner, before, puts)?,
                RequestOp::Range(_) | RequestOp::Put(_) | RequestOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn transact(&mut self, transaction: &Transaction, before: &Map) -> TransactionResult {
        let (succeeded, operations) = PastModel::chosen(transaction, before);
        let responses = operations.iter().map(|operation| match operation {
            RequestOp::Range(range) => {
                let (items, more, count) = self.range(range).expect("it was checked");
                ResponseOp::Range { items, more, count }
            }
            RequestOp::Put(put) => {
                let old = self.now.get(&put.key).cloned();
                let value = match &old {
                    Some(old) if put.ignore_value => old.value.clone(),
                    _ => put.value.clone(),
                };
                let lease = match &old {
                    Some(old) if put.ignore_lease => old.lease,
                    _ => put.lease,
                };
                self.set(put.key.clone(), value, lease);
                ResponseOp::Put { prev: old.filter(|_| put.prev_kv) }
            }
            RequestOp::DeleteRange(delete) => {
                let gone: Vec<_> = select(&self.now, &delete.start, &delete.end);
                gone.iter().for_each(|kv| drop(self.unset(&kv.key)));
                let deleted = gone.len() as u64;
                let prev = if delete.prev_kv { gone } else { Vec::new() };
                ResponseOp::DeleteRange { deleted, prev }
            }
            RequestOp::Transaction(inner) => ResponseOp::Transaction(self.transact(inner, before)),
        });
        TransactionResult { succeeded, responses: responses.collect() }
    }

    fn map_of(&self, revision: Revision) -> Result<&Map, Refusal> {
        match revision.0 {
            0 => Ok(&self.now),
            at if at > self.revision() => Err(Refusal::FutureRevision),
            at if at < self.compacted => Err(Refusal::Compacted),
            at => Ok(self.at(at)),
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<(Vec<KeyValue>, bool, u64), Refusal> {
        let mut items = select(self.map_of(request.revision)?, &request.start, &request.end);
        let count = items.len() as u64;
        let within = |it: Revision, min: Revision, max: Revision| {
            (min.0 == 0 || it >= min) && (max.0 == 0 || it <= max)
        };
        items.retain(|kv| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(
                    kv.create_revision,
                    request.min_create_revision,
                    request.max_create_revision,
                )
        });
        // From the least to the most important.
        let descends = request.sort_order == SortOrder::Descend;
        items.sort_by(|a, b| {
            let order = match request.sort_target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if descends { order.reverse() } else { order }
        });
        let mut items: Vec<_> = items.into_iter().skip(request.skip as usize).collect();
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let mut more = items.len() > limit;
        items.truncate(limit);
        if request.count_only {
            (items, more) = (Vec::new(), false);
        }
        if request.keys_only {
            items.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok((items, more, count))
    }

    /// How many changes and past versions are needed once all has been swept.
    pub fn needed(&self) -> (u64, u64) {
        let since = |change: &&Change| change.item.mod_revision.0 >= self.compacted;
        let log = self.changes.iter().filter(since).count() as u64;
        let keys: BTreeSet<_> = self.changes.iter().map(|it| &it.item.key).collect();
        let mut past = 0;
        for key in keys {
            let mut of_key: Vec<&Change> =
                self.changes.iter().filter(|it| it.item.key == *key).collect();
            // What came and went at one revision leaves only its end.
            of_key.reverse();
            of_key.dedup_by_key(|it| it.item.mod_revision);
            of_key.reverse();
            for (place, change) in of_key.iter().enumerate() {
                let replaced = of_key.get(place + 1).map(|next| next.item.mod_revision.0);
                let recent = change.item.mod_revision.0 >= self.compacted;
                let needed = match (change.is_delete, replaced) {
                    (true, _) => recent,
                    (false, Some(at)) => at > self.compacted,
                    (false, None) => false,
                };
                past += u64::from(needed);
            }
        }
        (log, past)
    }
}

fn puts(transaction: &Transaction) -> bool {
    transaction.success.iter().chain(&transaction.failure).any(|operation| match operation {
        RequestOp::Put(_) => true,
        RequestOp::Transaction(inner) => puts(inner),
        RequestOp::Range(_) | RequestOp::DeleteRange(_) => false,
    })
}

fn select(map: &Map, start: &Bytes, end: &Bytes) -> Vec<KeyValue> {
    let within = |kv: &&KeyValue| kv.key >= *start && (end.is_empty() || kv.key < *end);
    map.values().filter(within).cloned().collect()
}
