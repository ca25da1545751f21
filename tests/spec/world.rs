//! The world: all nodes, the messages between them, the history, and what may still happen.
//!
//! # How a world stays small
//! Millions of worlds are made of a few thousand nodes, each in this state or that. So every state
//! of a node, every message and every history gets a number ([`Table`]), and a world is a short row
//! of numbers. And the real core is asked only once what becomes of a node to which something
//! happens; from then on the answer is looked up.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use kvraft::consensus::raft::Message;
use kvraft::consensus::raft::canonical::{FAR, LATE, NOW};
use kvraft::consensus::{Configuration, Entry, Payload, Role};
use kvraft::types::{LogIndex, NodeId, Term, Ticket};

use crate::bounds::{Bounds, Elections, Network};
use crate::disk::{Disk, Log};
use crate::history::History;
use crate::node::{Event, Facts, Library, Node, Outcome, happen};
use crate::properties::{self, State};

/// Things and their numbers, in the order in which they were met.
pub struct Table<T> {
    things: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32>,
}

impl<T: Hash + Eq> Table<T> {
    fn new() -> Table<T> {
        Table { things: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of `thing`, and whether it is new.
    fn number(&mut self, thing: T) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&thing) {
            return (*number, false);
        }
        let (number, thing) = (self.things.len() as u32, Arc::new(thing));
        self.things.push(thing.clone());
        self.numbers.insert(thing, number);
        (number, true)
    }

    pub fn get(&self, number: u32) -> &Arc<T> {
        &self.things[number as usize]
    }

    pub fn len(&self) -> usize {
        self.things.len()
    }
}

/// What may still happen, each so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub elections: u8,
    pub proposals: u8,
    pub crashes: u8,
    pub losses: u8,
    pub repeats: u8,
    pub reads: u8,
    pub snapshots: u8,
    pub changes: u8,
}

impl Left {
    fn to_words(self) -> [u32; 2] {
        let Left { elections: e, proposals: p, crashes: c, losses: l, .. } = self;
        let Left { repeats: r, reads: q, snapshots: s, changes: m, .. } = self;
        [[e, p, c, l], [r, q, s, m]].map(u32::from_le_bytes)
    }

    fn from_words(words: &[u32]) -> Left {
        let mut bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let mut next = || bytes.next().unwrap_or_default();
        Left {
            elections: next(),
            proposals: next(),
            crashes: next(),
            losses: next(),
            repeats: next(),
            reads: next(),
            snapshots: next(),
            changes: next(),
        }
    }
}

/// See the [module](self). All numbers but `left` are those of a [`Lab`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub nodes: Vec<u32>,
    pub history: u32,
    pub left: Left,
    /// In a network that keeps an order: grouped by link, oldest first. Else: sorted.
    pub messages: Vec<u32>,
}

impl World {
    /// As a row of numbers.
    pub fn write(&self, row: &mut Vec<u32>) {
        row.clear();
        row.extend(&self.nodes);
        row.push(self.history);
        row.extend(self.left.to_words());
        row.extend(&self.messages);
    }

    pub fn read(row: &[u32], nodes: usize) -> World {
        World {
            nodes: row[..nodes].to_vec(),
            history: row[nodes],
            left: Left::from_words(&row[nodes + 1..nodes + 3]),
            messages: row[nodes + 3..].to_vec(),
        }
    }
}

/// One thing that may happen next. Nodes are meant by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The message at this place arrives.
    Deliver(usize),
    Lose(usize),
    Persist(usize),
    Crash(usize),
    Campaign(usize),
    /// Its election time-out passes: it asks whether it could win.
    TimeOut(usize),
    Propose(usize),
    /// A heartbeat is due, or a request for votes is repeated.
    Repeat(usize),
    /// Besides, what it sent is overdue.
    Late(usize),
    /// A leader has heard from nobody for too long.
    Lonely(usize),
    Read(usize),
    /// To which of the changes on offer.
    Change(usize, usize),
    Snapshot(usize),
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub property: String,
    pub why: String,
}

/// The name under which a node that stops itself is reported.
const OF_CORE: &str = "An invariant of the core";

impl Broken {
    /// A node stopped itself, or refused what it was told: nobody came to harm.
    pub fn is_of_core(&self) -> bool {
        self.property == OF_CORE
    }
}

