//! Turns: of all keys with a prefix, the one that was created first is whose turn it is. What locks
//! and elections are made of.
//!
//! # The problem
//! A client of etcd puts a key of its own under the prefix, by its lease, and waits until all that
//! were created before it are gone. Others do that by themselves (`etcdctl lock`), so it must be
//! done here in the same keys. And whoever is told that it is its turn acts on it: it must be so.
//!
//! # The rule
//! Whoever waits, waits for one key, the last that was created before its own; so the end of one
//! wakes one. That the key is gone is seen in this node's own state, and may be old news; whose
//! turn it is, is then read from a quorum. First that nobody is before, then that the own key is
//! still there: none can come before it any more, for a key that is created later comes later.
//!
//! A client that goes away leaves no key behind: its [`Place`] deletes it. The put itself runs in a
//! task of its own, so that its outcome is learned even if nobody waits for it any more.
//!
//! # The same lease again
//! A client that lost its connection asks again, mostly at another node, while its first call is
//! being cleaned up. Both mean one key. So whoever finds it puts it anew, which moves its mod
//! revision, and a clean-up deletes only what its own put left: the first does no harm to the
//! second. Nor the second to the first, who may have been told meanwhile that it is its turn: who
//! came later does not delete a key that is first. Then its lease ends it, as it does a key whose
//! put had no known outcome.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};

use super::backend::Backend;
use super::call::TIMEOUT;
use super::kv::{Kv, another_kind};
use super::lease::name;
use super::observing::{Observed, Watched};
use super::status;
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, Query,
    RangeRequest, RequestOp, ResponseOp, SortOrder, SortTarget, Transaction, after,
};
use crate::observe::trace;
use crate::replica::Consistency;
use crate::types::Revision;

/// Between two tries to read while there is no quorum.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// How often a key is tried to be deleted that nobody waits for any more.
const CLEAN_UPS: u32 = 20;

/// All keys that begin with a name and a slash.
#[derive(Clone)]
pub struct Turns {
    pub kv: Rc<Kv>,
    pub start: Bytes,
    pub end: Bytes,
}

/// Who has put its key.
pub struct Joined {
    pub place: Place,
    /// Of the store, right after.
    pub revision: Revision,
    pub is_first: bool,
}

/// A key that goes when nobody waits for its turn any more.
pub struct Place {
    turns: Turns,
    pub key: Bytes,
    pub created: Revision,
    /// By this call.
    put: Revision,
    /// Another call of the same lease put it first.
    is_shared: bool,
    is_kept: bool,
}

impl Turns {
    pub fn new(kv: &Rc<Kv>, name: &[u8]) -> Turns {
        let start: Bytes = [name, b"/"].concat().into();
        // The byte that follows a slash.
        let end: Bytes = [name, b"0"].concat().into();
        Turns { kv: Rc::clone(kv), start, end }
    }

    /// The key of whoever has this lease.
    pub fn key(&self, lease: i64) -> Bytes {
        let sign = if lease < 0 { "-" } else { "" };
        let number = format!("{sign}{:x}", lease.unsigned_abs());
        [&self.start[..], number.as_bytes()].concat().into()
    }

    /// The first of all, or the last of those that were created up to a revision.
    fn one(&self, sort_order: SortOrder, max_create_revision: Revision) -> RangeRequest {
        RangeRequest {
            start: self.start.clone(),
            end: self.end.clone(),
            limit: 1,
            max_create_revision,
            sort_order,
            sort_target: SortTarget::Create,
            ..RangeRequest::default()
        }
    }

    /// Whose turn it is, and the revision that says so.
    pub async fn first(&self) -> Result<(Revision, Option<KeyValue>), Status> {
        let query = Query::Range(self.one(SortOrder::Ascend, Revision(0)));
        let answer = self.kv.query(query, Consistency::Linearizable, TIMEOUT).await?;
        Ok((answer.revision, answer.items.into_iter().next()))
    }

    /// The same, waited for for as long as there is no quorum.
    pub async fn first_in_time(&self) -> Result<(Revision, Option<KeyValue>), Status> {
        read(&self.kv, &Query::Range(self.one(SortOrder::Ascend, Revision(0)))).await
    }

    /// Puts the key of a lease, or puts it anew.
    pub async fn join(&self, lease: i64, value: Bytes) -> Result<Joined, Status> {
        let turns = self.clone();
        let joining = async move { turns.put(lease, value).await };
        let joining = trace::within(trace::current(), joining);
        let joined = tokio::task::spawn_local(joining).await;
        joined.unwrap_or_else(|_| Err(Status::cancelled("etcdserver: server stopped")))
    }

