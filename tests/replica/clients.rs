//! Clients that write with a session each, retry whatever was not certain, and remember what they
//! were told.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvraft::kv::{Answer, Command, Effect, Operation, Outcome, Query, SessionId, SessionStamp};
use kvraft::replica::{Consistency, Refused, Request, Response};
use kvraft::types::{LogIndex, NodeId, Random, Revision, Ticket};

pub const TIMEOUT: Duration = Duration::from_millis(400);

/// One client: it owns one key and counts in it, one write at a time.
struct Client {
    session: SessionId,
    key: Bytes,
    sequence: u64,
    /// The write under way: the command, and whether it waits for an answer at the moment.
    write: Option<Bytes>,
    waiting: Option<Ticket>,
    /// The newest revision that was acknowledged or read: later reads must not be older.
    seen: Revision,
}

/// What is under way, by ticket.
enum UnderWay {
    Write {
        client: usize,
    },
    /// A linearizable read; the acknowledged count and revision when it began.
    Read {
        client: usize,
        count: u64,
        seen: Revision,
    },
}

pub struct Clients {
    clients: Vec<Client>,
    under_way: BTreeMap<Ticket, UnderWay>,
    last: u64,
}

impl Clients {
    pub fn new(count: u64) -> Clients {
        let client = |i: u64| Client {
            session: SessionId(1000 + i as u128),
            key: Bytes::from(format!("counter-{i}")),
            sequence: 0,
            write: None,
            waiting: None,
            seen: Revision(0),
        };
        Clients { clients: (0..count).map(client).collect(), under_way: BTreeMap::new(), last: 0 }
    }

    /// Writes acknowledged so far, over all clients.
    pub fn acknowledged(&self) -> u64 {
        self.clients.iter().map(Client::acknowledged).sum()
    }

    /// Some client does something: whom it asks, and what.
    pub fn ask(&mut self, random: &mut Random) -> Option<(Ticket, Request)> {
        let place = random.below(self.clients.len() as u64) as usize;
        self.last += 1;
        let ticket = Ticket(self.last);
        let client = &mut self.clients[place];
        if random.chance(0.3) {
            let query = Query::Get { key: client.key.clone() }.encode();
            let (count, seen) = (client.acknowledged(), client.seen);
            self.under_way.insert(ticket, UnderWay::Read { client: place, count, seen });
            return Some((ticket, Request::Read { query, consistency: Consistency::Linearizable }));
        }
        if client.waiting.is_some() {
            return None;
        }
        let command = match &client.write {
            Some(command) => command.clone(),
            None => client.next_write(),
        };
        client.waiting = Some(ticket);
        self.under_way.insert(ticket, UnderWay::Write { client: place });
        Some((ticket, Request::Write { command }))
    }

    /// An answer arrives. An error says which promise it breaks.
    pub fn answered(&mut self, ticket: Ticket, response: Response) -> Result<(), String> {
        match self.under_way.remove(&ticket) {
            Some(UnderWay::Write { client }) => self.clients[client].written(response),
            Some(UnderWay::Read { client, count, seen }) => {
                self.clients[client].has_read(response, count, seen)
            }
            None => Err(format!("ticket {ticket} is answered twice, or was never asked")),
        }
    }

    /// The node that was asked is gone; nobody will answer.
    pub fn lost(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            if let Some(UnderWay::Write { client }) = self.under_way.remove(&ticket) {
                self.clients[client].waiting = None;
            }
        }
    }

    /// Every key's version must be the number of writes that took effect, each once.
    pub fn check(&self, node: NodeId, get: impl Fn(&[u8]) -> Answer) -> Result<(), String> {
        for client in &self.clients {
            let version = get(&client.key).items.first().map_or(0, |item| item.version);
            let acknowledged = client.acknowledged();
            let maybe = acknowledged + u64::from(client.write.is_some());
            if version < acknowledged || version > maybe {
                return Err(format!(
                    "node {node}: {:?} was written {version} times; {acknowledged} to {maybe} \
                     writes were acknowledged or under way",
                    client.key
                ));
            }
        }
        Ok(())
    }
}

impl Client {
    fn acknowledged(&self) -> u64 {
        self.sequence - u64::from(self.write.is_some())
    }

    fn next_write(&mut self) -> Bytes {
        self.sequence += 1;
        let stamp = SessionStamp {
            id: self.session,
            sequence: self.sequence,
            acknowledged: self.sequence - 1,
            opened_at: LogIndex(0),
        };
        let value = Bytes::from(self.sequence.to_string());
        let operation = Operation::Put { key: self.key.clone(), value };
        let command = Command { session: Some(stamp), operation }.encode();
        self.write = Some(command.clone());
        command
    }

    fn written(&mut self, response: Response) -> Result<(), String> {
        self.waiting = None;
        match response {
            Response::Written(outcome) => {
                let outcome = Outcome::decode(&outcome).map_err(|error| error.to_string())?;
                if !matches!(outcome.effect, Effect::Put { .. }) {
                    return Err(format!("a put was answered by {:?}", outcome.effect));
                }
                self.write = None;
                self.seen = self.seen.max(outcome.revision);
                Ok(())
            }
            // It is tried again, in the same words.
            Response::Unknown(_) => Ok(()),
            Response::Refused { why: Refused::Invalid, message } => Err(message),
            Response::Refused { .. } => Ok(()),
            Response::Answer(_) | Response::Member(_) => {
                Err("a write was answered like something else".into())
            }
        }
    }

    fn has_read(&mut self, response: Response, count: u64, seen: Revision) -> Result<(), String> {
        let Response::Answer(answer) = response else { return Ok(()) };
        let answer = Answer::decode(&answer).map_err(|error| error.to_string())?;
        let version = answer.items.first().map_or(0, |item| item.version);
        if version < count || answer.revision < seen {
            return Err(format!(
                "a stale read: {:?} was acknowledged {count} times up to revision {seen}, and the \
                 read saw {version} at revision {}",
                self.key, answer.revision
            ));
        }
        self.seen = self.seen.max(answer.revision);
        Ok(())
    }
}

/// A write without a session.
pub fn put(value: &[u8]) -> Request {
    let key = Bytes::from_static(b"key");
    let operation = Operation::Put { key, value: Bytes::copy_from_slice(value) };
    Request::Write { command: Command { session: None, operation }.encode() }
}

/// A linearizable read of the key that [`put`] writes.
pub fn get() -> Request {
    let query = Query::Get { key: Bytes::from_static(b"key") }.encode();
    Request::Read { query, consistency: Consistency::Linearizable }
}