/// What is known of one event of one node.
struct Known {
    node: u32,
    sent: Vec<u32>,
    outcome: Outcome,
    broken: Option<Broken>,
}

/// Everything that has a number, and what is known of it.
pub struct Lab {
    pub bounds: Bounds,
    pub nodes: Table<Node>,
    pub messages: Table<(NodeId, NodeId, Message)>,
    pub histories: Table<History>,
    facts: Vec<Facts>,
    /// Of each message: the link, and its term if it is a reply that only its own term concerns.
    traits: Vec<(usize, usize, Option<Term>)>,
    known: HashMap<(u32, u32), usize>,
    answers: Vec<Known>,
    library: Library,
}

impl Lab {
    pub fn new(bounds: Bounds) -> Lab {
        Lab {
            bounds,
            nodes: Table::new(),
            messages: Table::new(),
            histories: Table::new(),
            facts: Vec::new(),
            traits: Vec::new(),
            known: HashMap::new(),
            answers: Vec::new(),
            library: Library::default(),
        }
    }

    /// How often a real core was asked.
    pub fn steps(&self) -> usize {
        self.answers.len()
    }

    pub fn facts(&self, world: &World, place: usize) -> &Facts {
        &self.facts[world.nodes[place] as usize]
    }

    /// The world in which nothing has happened yet.
    pub fn beginning(&mut self) -> World {
        let Bounds { voters, spare, setup, logs, left, .. } = self.bounds.clone();
        let members = (1..=voters).map(NodeId).collect();
        let configuration = Configuration { voters: members, ..Configuration::default() };
        let logs: Vec<&str> = logs.map(|logs| logs.split('|').collect()).unwrap_or_default();
        let terms = logs.iter().flat_map(|log| log.split(',')).filter_map(|t| t.parse().ok());
        let newest = Term(terms.max().unwrap_or_default());
        let mut nodes = Vec::new();
        for id in 1..=voters + spare {
            let mut disk = Disk::default();
            if id <= voters {
                let past = logs.get(id as usize - 1).copied().unwrap_or_default();
                disk.log = log_with_past(&configuration, past);
                // Whoever led a term, everyone has heard of it.
                disk.hard_state.term = newest;
            }
            nodes.push(self.node(Node::new(NodeId(id), &setup, disk)));
        }
        let (history, _) = self.histories.number(History::default());
        World { nodes, history, left, messages: Vec::new() }
    }

    fn node(&mut self, node: Node) -> u32 {
        let facts = node.facts();
        let (number, new) = self.nodes.number(node);
        if new {
            self.facts.push(facts);
        }
        number
    }

    fn message(&mut self, from: NodeId, to: NodeId, message: Message) -> u32 {
        let concerns = match &message {
            Message::RequestVoteReply { term, .. }
            | Message::AppendEntriesReply { term, .. }
            | Message::InstallSnapshotReply { term, .. } => Some(*term),
            _ => None,
        };
        let (number, new) = self.messages.number((from, to, message));
        if new {
            let place = |id: NodeId| id.0 as usize - 1;
            self.traits.push((place(from), place(to), concerns));
        }
        number
    }

