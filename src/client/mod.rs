//! The native client: sessions with exactly-once writes, over several endpoints.
//!
//! # The problem
//!
//! A cluster survives the loss of nodes; a program that talks to one node does not. It must find
//! another, find out who leads now, and above all know what became of the request that was under
//! way. Guessing here loses or doubles data.
//!
//! # The rule
//!
//! - A [`Client`] knows several endpoints, keeps a connection to each, and prefers the leader
//!   (`pool`).
//! - Every write carries a stamp (session, sequence). It is sent again, with the same stamp, until
//!   a result arrives: the replicas apply it once (`session`).
//! - Every call has a deadline over all its tries, and ends with a result or with a
//!   [`ClientError`] that says whether the request may have taken effect (`call`).
//! - Calls under way are bounded by [`Options::max_in_flight`]; further ones wait their turn.
//!
//! # Caveats
//!
//! The promise of "once" covers the tries of *one call*. A program that calls `put` again after
//! [`ClientError::Unknown`] asks for a second write, and may get it.
//!
//! A client is not `Send`: it lives on one thread, inside a tokio `LocalSet`, because Cap'n Proto's
//! connections do. It may be cloned, and used by many tasks there at once.
//!
//! ```no_run
//! # async fn example() -> Result<(), kvraft::client::ClientError> {
//! use kvraft::client::{Client, Options};
//! use kvraft::replica::Consistency;
//!
//! let endpoints = ["unix:/run/kvraft/1.sock".parse().unwrap()];
//! let client = Client::connect(&endpoints, Options::default()).await?;
//! client.put("greeting", "hello").await?;
//! let read = client.get("greeting", Consistency::Linearizable).await?;
//! assert_eq!(read.item.unwrap().value, "hello");
//! # Ok(())
//! # }
//! ```

mod call;
mod error;
mod pool;
mod session;
mod wire;

pub mod load;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub use error::{ClientError, EndpointState, EndpointStatus, Trouble};

use crate::config::Address;
use crate::kv::{
    Answer, Command, Effect, Expected, KeyValue, Operation, Outcome, Query, RangeRequest, Refusal,
    SessionId, SessionStamp,
};
use crate::replica::{Consistency, Request, Response};
use crate::rpc::client::Hello;
use crate::types::{NodeId, Revision};
use call::{Attempts, Reply};
use pool::{Pool, Want};
use session::Session;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// For a call with all its tries.
    pub timeout: Duration,
    /// For the first try of a call; each further one gets twice the time of the one before.
    pub attempt_timeout: Duration,
    /// For [`Client::connect`].
    pub connect_timeout: Duration,
    /// How many calls may be under way; further ones wait.
    pub max_in_flight: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(2),
            max_in_flight: 256,
        }
    }
}

/// A connection to a cluster. See the [module](self).
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    options: Options,
    pool: Rc<Pool>,
    in_flight: Semaphore,
    session: RefCell<Option<Session>>,
    /// The session's window may have room again.
    room: Notify,
    random: Random,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The store's revision right after.
    pub revision: Revision,
    /// Whether the key existed before.
    pub existed: bool,
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The store's revision right after.
    pub revision: Revision,
    /// Whether there was such a key.
    pub existed: bool,
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It found what it expected and wrote.
    Swapped { revision: Revision },
    /// It found this instead and changed nothing.
    Unchanged { revision: Revision, found: Option<KeyValue> },
}

/// What a get found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The store's revision when it was read.
    pub revision: Revision,
    /// The node that was asked (for a linearizable read, it may have asked the leader).
    pub node: Option<NodeId>,
    pub item: Option<KeyValue>,
}

/// Which keys a range wants, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Inclusive; empty: from the first key.
    pub start: Bytes,
    /// Exclusive; empty: to the last key.
    pub end: Bytes,
    /// At most so many keys; 0: as many as fit one answer.
    pub limit: u64,
    pub keys_only: bool,
    pub count_only: bool,
}

impl Range {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Range {
        let start = prefix.into();
        let end = prefix_end(&start);
        Range { start, end, ..Range::default() }
    }
}

/// The first key after all those that begin with `prefix`; empty if there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            break;
        }
        end.pop();
    }
    end.into()
}

/// What a range found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranged {
    /// The node that was asked.
    pub node: Option<NodeId>,
    pub answer: Answer,
}

