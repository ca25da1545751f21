//! Clients: each does one operation at a time, through any node, remembers what it was told, and
//! tries again what it may.
//!
//! A client with a session tries a write again under the same number until it is answered: it must
//! take effect once. One without a session never does: its outcome stays unknown, and the history
//! says so. Values are unique, so that a history can tell whose write a read saw.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::coverage::{Coverage, Seen};
use super::meaning::{Meaning, meaning};
use super::properties::linearizability::{answer_is_fresh, history_is_linearizable};
use super::properties::{Broken, Checked};
use super::schedule::{ClientPlan, Schedule};
use super::story::Story;
use super::words;
use super::world::{Happening, World};
use crate::kv::{
    Command, Expected, Operation, PutRequest, Query, RangeRequest, RequestOp, SessionId,
    SessionStamp, Transaction, after,
};
use crate::replica::{Consistency, Refused, Request, Response};
use crate::types::{Instant, LogIndex, Random, Revision, Ticket};
use crate::verify::linearizable;
use crate::verify::register::{Action, History, Told};

/// All of them, and what they were told.
#[derive(Debug)]
pub struct Clients {
    clients: Vec<Client>,
    histories: BTreeMap<u64, History>,
    /// The newest revision that anyone was told.
    newest: Revision,
    tickets: u64,
    /// Nobody begins anything new.
    pub closing: bool,
    pub acknowledged: u64,
    /// Histories that were too hard to judge.
    pub undecided: u64,
    /// When each operation was called and answered, stale reads aside; whether it was a write.
    pub answered: Vec<(Instant, Instant, bool)>,
}

#[derive(Debug)]
struct Client {
    plan: ClientPlan,
    /// It does one write when all else is over.
    is_prober: bool,
    random: Random,
    /// Whom it asks, by place.
    node: usize,
    session: Option<SessionId>,
    sequence: u64,
    begun: u64,
    doing: Option<Doing>,
    /// The last value that it saw of each key.
    saw: BTreeMap<u64, Option<Bytes>>,
}

/// An operation under way.
#[derive(Debug)]
struct Doing {
    key: u64,
    action: Action,
    request: Request,
    called: Instant,
    /// The newest revision that anyone had been told then.
    seen: Revision,
    /// What it waits for; nothing, between two tries.
    ticket: Option<Ticket>,
    tries: u32,
}

impl Clients {
    /// Those of a schedule.
    pub fn new(schedule: &Schedule) -> Clients {
        let nodes = schedule.nodes;
        let client = |(place, plan): (usize, &ClientPlan)| {
            let mut random = Random::from_seed(plan.seed);
            Client {
                plan: plan.clone(),
                is_prober: false,
                node: random.below(nodes) as usize,
                session: plan.session.then(|| SessionId(1 + place as u128)),
                sequence: 0,
                begun: 0,
                doing: None,
                saw: BTreeMap::new(),
                random,
            }
        };
        Clients {
            clients: schedule.clients.iter().enumerate().map(client).collect(),
            histories: BTreeMap::new(),
            newest: Revision(0),
            tickets: 0,
            closing: false,
            acknowledged: 0,
            undecided: 0,
            answered: Vec::new(),
        }
    }

    /// How long a client waits before it does the next thing.
    pub fn pause(&mut self, client: usize) -> Duration {
        let Client { plan, random, .. } = &mut self.clients[client];
        random.duration(plan.pause.clone())
    }

    /// Whether everyone has been answered.
    pub fn are_idle(&self) -> bool {
        self.clients.iter().all(|client| client.doing.is_none())
    }