    /// All that may happen next.
    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        let Bounds { network, .. } = self.bounds;
        for (at, message) in world.messages.iter().enumerate() {
            let link = |number: &u32| {
                let (from, to, _) = self.traits[*number as usize];
                (from, to)
            };
            let behind = at > 0 && link(&world.messages[at - 1]) == link(message);
            if network == Network::InOrder && behind {
                continue;
            }
            actions.push(Action::Deliver(at));
            if world.left.losses > 0 {
                actions.push(Action::Lose(at));
            }
        }
        for place in 0..world.nodes.len() {
            self.actions_of_node(world, place, &mut actions);
        }
        actions
    }

    fn actions_of_node(&self, world: &World, place: usize, actions: &mut Vec<Action>) {
        let (facts, left) = (self.facts(world, place), world.left);
        let leads = facts.role == Role::Leader;
        if facts.writes {
            actions.push(Action::Persist(place));
        }
        if left.crashes > 0 {
            actions.push(Action::Crash(place));
        }
        // Before anything happened the nodes are alike: let the first to stand be the first.
        let alike = left == self.bounds.left && self.bounds.is_symmetric();
        if left.elections > 0 && facts.may_stand && (place == 0 || !alike) {
            actions.push(match self.bounds.elections {
                Elections::OnRequest => Action::Campaign(place),
                Elections::ByTimeOut => Action::TimeOut(place),
            });
        }
        if left.proposals > 0 && leads {
            actions.push(Action::Propose(place));
        }
        if left.repeats > 0 && (leads || facts.role.is_candidate()) {
            actions.push(Action::Repeat(place));
            if leads {
                actions.push(Action::Late(place));
                actions.push(Action::Lonely(place));
            }
        }
        if left.reads > 0 && (leads || self.bounds.follower_reads && facts.knows_leader) {
            actions.push(Action::Read(place));
        }
        if left.changes > 0 && leads {
            let menu = 0..self.bounds.menu.len();
            actions.extend(menu.map(|change| Action::Change(place, change)));
        }
        if left.snapshots > 0 && facts.machine.len() as u64 > facts.log.mark.index.0 {
            actions.push(Action::Snapshot(place));
        }
    }

    /// The world after `action`; the promise that was broken on the way, if one was.
    pub fn act(&mut self, world: &World, action: Action) -> (World, Option<Broken>) {
        let mut next = world.clone();
        let left = &mut next.left;
        let take = |count: &mut u8| *count -= 1;
        match action {
            Action::Deliver(_) | Action::Persist(_) => {}
            Action::Lose(_) => take(&mut left.losses),
            Action::Crash(_) => take(&mut left.crashes),
            Action::Campaign(_) | Action::TimeOut(_) => take(&mut left.elections),
            Action::Propose(_) => take(&mut left.proposals),
            Action::Repeat(_) | Action::Late(_) | Action::Lonely(_) => take(&mut left.repeats),
            Action::Read(_) => take(&mut left.reads),
            Action::Change(..) => take(&mut left.changes),
            Action::Snapshot(_) => take(&mut left.snapshots),
        }
        let number = |total: u8, left: u8| u32::from(total - left);
        let total = self.bounds.left;
        let (place, code) = match action {
            Action::Lose(at) => {
                next.messages.remove(at);
                return (next, None);
            }
            Action::Deliver(at) => {
                let message = world.messages[at];
                if self.bounds.network == Network::InOrder {
                    next.messages.remove(at);
                }
                (self.traits[message as usize].1, message)
            }
            Action::Persist(place) => (place, code(1, 0)),
            Action::Crash(place) => (place, code(2, 0)),
            Action::Campaign(place) => (place, code(3, 0)),
            Action::Repeat(place) => (place, code(4, 0)),
            Action::Late(place) => (place, code(4, 1)),
            Action::Lonely(place) | Action::TimeOut(place) => (place, code(4, 2)),
            Action::Propose(place) => {
                (place, code(5, number(total.proposals, next.left.proposals)))
            }
            Action::Read(place) => {
                let ticket = number(total.reads, next.left.reads);
                let history = self.histories.get(next.history).asked(Ticket(ticket.into()));
                next.history = self.histories.number(history).0;
                (place, code(6, ticket))
            }
            Action::Change(place, change) => (place, code(7, change as u32)),
            Action::Snapshot(place) => (place, code(8, 0)),
        };
        let broken = self.happens(&mut next, place, code);
        (next, broken)
    }

    fn event(&self, code: u32) -> Event {
        let argument = code & 0x00ff_ffff;
        match code >> 24 {
            1 => Event::Persist,
            2 => Event::Crash,
            3 => Event::Campaign,
            4 => Event::Clock([NOW, LATE, FAR][argument as usize]),
            5 => Event::Propose(argument.into()),
            6 => Event::Read(Ticket(argument.into())),
            7 => Event::Change(self.bounds.menu[argument as usize].clone()),
            8 => Event::TakeSnapshot,
            _ => {
                let (from, _, message) = &**self.messages.get(code);
                Event::Receive { from: *from, message: message.clone() }
            }
        }
    }

    /// Asks the core, or remembers what it answered.
    fn answer(&mut self, node: u32, code: u32) -> usize {
        if let Some(known) = self.known.get(&(node, code)) {
            return *known;
        }
        let (before, event) = (self.nodes.get(node).clone(), self.event(code));
        let setup = self.bounds.setup;
        let outcome = happen(&before, &event, &setup, &mut self.library);
        let from = self.facts[node as usize].id;
        let sent = outcome.sent.iter().map(|(to, m)| self.message(from, *to, m.clone())).collect();
        let after = self.node(outcome.node.clone());
        let facts = [node, after].map(|number| &self.facts[number as usize]);
        let crashed = event == Event::Crash;
        let of_core = outcome
            .broken
            .as_ref()
            .map(|why| Broken { property: OF_CORE.into(), why: format!("node {from}: {why}") });
        let of_step = properties::ALL.iter().filter(|_| !crashed).find_map(|property| {
            let why = (property.of_step)(facts[0], facts[1])?;
            Some(Broken { property: name(property), why })
        });
        self.answers.push(Known { node: after, sent, outcome, broken: of_step.or(of_core) });
        self.known.insert((node, code), self.answers.len() - 1);
        self.answers.len() - 1
    }

    fn happens(&mut self, world: &mut World, place: usize, code: u32) -> Option<Broken> {
        let answer = self.answer(world.nodes[place], code);
        let Known { node, sent, outcome, broken } = &self.answers[answer];
        world.nodes[place] = *node;
        if broken.is_some() {
            return broken.clone();
        }
        for message in sent {
            post(self.bounds.network, &self.traits, &mut world.messages, *message);
        }
        let (facts, history) = (&self.facts[*node as usize], self.histories.get(world.history));
        let answers_reads = !(outcome.served.is_empty() && outcome.refused.is_empty());
        let news = facts.role == Role::Leader && history.leader_of(facts.term).is_none()
            || facts.machine.len() > history.decided.len()
            || answers_reads && !history.reads.is_empty();
        if news {
            let next = history.after(facts, outcome);
            world.history = self.histories.number(next).0;
        }
        // A reply to a term that its receiver has left for ever changes nothing any more.
        let (facts, nodes) = (&self.facts, &world.nodes);
        world.messages.retain(|message| {
            let (_, to, concerns) = self.traits[*message as usize];
            let receiver = nodes.get(to).map(|node| facts[*node as usize].durable_term);
            receiver.is_some_and(|term| concerns.is_none_or(|concerns| concerns >= term))
        });
        None
    }

    /// Looks at the whole world.
    pub fn judge(&self, world: &World) -> Option<Broken> {
        let nodes: Vec<&Facts> = world.nodes.iter().map(|n| &self.facts[*n as usize]).collect();
        let state = State { nodes: &nodes, history: self.histories.get(world.history) };
        properties::ALL.iter().find_map(|property| {
            let why = (property.of_state)(&state)?;
            Some(Broken { property: name(property), why })
        })
    }
}