impl Client {
    /// Connects to the cluster that listens at `endpoints`. Returns as soon as the leader, or else
    /// every endpoint, has answered or failed; fails if by [`Options::connect_timeout`] none has
    /// answered.
    pub async fn connect(endpoints: &[Address], options: Options) -> Result<Client, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::Invalid("no endpoint is given".to_owned()));
        }
        let pool = Rc::new(Pool::new(endpoints));
        let maintain = |e: &Rc<_>| tokio::task::spawn_local(pool.clone().maintain(Rc::clone(e)));
        let tasks = pool.endpoints.iter().map(maintain).collect();
        let inner = Inner {
            in_flight: Semaphore::new(options.max_in_flight.max(1)),
            pool: pool.clone(),
            session: RefCell::new(None),
            room: Notify::new(),
            random: Random::default(),
            tasks,
            options,
        };
        let client = Client { inner: Rc::new(inner) };
        let attempts = Attempts::new(false);
        let end = Instant::now() + client.inner.options.connect_timeout;
        let mut changes = pool.watch();
        loop {
            changes.mark_unchanged();
            if pool.any_ready() && pool.is_settled() {
                return Ok(client);
            }
            if timeout_at(end, changes.changed()).await.is_err() {
                return if pool.any_ready() { Ok(client) } else { Err(attempts.give_up(&pool)) };
            }
        }
    }

    /// Sets `key` to `value`.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Put, ClientError> {
        let operation = Operation::Put { key: key.into(), value: value.into() };
        let outcome = self.write(operation).await?;
        let existed = matches!(outcome.effect, Effect::Put { existed: true });
        Ok(Put { revision: outcome.revision, existed })
    }

    /// Removes `key`.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Deleted, ClientError> {
        let outcome = self.write(Operation::Delete { key: key.into() }).await?;
        let existed = matches!(outcome.effect, Effect::Deleted { existed: true });
        Ok(Deleted { revision: outcome.revision, existed })
    }

    /// Sets `key` to `value` if it is as `expected`.
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        expected: Expected,
        value: impl Into<Bytes>,
    ) -> Result<Swap, ClientError> {
        let (key, value) = (key.into(), value.into());
        let outcome = self.write(Operation::CompareAndSwap { key, expected, value }).await?;
        let revision = outcome.revision;
        Ok(match outcome.effect {
            Effect::Unchanged { found } => Swap::Unchanged { revision, found },
            _ => Swap::Swapped { revision },
        })
    }

    /// Reads `key`.
    pub async fn get(
        &self,
        key: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Got, ClientError> {
        let (answer, node) = self.query(&Query::Get { key: key.into() }, consistency).await?;
        let item = answer.items.into_iter().next();
        Ok(Got { revision: answer.revision, node, item })
    }

    /// Reads the keys of `range`, as many as fit one answer: `more` in it says whether there are
    /// further ones.
    pub async fn range(
        &self,
        range: Range,
        consistency: Consistency,
    ) -> Result<Ranged, ClientError> {
        let Range { start, end, limit, keys_only, count_only } = range;
        let request =
            RangeRequest { start, end, limit, keys_only, count_only, ..Default::default() };
        let query = Query::Range(request);
        let (answer, node) = self.query(&query, consistency).await?;
        Ok(Ranged { node, answer })
    }

    /// What the endpoints last said of themselves; those that never answered are left out.
    pub fn hellos(&self) -> Vec<Hello> {
        self.inner.pool.endpoints.iter().filter_map(|endpoint| endpoint.hello()).collect()
    }

    /// Whether each endpoint answers.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.inner.pool.statuses()
    }

    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.pool.leader()
    }

    async fn execute(
        &self,
        request: &Request,
        want: Want,
        attempts: &mut Attempts,
    ) -> Result<Reply, ClientError> {
        let inner = &*self.inner;
        call::execute(&inner.pool, &inner.options, &inner.random, request, want, attempts).await
    }

    /// Asks the state machine; also who answered. What does not fit one answer is left for the
    /// next: `more` in it says so.
    pub async fn query(
        &self,
        query: &Query,
        consistency: Consistency,
    ) -> Result<(Answer, Option<NodeId>), ClientError> {
        query.validate().map_err(|invalid| ClientError::Invalid(invalid.to_string()))?;
        let mut attempts = Attempts::new(false);
        let _turn = self.turn(&attempts).await?;
        let want = match consistency {
            Consistency::Linearizable => Want::Leader,
            Consistency::Stale => Want::Any,
        };
        let request = Request::Read { query: query.encode(), consistency };
        let reply = self.execute(&request, want, &mut attempts).await?;
        match reply.response {
            Response::Answer(bytes) => match Answer::decode(&bytes) {
                Ok(Answer { refused: Some(why), .. }) => Err(ClientError::Refused(why.to_string())),
                Ok(answer) => Ok((answer, reply.node)),
                Err(error) => Err(ClientError::Refused(format!("the answer is damaged: {error}"))),
            },
            _ => Err(ClientError::Refused("the node answered a read with something else".into())),
        }
    }

    /// Writes once, whatever a client may write; the outcome's effect is one of `operation`'s own.
    pub async fn write(&self, operation: Operation) -> Result<Outcome, ClientError> {
        let mut command = Command { session: None, operation };
        command.validate().map_err(|invalid| ClientError::Invalid(invalid.to_string()))?;
        let mut attempts = Attempts::new(true);
        let _turn = self.turn(&attempts).await?;
        loop {
            let stamp = self.stamp(&attempts).await?;
            command.session = Some(stamp.stamp.clone());
            let request = Request::Write { command: command.encode() };
            let reply = self.execute(&request, Want::Leader, &mut attempts).await?;
            let outcome = match reply.response {
                Response::Written(bytes) => Outcome::decode(&bytes).map_err(|e| e.to_string()),
                _ => Err("it is no outcome of a write".to_owned()),
            };
            let in_doubt = |why| attempts.in_doubt(&self.inner.pool, why);
            let outcome =
                outcome.map_err(|why| in_doubt(format!("the node's answer is damaged: {why}")))?;
            match (&outcome.effect, &command.operation) {
                (Effect::Refused(Refusal::SessionExpired), _) if !attempts.ambiguous => {
                    self.renew_session(stamp.stamp.id, &attempts).await?;
                }
                (Effect::Refused(why), _) if attempts.ambiguous => {
                    return Err(in_doubt(why.to_string()));
                }
                (Effect::Refused(why), _) => return Err(ClientError::Refused(why.to_string())),
                (effect, operation) if is_of(effect, operation) => return Ok(outcome),
                _ => return Err(in_doubt("the answer belongs to another operation".to_owned())),
            }
        }
    }

    /// Waits until another call may be under way.
    async fn turn(
        &self,
        attempts: &Attempts,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, ClientError> {
        let end = attempts.began() + self.inner.options.timeout;
        match timeout_at(end, self.inner.in_flight.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(attempts.give_up(&self.inner.pool)),
        }
    }

    /// Numbers a write; opens a session if there is none, waits if its window is full.
    async fn stamp(&self, attempts: &Attempts) -> Result<Stamped, ClientError> {
        let inner = &self.inner;
        let end = attempts.began() + inner.options.timeout;
        loop {
            let room = inner.room.notified();
            {
                let mut session = inner.session.borrow_mut();
                let session =
                    session.get_or_insert_with(|| Session::open(inner.pool.applied_index()));
                if session.has_room() {
                    return Ok(Stamped { stamp: session.begin(), inner: inner.clone() });
                }
            }
            if timeout_at(end, room).await.is_err() {
                return Err(attempts.give_up(&inner.pool));
            }
        }
    }

    /// The replicas have dropped session `id`: the next write opens another, at an applied index
    /// that an endpoint tells now.
    async fn renew_session(&self, id: SessionId, attempts: &Attempts) -> Result<(), ClientError> {
        let end = attempts.began() + self.inner.options.timeout;
        if timeout_at(end, self.inner.pool.refresh()).await.is_err() {
            return Err(attempts.give_up(&self.inner.pool));
        }
        let mut session = self.inner.session.borrow_mut();
        if session.as_ref().is_some_and(|session| session.id() == id) {
            *session = None;
        }
        Ok(())
    }
}