    /// Adds one whose every write is answered or tried again, through one node; its place.
    pub fn add_prober(&mut self, node: usize, keys: u64) -> usize {
        let place = self.clients.len();
        let plan = ClientPlan {
            seed: place as u64,
            session: true,
            pause: Duration::from_millis(5)..Duration::from_millis(10),
            timeout: Duration::from_millis(1000),
            reads: 0.0,
            stale: 0.0,
            operations: 1,
        };
        let random = Random::from_seed(plan.seed ^ keys);
        let session = Some(SessionId(1 + place as u128));
        let saw = BTreeMap::new();
        self.clients.push(Client {
            plan,
            is_prober: true,
            random,
            node,
            session,
            sequence: 0,
            begun: 0,
            doing: None,
            saw,
        });
        place
    }

    /// Whether a prober's write was acknowledged.
    pub fn is_done(&self, client: usize) -> bool {
        let client = &self.clients[client];
        client.begun > 0 && client.doing.is_none()
    }

    fn ticket(&mut self, client: usize) -> Ticket {
        self.tickets += 1;
        Ticket((self.tickets << 8) | client as u64)
    }

    fn owner(&self, ticket: Ticket) -> Option<usize> {
        let place = (ticket.0 & 0xff) as usize;
        let client = self.clients.get(place)?;
        let waits = client.doing.as_ref().is_some_and(|doing| doing.ticket == Some(ticket));
        waits.then_some(place)
    }

    /// What a client does now: the ticket, whom it asks, for what. Nothing, if it has done all.
    fn next(
        &mut self,
        place: usize,
        now: Instant,
        keys_and_size: (u64, usize),
    ) -> Option<(Ticket, usize, Request)> {
        let (newest, closing) = (self.newest, self.closing);
        let ticket = self.ticket(place);
        let client = &mut self.clients[place];
        if client.doing.is_none() {
            if closing && !client.is_prober || client.begun >= client.plan.operations {
                return None;
            }
            client.begin(place, now, newest, keys_and_size);
        }
        let node = client.node;
        let doing = client.doing.as_mut()?;
        if doing.ticket.is_some() {
            return None;
        }
        doing.ticket = Some(ticket);
        doing.tries += 1;
        Some((ticket, node, doing.request.clone()))
    }

    /// Judges every history.
    pub fn judge(&mut self) -> Checked {
        let now = u64::MAX;
        for client in &mut self.clients {
            if let Some(doing) = client.doing.take() {
                record(&mut self.histories, &doing, None, now);
            }
        }
        for (key, history) in &self.histories {
            if !history_is_linearizable(&format!("k{key}"), history)? {
                self.undecided += 1;
            }
        }
        Ok(())
    }
}

fn record(
    histories: &mut BTreeMap<u64, History>,
    doing: &Doing,
    told: Option<(Told, Revision)>,
    now: u64,
) {
    if told.is_none() && doing.action == Action::Get {
        return;
    }
    let witness = told.as_ref().map(|(told, revision)| {
        // A read of a revision comes right after the write that made it.
        revision.0 * 2 + u64::from(matches!(told, Told::Found(_)))
    });
    histories.entry(doing.key).or_default().push(linearizable::Operation {
        called: doing.called.0.as_nanos() as u64,
        returned: told.map(|(told, _)| (now, told)),
        action: doing.action.clone(),
        witness,
    });
}

impl Client {
    fn begin(&mut self, place: usize, now: Instant, seen: Revision, (keys, size): (u64, usize)) {
        self.begun += 1;
        let key = self.random.below(keys);
        let name = Bytes::from(format!("k{key}"));
        let reads = self.random.chance(self.plan.reads);
        let (action, request) = if reads {
            let stale = self.random.chance(self.plan.stale);
            let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
            let query = Query::Get { key: name }.encode();
            (Action::Get, Request::Read { query, consistency })
        } else {
            let mut value = format!("c{place}-{}", self.begun).into_bytes();
            let pad = self.random.below(size as u64 + 1) as usize;
            value.resize(value.len() + pad, b'.');
            let value = Bytes::from(value);
            let (action, operation) = self.write(key, name, value);
            // Nothing follows from it for any key, as if it were a read that nobody answers.
            let (action, operation) = match self.begun % 16 {
                15 => (Action::Get, Operation::Compact { revision: seen }),
                _ => (action, operation),
            };
            (action, Request::Write { command: self.command(operation) })
        };
        self.doing =
            Some(Doing { key, action, request, called: now, seen, ticket: None, tries: 0 });
    }

