//! Leases: that none ends too early, whatever leaders and their clocks do; and that all end.

use std::collections::BTreeMap;
use std::time::Duration;

use kvraft::kv::{
    Answer, Command, Effect, Operation, Outcome, PutRequest, RequestOp, SessionId, SessionStamp,
    Transaction,
};
use kvraft::replica::{Event, LeaseAsk, Order, Refused, Request, Response};
use kvraft::types::{Instant, LeaseId, LogIndex, NodeId, Random, Ticket};

use crate::clients::TIMEOUT;
use crate::world::World;

type Told = Result<(), String>;

const MILLI: Duration = Duration::from_millis(1);

/// Clocks differ by so much at most, from the world's.
const DRIFT: f64 = 0.05;

/// A leader believes no more of a jump of its clock.
const BELIEVED: Duration = Duration::from_millis(500);

/// Tickets from here on are those of clients with leases.
const FIRST: u64 = 1 << 40;

pub fn is_about_a_lease(ticket: Ticket) -> bool {
    (FIRST..u64::MAX - 8).contains(&ticket.0)
}

/// What clients were told of their leases, and what became of these.
#[derive(Default)]
pub struct Book {
    lives: Vec<Life>,
    under_way: BTreeMap<Ticket, Asked>,
    asked: u64,
    /// The newest entry that anybody has applied.
    newest: LogIndex,
    /// When some clock jumped ahead.
    jumps: Vec<Instant>,
    pub kept_alive: u64,
    pub ended: u64,
    pub told_gone: u64,
}

/// A lease, from a grant to its end. Others of the same name were granted for another time.
struct Life {
    id: LeaseId,
    ttl: u64,
    is_granted: bool,
    has_begun: bool,
    /// When its acknowledged grant and keep-alives were asked for.
    kept: Vec<Instant>,
    /// Its client has asked to revoke it.
    is_given_up: bool,
    ended: Option<Instant>,
}

struct Asked {
    life: usize,
    called: Instant,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Grant,
    KeepAlive,
    TimeToLive,
    Revoke,
}

impl Life {
    /// It may end from here on, if nobody keeps it alive.
    fn until(&self) -> Option<Instant> {
        Some(*self.kept.iter().max()? + Duration::from_secs(self.ttl))
    }
}