/// Whether the effect is one that the operation can have.
fn is_of(effect: &Effect, operation: &Operation) -> bool {
    match operation {
        Operation::Put { .. } => matches!(effect, Effect::Put { .. }),
        Operation::Delete { .. } => matches!(effect, Effect::Deleted { .. }),
        Operation::CompareAndSwap { .. } => {
            matches!(effect, Effect::Swapped | Effect::Unchanged { .. })
        }
        Operation::RaiseVersion { .. } => matches!(effect, Effect::Raised { .. }),
        Operation::Transaction(_) => matches!(effect, Effect::Transaction(_)),
        Operation::Compact { .. } => *effect == Effect::Compacted,
        Operation::LeaseGrant { .. } => *effect == Effect::LeaseGranted,
        Operation::LeaseRevoke { .. } => matches!(effect, Effect::LeaseRevoked { .. }),
        Operation::LeaseCheckpoint(_) => *effect == Effect::LeasesCheckpointed,
        Operation::Alarm(_) => matches!(effect, Effect::Alarm { .. }),
        Operation::Announce(_) => *effect == Effect::Announced,
        Operation::Enlist { .. } => *effect == Effect::Enlisted,
    }
}

/// A write's number in its session. When this goes, the write will not be sent again.
struct Stamped {
    stamp: SessionStamp,
    inner: Rc<Inner>,
}

impl Drop for Stamped {
    fn drop(&mut self) {
        if let Some(session) = &mut *self.inner.session.borrow_mut() {
            session.finish(self.stamp.id, self.stamp.sequence);
        }
        self.inner.room.notify_waiters();
    }
}

/// Spreads the pauses of many clients, so that they do not all come back at once.
#[derive(Debug)]
struct Random(RefCell<crate::types::Random>);

impl Default for Random {
    fn default() -> Random {
        Random(RefCell::new(crate::types::Random::from_seed(rand::random())))
    }
}

impl Random {
    /// A duration of three to five quarters of `pause`.
    fn around(&self, pause: Duration) -> Duration {
        if pause.is_zero() {
            return pause;
        }
        self.0.borrow_mut().duration(pause * 3 / 4..pause * 5 / 4)
    }
}
