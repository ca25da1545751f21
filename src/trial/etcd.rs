//! One operation, done by etcd's API, and what is known of it afterwards.
//!
//! # What may be called `fail`
//!
//! What [`Error::is_without_effect`] says. Whatever writes is sent once and never again, so that
//! its answer is the store's first and only one; what only looks may be tried again.
//!
//! # What becomes a transaction
//!
//! A swap is a put under the condition that the old value is there. To acquire a lock is to put the
//! holder's name where no key is, and to release it is to delete it while it is one's own. An
//! append, of which etcd's API has none, is a put of the whole under the condition that what was
//! read just before is still there; if it is not, it is read and tried again. A condition that did
//! not hold was somebody's check or such a guess: the answer tells which, for in the same moment it
//! reads what was checked. Locks by the service of that name are another matter: see
//! [`lock_service`].

use bytes::Bytes;

use super::lock_service;
use super::recorder::Ended;
use super::wish::Wish;
use super::workload::{Kind, Reads};
use crate::etcd_client::{Client, Error, pb};
use crate::types::LeaseId;
use crate::verify::history::{Call, Deed, Found, Outcome, Step};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

/// Tries of a transaction that appends; with so much competition it fails.
const TRIES: usize = 8;

/// Does it.
pub async fn perform(client: &Client, wish: &Wish, reads: Reads) -> Ended {
    let key = || Bytes::from(wish.key().to_owned());
    let lease = wish.lease.unwrap_or_default();
    let done = match &wish.call {
        Call::Read => read(client, key(), reads).await,
        Call::Write(value) => write(client, key(), value.clone(), lease).await,
        Call::Cas { old, new } => {
            let then = change(&key(), new.as_ref(), lease);
            only_if(client, is(&key(), old.as_ref()), then, Outcome::Mismatch).await
        }
        Call::Delete => delete(client, key()).await,
        Call::Txn(steps) => return transaction(client, wish, steps).await,
        Call::Grant(life) => {
            let granted = client.lease_grant(*life, lease).await;
            granted.map(|granted| ok(Found::Life(granted.ttl), None))
        }
        Call::KeepAlive => match client.lease_keep_alive_once(lease).await {
            Ok(Some(_)) => Ok(ok(Found::Nothing, None)),
            Ok(None) => Ok(Outcome::Mismatch),
            Err(error) => Err(error),
        },
        Call::Revoke => match client.lease_revoke(lease).await {
            Err(error) if is_no_lease(&error) => Ok(Outcome::Mismatch),
            done => done.map(|()| ok(Found::Nothing, None)),
        },
        Call::Acquire(_) if wish.kind == Kind::LockService => {
            return lock_service::acquire(client, key(), lease).await;
        }
        Call::Release(_) if wish.kind == Kind::LockService => {
            return lock_service::release(client, key(), lease).await;
        }
        Call::Acquire(holder) => {
            let then = change(&key(), Some(holder), lease);
            // That somebody else holds it is nothing that a history asks for.
            only_if(client, is(&key(), None), then, Outcome::Failed).await
        }
        Call::Release(holder) => {
            let then = change(&key(), None, lease);
            only_if(client, is(&key(), Some(holder)), then, Outcome::Mismatch).await
        }
        Call::Append(_) | Call::Watch { .. } => {
            return failed(format!("nobody {}s by etcd's API here", wish.call.name()));
        }
    };
    match done {
        Ok(Outcome::Failed) => failed("somebody else holds it".to_owned()),
        Ok(outcome) => Ended { outcome, error: None },
        Err(error) => went_wrong(&error),
    }
}

async fn read(client: &Client, key: Bytes, reads: Reads) -> Result<Outcome, Error> {
    let serializable = reads == Reads::Stale;
    let request = pb::RangeRequest { key, serializable, ..Default::default() };
    let answer = client.range(request).await?;
    let rev = revision(answer.header.as_ref());
    Ok(ok(Found::Value(answer.kvs.into_iter().next().map(|kv| kv.value)), rev))
}

async fn write(
    client: &Client,
    key: Bytes,
    value: Bytes,
    lease: LeaseId,
) -> Result<Outcome, Error> {
    let request = pb::PutRequest { key, value, lease: lease.0 as i64, ..Default::default() };
    let answer = client.put(request).await?;
    Ok(ok(Found::Nothing, revision(answer.header.as_ref())))
}

async fn delete(client: &Client, key: Bytes) -> Result<Outcome, Error> {
    let request = pb::DeleteRangeRequest { key, ..Default::default() };
    let answer = client.delete_range(request).await?;
    Ok(ok(Found::Nothing, revision(answer.header.as_ref())))
}