fn name(property: &properties::Property) -> String {
    format!("{} ({})", property.name, property.section)
}

fn code(kind: u32, argument: u32) -> u32 {
    kind << 24 | argument
}

/// A message sets out.
fn post(
    network: Network,
    traits: &[(usize, usize, Option<Term>)],
    messages: &mut Vec<u32>,
    new: u32,
) {
    let link = |message: u32| {
        let (from, to, _) = traits[message as usize];
        (from, to)
    };
    let place = match network {
        Network::InOrder => messages.partition_point(|other| link(*other) <= link(new)),
        Network::Anything => messages.partition_point(|other| *other < new),
    };
    if network != Network::Anything || messages.get(place) != Some(&new) {
        messages.insert(place, new);
    }
}

/// A log with the first configuration, and then entries of these terms.
fn log_with_past(configuration: &Configuration, terms: &str) -> Log {
    let payload = Payload::Configuration(configuration.clone());
    let mut entries = vec![Entry { term: Term(1), index: LogIndex(1), payload }];
    for term in terms.split(',').filter_map(|term| term.parse().ok()) {
        let index = LogIndex(entries.len() as u64 + 1);
        let payload = Payload::Command(format!("old{index}/{term}").into_bytes().into());
        entries.push(Entry { term: Term(term), index, payload });
    }
    Log { entries, ..Log::default() }
}