impl Book {
    /// The entry at `index` was applied somewhere.
    pub fn applied(&mut self, now: Instant, index: LogIndex, command: &[u8], outcome: &Outcome) {
        if index <= self.newest {
            return;
        }
        self.newest = index;
        let Ok(Command { session, operation }) = Command::decode(command) else { return };
        match (operation, &outcome.effect) {
            (Operation::LeaseGrant { id, ttl }, Effect::LeaseGranted) => {
                let mut lives = self.lives.iter_mut();
                let life = lives.find(|life| life.id == id && life.ttl == ttl);
                life.into_iter().for_each(|life| life.has_begun = true);
            }
            (Operation::LeaseRevoke { id }, Effect::LeaseRevoked { .. }) => {
                let mut lives = self.lives.iter_mut();
                let is_it = |life: &&mut Life| life.has_begun && life.ended.is_none();
                if let Some(life) = lives.find(|life| life.id == id && is_it(life)) {
                    life.ended = Some(now);
                    // Only clients revoke within a session.
                    life.is_given_up |= session.is_some();
                    self.ended += 1;
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Instant, life: usize, what: What) -> (Ticket, Request) {
        let ticket = Ticket(FIRST + self.asked);
        self.asked += 1;
        self.under_way.insert(ticket, Asked { life, called: now, what });
        let Life { id, ttl, .. } = self.lives[life];
        let request = match what {
            What::Grant => write(Operation::LeaseGrant { id, ttl }),
            What::KeepAlive => Request::Lease { id, ask: LeaseAsk::KeepAlive },
            What::TimeToLive => Request::Lease { id, ask: LeaseAsk::TimeToLive },
            What::Revoke => revoke(id, self.asked),
        };
        (ticket, request)
    }

    /// A lease begins; of a name that nobody had, or of one that is just given up.
    fn grant(&mut self, now: Instant, name: Option<LeaseId>) -> (Ticket, Request) {
        let id = name.unwrap_or(LeaseId(1 + self.lives.len() as u64));
        let before = self.lives.iter().filter(|life| life.id == id).count() as u64;
        self.lives.push(Life {
            id,
            ttl: 1 + before,
            is_granted: false,
            has_begun: false,
            kept: Vec::new(),
            is_given_up: false,
            ended: None,
        });
        self.ask(now, self.lives.len() - 1, What::Grant)
    }

    /// Some client does something: mostly it keeps alive what it has, often in the last moment.
    fn act(&mut self, now: Instant, random: &mut Random) -> Vec<(Ticket, Request)> {
        let mine = |life: &Life| life.is_granted && !life.is_given_up && life.ended.is_none();
        let living: Vec<_> = (0..self.lives.len()).filter(|at| mine(&self.lives[*at])).collect();
        if living.len() < 3 || random.chance(0.05) {
            return vec![self.grant(now, None)];
        }
        let at = living[random.below(living.len() as u64) as usize];
        let until = self.lives[at].until().unwrap_or_default();
        let is_late = until.since(now) < 100 * MILLI;
        match random.below(20) {
            0 if is_late => {
                self.lives[at].is_given_up = true;
                let name = Some(self.lives[at].id);
                vec![self.ask(now, at, What::Revoke), self.grant(now, name)]
            }
            1 => vec![self.ask(now, at, What::TimeToLive)],
            _ if is_late || random.chance(0.05) => vec![self.ask(now, at, What::KeepAlive)],
            _ => Vec::new(),
        }
    }

    pub fn answered(&mut self, ticket: Ticket, response: &Response) -> Told {
        let asked = self.under_way.remove(&ticket);
        let Asked { life, called, what } = asked.ok_or("a ticket is answered twice")?;
        let life = &mut self.lives[life];
        match (what, response) {
            (What::Grant, Response::Written(outcome)) => {
                let outcome = Outcome::decode(outcome).map_err(|error| error.to_string())?;
                if outcome.effect == Effect::LeaseGranted {
                    life.is_granted = true;
                    life.kept.push(called);
                }
            }
            (What::KeepAlive | What::TimeToLive, Response::Answer(answer)) => {
                let answer = Answer::decode(answer).map_err(|error| error.to_string())?;
                match answer.leases.first() {
                    Some(lease) if lease.granted != life.ttl => {}
                    Some(lease) if lease.remaining > lease.granted => {
                        return Err(format!("lease {lease:?} has more left than it was given"));
                    }
                    Some(_) if what == What::KeepAlive => {
                        life.kept.push(called);
                        self.kept_alive += 1;
                    }
                    Some(_) => {}
                    None if life.ended.is_none() => {
                        return Err(format!("lease {} was said to be gone, and is not", life.id));
                    }
                    None => self.told_gone += 1,
                }
            }
            (_, Response::Refused { why: Refused::Invalid, message }) => {
                return Err(message.clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// None has ended before its time.
    fn check(&self) -> Told {
        for life in self.lives.iter().filter(|life| life.is_granted && !life.is_given_up) {
            let (Some(ended), Some(until)) = (life.ended, life.until()) else { continue };
            let called = until - Duration::from_secs(life.ttl);
            let jumps = self.jumps.iter().filter(|at| (called..=ended).contains(at)).count();
            let short = Duration::from_secs(life.ttl).mul_f64(DRIFT) + BELIEVED * jumps as u32;
            if ended + short < until {
                return Err(format!(
                    "lease {} of {} s was kept alive at {called} and ended at {ended}",
                    life.id, life.ttl
                ));
            }
        }
        Ok(())
    }
}

fn write(operation: Operation) -> Request {
    Request::Write { command: Command { session: None, operation }.encode() }
}

/// As a client does it who can be told from the leader.
fn revoke(id: LeaseId, number: u64) -> Request {
    let session = SessionId(u128::from(number) << 64);
    let stamp = SessionStamp { id: session, sequence: 1, acknowledged: 0, opened_at: LogIndex(0) };
    let operation = Operation::LeaseRevoke { id };
    Request::Write { command: Command { session: Some(stamp), operation }.encode() }
}

fn keep_alive(id: u64) -> Request {
    Request::Lease { id: LeaseId(id), ask: LeaseAsk::KeepAlive }
}

fn put(key: &'static str, lease: u64) -> RequestOp {
    let (key, lease) = (key.into(), LeaseId(lease));
    RequestOp::Put(PutRequest { key, lease, ..PutRequest::default() })
}

fn leased(keys: &[&'static str], lease: u64) -> Request {
    let success = keys.iter().map(|key| put(key, lease)).collect();
    write(Operation::Transaction(Transaction { success, ..Transaction::default() }))
}

fn world_with_leases(size: u64, seed: u64) -> Result<(World, Random), String> {
    let mut random = Random::from_seed(seed);
    let mut world = World::new(size, &mut random)?;
    let knows = |world: &World| {
        let mut versions = world.ids().into_iter().filter_map(|id| world.status(id));
        versions.all(|status| status.machine_version >= 3)
    };
    world.calm(&mut random, 3000, knows)?;
    Ok((world, random))
}

impl World {
    fn lease_step(&mut self, id: NodeId, random: &mut Random) -> Told {
        if self.is_down(id) {
            return Ok(());
        }
        let now = self.now();
        self.leases.act(now, random).into_iter().try_for_each(|(ticket, request)| {
            self.turn(id, Event::Client { ticket, request, timeout: TIMEOUT, trace: None })
        })
    }

    /// Leaders come and go, sleep and wake, and their clocks do what they like.
    fn restless_step(&mut self, random: &mut Random) -> Told {
        let id = self.somebody(random);
        let now = self.now();
        match random.below(2000) {
            0..900 => self.deliver(random, 0.01)?,
            900..1500 => self.disk_step(id)?,
            1500..1600 => self.lease_step(id, random)?,
            1600..1980 => self.time_passes(Duration::from_millis(1 + random.below(12)))?,
            1980..1983 => self.crash(id, random),
            1983..1986 => self.pause(id),
            1986 => {
                let rate = 1.0 + DRIFT * (random.below(200) as f64 / 100.0 - 1.0);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.clock.set_rate(now, rate);
                }
            }
            1987 if random.chance(0.3) => {
                self.leases.jumps.push(now);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.clock.jump(now, Duration::from_millis(random.below(5000)));
                }
            }
            1988 => self.cut = Some(self.somebody(random)),
            1989 => drop(self.order(id, Order::Transfer { to: None })?),
            _ => {
                self.cut = None;
                self.resume(id)?;
                if self.is_down(id) {
                    self.start(id, random)?;
                }
            }
        }
        Ok(())
    }
}

/// How often what happened that makes the promise hard to keep.
#[derive(Default)]
struct Totals {
    kept_alive: u64,
    ended: u64,
    told_gone: u64,
    leaderships: u64,
}

fn live(seed: u64) -> Result<Totals, String> {
    let (mut world, mut random) = world_with_leases(3, seed)?;
    for _ in 0..12_000 {
        world.restless_step(&mut random)?;
    }
    world.leases.check()?;
    world.peace(&mut random)?;
    // With nobody who keeps them alive.
    world.idle(&mut random, Duration::from_millis(6500))?;
    world.leases.check()?;
    for id in world.ids() {
        let status = world.status(id).ok_or("it is up")?;
        if status.leases > 0 {
            return Err(format!("node {id} has {} leases that do not end", status.leases));
        }
    }
    let Book { kept_alive, ended, told_gone, .. } = world.leases;
    let leaderships = world.status(NodeId(1)).map_or(0, |status| status.consensus.term.0);
    Ok(Totals { kept_alive, ended, told_gone, leaderships })
}

/// `LEASE_SEED=7` replays one life, `1000..3000` lives as many.
#[test]
fn no_lease_ends_before_its_time_whatever_happens() {
    let seeds = crate::seeds("LEASE_SEED").unwrap_or(0..40);
    let few = seeds.end - seeds.start < 40;
    let mut sums = Totals::default();
    for seed in seeds {
        let Totals { kept_alive, ended, told_gone, leaderships } =
            live(seed).unwrap_or_else(|error| panic!("LEASE_SEED={seed}: {error}"));
        sums.kept_alive += kept_alive;
        sums.ended += ended;
        sums.told_gone += told_gone;
        sums.leaderships += leaderships;
    }
    let Totals { kept_alive, ended, told_gone, leaderships } = sums;
    let all = [kept_alive, ended, told_gone, leaderships];
    assert!(
        few || all.iter().all(|sum| *sum > 50),
        "a quiet world proves nothing: kept alive, ended, told gone, leaderships: {all:?}"
    );
}

/// Kept alive through a follower it stays, and its time after the last keep-alive it ends, with all
/// its keys at one revision.
#[test]
fn a_lease_lives_as_long_as_somebody_keeps_it_alive() -> Told {
    let (mut world, mut random) = world_with_leases(3, 21)?;
    let leader = world.leader(&mut random)?;
    let follower = NodeId(leader.0 % 3 + 1);
    let grant = write(Operation::LeaseGrant { id: LeaseId(7), ttl: 2 });
    world.ask(&mut random, follower, grant)?;
    world.ask(&mut random, follower, leased(&["b", "a"], 7))?;
    for _ in 0..10 {
        world.idle(&mut random, 900 * MILLI)?;
        let answer = world.ask(&mut random, follower, keep_alive(7))?;
        let Response::Answer(answer) = answer else { return Err(format!("{answer:?}")) };
        let answer = Answer::decode(&answer).map_err(|error| error.to_string())?;
        assert_eq!((answer.leases.len(), answer.leases[0].granted), (1, 2));
    }
    let before = world.status(follower).ok_or("it is up")?;
    world.idle(&mut random, 1900 * MILLI)?;
    assert_eq!(world.status(follower).map(|status| status.leases), Some(1), "it has time left");
    world.idle(&mut random, 300 * MILLI)?;
    let after = world.status(follower).ok_or("it is up")?;
    assert_eq!((after.leases, after.keys), (0, before.keys - 2));
    assert_eq!(after.revision.0, before.revision.0 + 1);
    let late = world.ask(&mut random, follower, keep_alive(7))?;
    let Response::Answer(late) = late else { return Err(format!("{late:?}")) };
    assert!(Answer::decode(&late).is_ok_and(|late| late.leases.is_empty()), "it is gone");
    world.check()
}

/// Ten thousand a second must not cost as many rounds.
#[test]
fn keep_alives_share_a_round() -> Told {
    let (mut world, mut random) = world_with_leases(3, 25)?;
    let leader = world.leader(&mut random)?;
    let ask = |world: &mut World, (ticket, request)| {
        world.turn(leader, Event::Client { ticket, request, timeout: TIMEOUT, trace: None })
    };
    let grant = world.leases.grant(world.now(), None);
    ask(&mut world, grant)?;
    world.calm(&mut random, 100, |world| world.leases.lives[0].is_granted)?;
    world.idle(&mut random, 20 * MILLI)?;
    let letters = world.network.len();
    for _ in 0..1000 {
        let keep_alive = world.leases.ask(world.now(), 0, What::KeepAlive);
        ask(&mut world, keep_alive)?;
    }
    assert!(world.network.len() - letters <= 4, "{} letters", world.network.len() - letters);
    world.idle(&mut random, 50 * MILLI)?;
    assert_eq!(world.leases.kept_alive, 1000);
    Ok(())
}

/// A new leader gave them all the same time. They end within a second or so, a hundred at once.
#[test]
fn many_that_end_at_once_end_one_after_another() -> Told {
    let (mut world, mut random) = world_with_leases(1, 22)?;
    for id in 1..=1000 {
        world.ask_alone(write(Operation::LeaseGrant { id: LeaseId(id), ttl: 60 }));
    }
    let alone = NodeId(1);
    world.crash(alone, &mut random);
    world.start(alone, &mut random)?;
    let left = |world: &World| world.status(alone).map_or(0, |status| status.leases);
    world.calm(&mut random, 100, |world| left(world) == 1000)?;
    let began = world.now();
    while left(&world) == 1000 {
        world.idle(&mut random, 5 * MILLI)?;
    }
    let first = world.now().since(began);
    assert!(first > Duration::from_secs(59), "all of their time anew, not {first:?}");
    assert_eq!(left(&world), 900);
    world.idle(&mut random, 500 * MILLI)?;
    assert!((300..700).contains(&left(&world)), "{}", left(&world));
    world.idle(&mut random, 700 * MILLI)?;
    assert_eq!(left(&world), 0);
    assert_eq!(world.total(|counters| counters.leases_expired), 1000);
    Ok(())
}

/// What a long lease has left survives its leader; and whoever keeps it alive gets all of it again.
#[test]
fn a_long_lease_does_not_begin_anew_with_each_leader() -> Told {
    let (mut world, mut random) = world_with_leases(3, 23)?;
    let leader = world.leader(&mut random)?;
    world.ask(&mut random, leader, write(Operation::LeaseGrant { id: LeaseId(7), ttl: 1000 }))?;
    world.idle(&mut random, Duration::from_secs(320))?;
    let noted = |world: &World, id: NodeId| {
        let replica = world.nodes[&id].replica.as_ref();
        replica.and_then(|it| it.state()).and_then(|it| it.lease(LeaseId(7)))
    };
    let next = NodeId(leader.0 % 3 + 1);
    let remaining = noted(&world, next).map(|lease| lease.remaining);
    assert!(matches!(remaining, Some(695..=705)), "{remaining:?}");
    let ticket = world.order(leader, Order::Transfer { to: Some(next) })?;
    world.outcome(&mut random, ticket)?;
    let ask = |ask| Request::Lease { id: LeaseId(7), ask };
    let left = |world: &mut World, random: &mut Random, ask| -> Result<u64, String> {
        let answer = world.ask(random, leader, ask)?;
        let Response::Answer(answer) = answer else { return Err(format!("{answer:?}")) };
        let answer = Answer::decode(&answer).map_err(|error| error.to_string())?;
        answer.leases.first().map(|lease| lease.remaining).ok_or("it is gone".into())
    };
    let about = left(&mut world, &mut random, ask(LeaseAsk::TimeToLive))?;
    assert!((690..=705).contains(&about), "{about}");
    let about = left(&mut world, &mut random, ask(LeaseAsk::KeepAlive))?;
    assert!(about >= 999, "{about}");
    world.idle(&mut random, 100 * MILLI)?;
    for id in world.ids() {
        assert_eq!(noted(&world, id).map(|lease| lease.remaining), Some(0), "it is struck out");
    }
    Ok(())
}

/// A leader that slept through an election, and has not heard of it, believes that it leads. It
/// must not say so.
#[test]
fn a_leader_that_wakes_keeps_nothing_alive_before_it_is_confirmed() -> Told {
    let (mut world, mut random) = world_with_leases(3, 24)?;
    let (old, others) = (NodeId(1), NodeId(2));
    while world.leader(&mut random)? != old {
        let leader = world.leader(&mut random)?;
        let ticket = world.order(leader, Order::Transfer { to: Some(old) })?;
        world.outcome(&mut random, ticket)?;
    }
    let grant = write(Operation::LeaseGrant { id: LeaseId(7), ttl: 2 });
    world.ask(&mut random, old, grant)?;
    world.pause(old);
    world.cut = Some(others);
    world.idle(&mut random, Duration::from_secs(1))?;
    let ticket = Ticket(u64::MAX - 1);
    let ask = Event::Client { ticket, request: keep_alive(7), timeout: TIMEOUT, trace: None };
    world.turn(old, ask)?;
    world.resume(old)?;
    assert_eq!(world.nodes[&old].replica.as_ref().and_then(|it| it.leader()), Some(old));
    assert_eq!(world.alone, None, "nobody has confirmed it");
    world.idle(&mut random, Duration::from_secs(1))?;
    let told = world.alone.take();
    assert!(matches!(told, Some(Response::Refused { .. } | Response::Unknown(_))), "{told:?}");
    // With the others it had all of its time anew, and nobody else asked for more.
    world.idle(&mut random, Duration::from_secs(1))?;
    world.cut = None;
    let leases = |world: &World| world.status(others).map(|status| status.leases);
    world.calm(&mut random, 200, |world| leases(world) == Some(0))?;
    world.peace(&mut random)
}