/// One change under one condition.
async fn only_if(
    client: &Client,
    condition: pb::Compare,
    then: pb::RequestOp,
    otherwise: Outcome,
) -> Result<Outcome, Error> {
    let (compare, success) = (vec![condition], vec![then]);
    let answer = client.txn(pb::TxnRequest { compare, success, failure: Vec::new() }).await?;
    Ok(match answer.succeeded {
        true => ok(Found::Nothing, revision(answer.header.as_ref())),
        false => otherwise,
    })
}

async fn transaction(client: &Client, wish: &Wish, steps: &[Step]) -> Ended {
    let key = |step: &Step| Bytes::from(wish.keys[step.key].clone());
    let checks = || {
        steps.iter().filter_map(|step| match &step.deed {
            Deed::Check(value) => Some((key(step), value.as_ref())),
            _ => None,
        })
    };
    for _ in 0..TRIES {
        let mut compare: Vec<_> = checks().map(|(key, value)| is(&key, value)).collect();
        let mut success = Vec::new();
        for step in steps {
            let key = key(step);
            success.push(match &step.deed {
                Deed::Check(_) => continue,
                Deed::Read => get(key),
                Deed::Write(value) => change(&key, Some(value), LeaseId(0)),
                Deed::Delete => change(&key, None, LeaseId(0)),
                Deed::Append(more) => {
                    // Always a linearizable read: a stale one would only make it fail.
                    let old = match read(client, key.clone(), Reads::Linearizable).await {
                        Ok(Outcome::Ok { found: Found::Value(old), .. }) => old,
                        Ok(_) => None,
                        // Nothing is asked for yet.
                        Err(error) => return failed(error.to_string()),
                    };
                    compare.push(is(&key, old.as_ref()));
                    let whole = [old.as_deref().unwrap_or_default(), more].concat();
                    change(&key, Some(&whole.into()), LeaseId(0))
                }
            });
        }
        let failure = checks().map(|(key, _)| get(key)).collect();
        let answer = match client.txn(pb::TxnRequest { compare, success, failure }).await {
            Ok(answer) => answer,
            Err(error) => return went_wrong(&error),
        };
        let found = values(&answer);
        if answer.succeeded {
            let rev = revision(answer.header.as_ref());
            return Ended { outcome: ok(Found::Values(found), rev), error: None };
        }
        if checks().zip(&found).any(|((_, value), found)| value != found.as_ref()) {
            return Ended { outcome: Outcome::Mismatch, error: None };
        }
    }
    failed(format!("{TRIES} transactions found that somebody else was faster"))
}

/// What the reads of a transaction found.
fn values(answer: &pb::TxnResponse) -> Vec<Option<Bytes>> {
    let found = answer.responses.iter().filter_map(|it| match &it.response {
        Some(Response::ResponseRange(range)) => Some(range.kvs.first().map(|kv| kv.value.clone())),
        _ => None,
    });
    found.collect()
}

/// The condition that a key has this value, or is not there.
fn is(key: &Bytes, value: Option<&Bytes>) -> pb::Compare {
    let (target, union) = match value {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        None => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: key.clone(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn get(key: Bytes) -> pb::RequestOp {
    operation(Request::RequestRange(pb::RangeRequest { key, ..Default::default() }))
}

/// Puts a value, or deletes.
fn change(key: &Bytes, value: Option<&Bytes>, lease: LeaseId) -> pb::RequestOp {
    let key = key.clone();
    operation(match value {
        Some(value) => Request::RequestPut(pb::PutRequest {
            key,
            value: value.clone(),
            lease: lease.0 as i64,
            ..Default::default()
        }),
        None => Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() }),
    })
}

fn operation(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub(super) fn ok(found: Found, rev: Option<u64>) -> Outcome {
    Outcome::Ok { found, rev }
}

/// The revision in a header; a history needs none.
fn revision(header: Option<&pb::ResponseHeader>) -> Option<u64> {
    header.and_then(|header| u64::try_from(header.revision).ok())
}

fn is_no_lease(error: &Error) -> bool {
    error.is_without_effect() && error.text == "etcdserver: requested lease not found"
}

fn failed(why: String) -> Ended {
    Ended { outcome: Outcome::Failed, error: Some(why) }
}

pub(super) fn went_wrong(error: &Error) -> Ended {
    let outcome = match error.is_without_effect() {
        true => Outcome::Failed,
        false => Outcome::Unknown,
    };
    Ended { outcome, error: Some(error.to_string()) }
}