    fn write(&mut self, key: u64, name: Bytes, value: Bytes) -> (Action, Operation) {
        match self.random.below(10) {
            0 => (Action::Delete, Operation::Delete { key: name }),
            1..4 => {
                let expected = self.saw.get(&key).cloned().flatten();
                let swap = Operation::CompareAndSwap {
                    key: name,
                    expected: expected.clone().map_or(Expected::Absent, Expected::Value),
                    value: value.clone(),
                };
                (Action::CompareAndSwap { expected, value: Some(value) }, swap)
            }
            _ if self.begun.is_multiple_of(4) => {
                let besides = if self.begun.is_multiple_of(8) { 3 } else { 0 };
                (Action::Put(value.clone()), put_in_a_transaction(name, value, besides))
            }
            _ => (Action::Put(value.clone()), Operation::Put { key: name, value }),
        }
    }

    fn command(&mut self, operation: Operation) -> Bytes {
        let session = self.session.map(|id| {
            self.sequence += 1;
            SessionStamp {
                id,
                sequence: self.sequence,
                acknowledged: self.sequence - 1,
                opened_at: LogIndex(0),
            }
        });
        Command { session, operation }.encode()
    }
}

/// Says the same as a put: whether the key existed shows in what was there before. Changes some
/// keys that nobody reads besides, so that there are revisions of several changes.
fn put_in_a_transaction(key: Bytes, value: Bytes, besides: u32) -> Operation {
    let others = (0..besides).map(|number| {
        let (key, value) = (format!("besides-{number}").into(), value.clone());
        RequestOp::Put(PutRequest { key, value, ..PutRequest::default() })
    });
    let others: Vec<_> = others.collect();
    let read = RangeRequest { start: key.clone(), end: after(&key), ..RangeRequest::default() };
    let put = PutRequest { key, value, prev_kv: true, ..PutRequest::default() };
    let mut success = vec![RequestOp::Put(put), RequestOp::Range(read)];
    success.extend(others);
    Operation::Transaction(Transaction { success, ..Transaction::default() })
}

/// Clients in the world.
impl World {
    /// A client does something, if it has something to do.
    pub fn client_acts(&mut self, client: usize) -> Checked {
        let (now, setting) = (self.now, &self.schedule.setting);
        let values = (setting.keys, setting.value_bytes);
        let Some((ticket, node, request)) = self.clients.next(client, now, values) else {
            return Ok(());
        };
        let timeout = self.clients.clients[client].plan.timeout;
        self.story.tell(now, || {
            format!("client {client} asks {}: {}", node + 1, words::request(&request))
        });
        let asked = self.ask(node, ticket, request, timeout)?;
        if !asked {
            return self.client_hears(ticket, nobody());
        }
        let patience = timeout + PATIENCE;
        self.arrange(self.now + patience, Happening::Patience { client, ticket });
        Ok(())
    }

    /// A client has waited long enough, unless it was answered.
    pub fn client_gives_up(&mut self, client: usize, ticket: Ticket) -> Checked {
        match self.clients.owner(ticket) {
            Some(owner) if owner == client => {
                self.client_hears(ticket, Response::Unknown("no answer".into()))
            }
            _ => Ok(()),
        }
    }

    /// The node that was asked is gone.
    pub fn client_loses(&mut self, ticket: Ticket) {
        // A connection that breaks says nothing about what became of the request.
        let _ = self.client_hears(ticket, Response::Unknown("the connection broke".into()));
    }

