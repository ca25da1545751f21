//! Clients at work.
//!
//! Each has one operation under way, and begins the next no sooner than its share of the rate
//! allows: a store that was silent for a while is not run over afterwards. A client is bound to one
//! node for some dozens of operations and then goes to another, so that every node is asked,
//! whether it leads or not. One whose operation ended in doubt is gone; its place is taken by a new
//! process, with a new connection and a new session. Some wait longer than others before they give
//! up: what the impatient never learn is what a checker has to live with.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::perform;
use super::generator::{Generator, Keys};
use super::recorder::{Asked, Ended};
use super::tape::Tape;
use super::workload::Workload;
use crate::client::{Client, Options};
use crate::config::Address;
use crate::types::{NodeId, Random};
use crate::verify::history::{Call, Found, Outcome};

/// Operations that a client does at one node before it goes to another.
const STAY: std::ops::Range<u64> = 20..100;
/// Refusals in a row after which it goes to another, too: those who stay with a minority are no
/// measure of what the majority does.
const REFUSALS: u32 = 3;
/// Before a client that was not let in goes to another node.
const PAUSE: Duration = Duration::from_millis(20);
/// To be let in.
const CONNECT: Duration = Duration::from_millis(500);

/// Clients at work. Dropped, they end in the middle of what they do.
pub struct Load {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins. On `tape`, the clients are the lanes from 0 on. The trial is the only one that uses
    /// keys that begin with `prefix`. Lives on a `LocalSet`.
    pub fn start(
        workload: &Workload,
        seed: u64,
        prefix: &str,
        nodes: &[(NodeId, Address)],
        tape: &Tape,
    ) -> Load {
        let (stop, stopped) = watch::channel(false);
        let keys = Rc::new(RefCell::new(Keys::new(prefix, workload)));
        let worker = |number: u32| Worker {
            lane: number.into(),
            process: tape.process(number.into()),
            generator: Generator::new(seed, number, workload),
            // Of its own: when it moves does not change what it wants.
            random: Random::from_seed(seed ^ u64::from(number + 1).wrapping_mul(0x9e37_79b9)),
            keys: keys.clone(),
            nodes: nodes.to_vec(),
            workload: workload.clone(),
            tape: tape.clone(),
            stopped: stopped.clone(),
        };
        let clients = (0..workload.clients).map(worker);
        let clients = clients.map(|worker| tokio::task::spawn_local(worker.run())).collect();
        Load { stop, clients }
    }

    /// Returns when what is under way has ended: most of it within the time-out of a request. An
    /// append is several of them, and more where others are faster.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        join_all(self.clients.drain(..)).await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

/// How a client reaches one node and no other. It has so long to be let in.
pub(super) async fn connect(
    address: &Address,
    timeout: Duration,
    connect_timeout: Duration,
) -> Option<Client> {
    let options = Options {
        timeout,
        // Time for a second try: a message that was lost on the way is not the end.
        attempt_timeout: timeout / 3,
        connect_timeout,
        max_in_flight: 1,
    };
    Client::connect(std::slice::from_ref(address), options).await.ok()
}

/// One client, and those that take its place.
struct Worker {
    lane: u64,
    process: u64,
    generator: Generator,
    random: Random,
    keys: Rc<RefCell<Keys>>,
    nodes: Vec<(NodeId, Address)>,
    workload: Workload,
    tape: Tape,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        let interval = Duration::from_secs(self.workload.clients.into()) / self.workload.rate;
        let mut turn = Instant::now() + self.random.duration(Duration::ZERO..interval);
        while let Some((node, client)) = self.let_in().await {
            let stay = STAY.start + self.random.below(STAY.end - STAY.start);
            let mut refusals = 0;
            for _ in 0..stay {
                if self.unless_stopped(sleep_until(turn)).await.is_none() {
                    return;
                }
                let ended = self.one(node, &client).await;
                let pace = self.random.duration(interval / 2..interval * 3 / 2);
                turn = (turn + pace).max(Instant::now());
                match ended.outcome {
                    Outcome::Unknown => {
                        self.process = self.tape.process(self.lane);
                        break;
                    }
                    Outcome::Failed => refusals += 1,
                    Outcome::Ok { .. } | Outcome::Mismatch => refusals = 0,
                }
                if refusals == REFUSALS {
                    break;
                }
            }
        }
    }

    /// A connection to some node; nothing when it is time to stop.
    async fn let_in(&mut self) -> Option<(NodeId, Client)> {
        loop {
            let place = self.random.below(self.nodes.len() as u64) as usize;
            let (node, address) = self.nodes[place].clone();
            let most = self.workload.timeout();
            let timeout = self.random.duration(most / 4..most);
            match self.unless_stopped(connect(&address, timeout, CONNECT)).await? {
                Some(client) => return Some((node, client)),
                None => self.unless_stopped(sleep(PAUSE)).await?,
            }
        }
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
            done = work => Some(done),
        }
    }

    /// One operation, from its invocation to its end.
    async fn one(&mut self, node: NodeId, client: &Client) -> Ended {
        let (key, call) = self.generator.next(&mut self.keys.borrow_mut());
        let asked = Asked { process: self.process, node: node.0, key, call };
        self.tape.invoke(&asked);
        let ended = perform(client, &asked.key, &asked.call, self.workload.reads).await;
        self.tape.complete(&asked, &ended);
        if let Outcome::Ok { found, .. } = &ended.outcome {
            let value = match (&asked.call, found) {
                (_, Found::Value(found)) => found.clone(),
                (Call::Write(value), _) => Some(value.clone()),
                (Call::Cas { new, .. }, _) => new.clone(),
                _ => None,
            };
            self.keys.borrow_mut().heard(&asked.key, value);
        }
        ended
    }
}