    async fn put(self, lease: i64, value: Bytes) -> Result<Joined, Status> {
        let key = self.key(lease);
        let put =
            PutRequest { key: key.clone(), value, lease: name(lease), ..PutRequest::default() };
        let own = RangeRequest { start: key.clone(), end: after(&key), ..RangeRequest::default() };
        let first = || RequestOp::Range(self.one(SortOrder::Ascend, Revision(0)));
        let transaction = Transaction {
            compare: vec![is_created_at(&key, Revision(0))],
            success: vec![RequestOp::Put(put.clone()), first()],
            failure: vec![RequestOp::Range(own), RequestOp::Put(put), first()],
        };
        let (revision, result) = self.kv.transact(transaction, TIMEOUT).await?;
        let found = match result.responses.first() {
            Some(ResponseOp::Range { items, .. }) => items.first(),
            _ => None,
        };
        let created = found.map_or(revision, |found| found.create_revision);
        let Some(ResponseOp::Range { items, .. }) = result.responses.last() else {
            return Err(another_kind());
        };
        let is_first = items.first().is_none_or(|first| first.create_revision == created);
        let is_shared = found.is_some();
        // Another call of the same lease was told that it is its turn: that one is not ended here.
        let is_kept = is_first && is_shared;
        let place = Place { turns: self, key, created, put: revision, is_shared, is_kept };
        Ok(Joined { place, revision, is_first })
    }

    /// Waits until nobody is before `place`. For as long as there is no quorum it waits on.
    pub async fn wait(&self, place: &Place) -> Result<(), Status> {
        let query = Query::Range(self.one(SortOrder::Descend, before(place.created)));
        loop {
            let answer = read(&self.kv, &query).await?;
            match answer.1 {
                Some(last) => gone(&*self.kv.backend, &last, answer.0).await,
                None => return Ok(()),
            }
        }
    }
}

impl Place {
    /// It stays, as long as its lease does.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether it is still there; and the revision that says so.
    pub async fn is_there(&self) -> Result<(Revision, bool), Status> {
        let query = Query::Get { key: self.key.clone() };
        let (revision, found) = read(&self.turns.kv, &query).await?;
        Ok((revision, found.is_some_and(|found| found.create_revision == self.created)))
    }

    /// Deletes it, if it is as this call left it.
    fn clean_up(&self) -> Transaction {
        let mut delete = delete_created_at(&self.key, self.created);
        delete.compare.push(Compare {
            target: CompareTarget::ModRevision(self.put),
            ..is_created_at(&self.key, self.created)
        });
        if !self.is_shared {
            return delete;
        }
        let nobody_is_before = Compare {
            start: self.turns.start.clone(),
            end: self.turns.end.clone(),
            result: CompareResult::Greater,
            target: CompareTarget::CreateRevision(before(self.created)),
        };
        Transaction {
            compare: vec![nobody_is_before],
            success: Vec::new(),
            failure: vec![RequestOp::Transaction(delete)],
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let (kv, clean_up) = (Rc::clone(&self.turns.kv), self.clean_up());
        tokio::task::spawn_local(async move {
            // It may be tried again although it took effect: it holds for that one put alone.
            for _ in 0..CLEAN_UPS {
                match kv.transact(clean_up.clone(), TIMEOUT).await {
                    Err(error) if is_passing(&error) => tokio::time::sleep(READ_AGAIN).await,
                    _ => return,
                }
            }
        });
    }
}

/// The last revision before.
fn before(revision: Revision) -> Revision {
    Revision(revision.0.saturating_sub(1))
}

/// Holds for a key that was created then; 0: that is not there.
pub fn is_created_at(key: &Bytes, created: Revision) -> Compare {
    Compare {
        start: key.clone(),
        end: after(key),
        result: CompareResult::Equal,
        target: CompareTarget::CreateRevision(created),
    }
}

/// Deletes a key that was created then, and no other.
pub fn delete_created_at(key: &Bytes, created: Revision) -> Transaction {
    let (start, end) = (key.clone(), after(key));
    let delete = DeleteRangeRequest { start, end, prev_kv: false };
    Transaction {
        compare: vec![is_created_at(key, created)],
        success: vec![RequestOp::DeleteRange(delete)],
        failure: Vec::new(),
    }
}

/// Reads one key from a quorum, and tries again for as long as there is none.
async fn read(kv: &Kv, query: &Query) -> Result<(Revision, Option<KeyValue>), Status> {
    loop {
        match kv.query(query.clone(), Consistency::Linearizable, TIMEOUT).await {
            Ok(answer) => return Ok((answer.revision, answer.items.into_iter().next())),
            Err(error) if is_passing(&error) => tokio::time::sleep(READ_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}

/// Waits until this key, which was there at the revision `seen`, is gone, as far as is known here,
/// or until that cannot be known.
async fn gone(backend: &dyn Backend, item: &KeyValue, seen: Revision) {
    let watched = Watched::key(backend, &item.key, seen);
    let Ok(mut watched) = watched else { return tokio::time::sleep(READ_AGAIN).await };
    while let Observed::Put(_) = watched.next().await {}
}

/// There is no quorum, or one that has too much to do.
fn is_passing(error: &Status) -> bool {
    let is_busy = error.message() == status::too_many_requests().message();
    error.code() == Code::Unavailable || is_busy
}

/// Everything that goes wrong inside loses its code, as in etcd.
pub fn inside(error: Status) -> Status {
    Status::unknown(error.message())
}