    /// A client is answered.
    pub fn client_hears(&mut self, ticket: Ticket, response: Response) -> Checked {
        let Some(place) = self.clients.owner(ticket) else { return Ok(()) };
        let now = self.now;
        let nodes = self.nodes.len() as u64;
        let World { clients, coverage, story, .. } = self;
        let next = clients.hears(place, now, &response, nodes, coverage, story)?;
        self.arrange(now + next, Happening::Client { client: place });
        Ok(())
    }
}

fn nobody() -> Response {
    let why = Refused::NoLeader { leader: None };
    Response::Refused { why, message: "nobody answers the door".into() }
}

/// A client's own patience, beyond the time it gives the node.
const PATIENCE: Duration = Duration::from_millis(100);

impl Clients {
    /// How long until the client does the next thing.
    fn hears(
        &mut self,
        place: usize,
        now: Instant,
        response: &Response,
        nodes: u64,
        coverage: &mut Coverage,
        story: &mut Story,
    ) -> Result<Duration, Broken> {
        let client = &mut self.clients[place];
        let Some(mut doing) = client.doing.take() else { return Ok(Duration::ZERO) };
        doing.ticket = None;
        let prober = client.is_prober;
        let session = client.session.is_some() && doing.request.is_write();
        story.tell(now, || format!("client {place} is told: {}", words::response(response)));
        let wait = client.random.duration(client.plan.pause.clone());
        match meaning(&doing.request, response)? {
            Meaning::Done(told, revision, changes) => {
                count(coverage, &doing, &told);
                let what = format!("client {place}'s {:?} of k{}", doing.action, doing.key);
                // A write that was tried again may have taken effect at any of its tries.
                answer_is_fresh(&what, doing.seen, revision, changes)?;
                client.learn(&doing, &told);
                self.newest = self.newest.max(revision);
                self.acknowledged += u64::from(doing.request.is_write());
                self.answered.push((doing.called, now, doing.request.is_write()));
                let end = now.0.as_nanos() as u64;
                record(&mut self.histories, &doing, Some((told, revision)), end);
                return Ok(wait);
            }
            Meaning::Stale => {
                coverage.count(Seen::StaleRead);
                return Ok(wait);
            }
            Meaning::Compacted => return Ok(wait),
            Meaning::Unsupported => {
                record(&mut self.histories, &doing, None, u64::MAX);
                return Ok(wait);
            }
            Meaning::Nothing => {
                coverage.count(Seen::Refused);
                let full = matches!(response, Response::Refused { why: Refused::NoSpace, .. });
                coverage.add(Seen::NoSpace, u64::from(full));
                // What an earlier try did is as unknown as before.
                if session {
                    client.doing = Some(doing);
                } else if prober {
                    client.begun = 0;
                }
            }
            Meaning::Unknown => {
                coverage.count(Seen::Unknown);
                if session {
                    coverage.count(Seen::Retry);
                    client.doing = Some(doing);
                } else {
                    record(&mut self.histories, &doing, None, u64::MAX);
                }
            }
        }
        if !prober {
            client.node = client.random.below(nodes) as usize;
        }
        Ok(wait.max(RETRY))
    }
}

/// Before it tries again.
const RETRY: Duration = Duration::from_millis(10);

impl Client {
    fn learn(&mut self, doing: &Doing, told: &Told) {
        let value = match (&doing.action, told) {
            (_, Told::Found(value)) => value.clone(),
            (Action::Put(value), _) => Some(value.clone()),
            (Action::CompareAndSwap { value, .. }, _) => value.clone(),
            (Action::Delete | Action::Append(_) | Action::Get, _) => None,
        };
        self.saw.insert(doing.key, value);
    }
}

fn count(coverage: &mut Coverage, doing: &Doing, told: &Told) {
    coverage.count(match (&doing.action, told) {
        (Action::Get, _) => Seen::Read,
        (Action::CompareAndSwap { .. }, Told::Swapped) => Seen::Swap,
        (Action::CompareAndSwap { .. }, _) => Seen::NoSwap,
        _ => Seen::Write,
    });
}
