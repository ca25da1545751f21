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
use super::etcd;
use super::generator::{Generator, Keys, leases};
use super::onlookers::Onlookers;
use super::recorder::{Asked, Ended};
use super::site::Site;
use super::tape::Tape;
use super::workload::Workload;
use crate::client::{Client, Options};
use crate::config::Address;
use crate::etcd_client;
use crate::types::{NodeId, Random};
use crate::verify::history::Outcome;

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
    clients: Tasks,
    left: Left,
}

/// What goes on when the clients have ended, and what is to be known of what they left.
pub struct Left {
    /// Of all keys.
    pub prefix: String,
    /// Whether they may have left leases.
    pub has_leases: bool,
    /// The first lane of the tape that neither clients nor onlookers take.
    pub lane: u64,
    pub onlookers: Option<Onlookers>,
}

impl Load {
    /// Begins. On `tape`, the clients are the lanes from 0 on, and then come the onlookers. The
    /// trial is the only one that uses keys that begin with `prefix`. Lives on a `LocalSet`.
    pub fn start(
        workload: &Workload,
        seed: u64,
        prefix: &str,
        nodes: &[Site],
        tape: &Tape,
    ) -> Load {
        let (stop, stopped) = watch::channel(false);
        let leases = leases(tape.began_unix_millis());
        let keys = Rc::new(RefCell::new(Keys::new(prefix, leases, workload)));
        let onlookers = workload.is_watched().then(|| {
            let lane = u64::from(workload.clients);
            Onlookers::start(seed, prefix, &keys, nodes, lane, tape)
        });
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
        let (clients_lanes, onlookers_lanes) = Load::lanes(workload, nodes);
        let left = Left {
            prefix: prefix.to_owned(),
            has_leases: workload.has_leases(),
            lane: clients_lanes + onlookers_lanes,
            onlookers,
        };
        Load { stop, clients: Tasks(clients), left }
    }

    /// How many lanes of a tape it takes: those of the clients, and those of the onlookers.
    pub fn lanes(workload: &Workload, nodes: &[Site]) -> (u64, u64) {
        let onlookers = if workload.is_watched() { Onlookers::lanes(nodes) } else { 0 };
        (workload.clients.into(), onlookers)
    }

    /// Returns when what is under way has ended: most of it within the time-out of a request. An
    /// append is several of them, and more where others are faster. The onlookers go on.
    pub async fn stop(self) -> Left {
        self.stop.send_replace(true);
        self.clients.ended().await;
        self.left
    }
}

/// Tasks that end with this.
struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    async fn ended(mut self) {
        join_all(self.0.drain(..)).await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
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

/// How one client reaches one node.
struct Reach {
    node: NodeId,
    native: Client,
    /// `None`: the node does not serve etcd's API.
    etcd: Option<etcd_client::Client>,
}

impl Reach {
    /// In the one way or in the other.
    async fn perform(&self, asked: &Asked, workload: &Workload) -> Ended {
        match (&self.etcd, asked.wish.kind.is_etcd()) {
            (_, false) => perform(&self.native, &asked.wish, workload.reads).await,
            (Some(etcd), true) => etcd::perform(etcd, &asked.wish, workload.reads).await,
            (None, true) => {
                let error = Some("it does not serve etcd's API".to_owned());
                Ended { outcome: Outcome::Failed, error }
            }
        }
    }
}

/// By etcd's API; nothing is dialled yet.
pub(super) fn reach(
    grpc: Option<std::net::SocketAddr>,
    timeout: Duration,
) -> Option<etcd_client::Client> {
    let options = etcd_client::Options { timeout, attempt_timeout: timeout / 3 };
    etcd_client::Client::new([grpc?.to_string()], options).ok()
}

/// One client, and those that take its place.
struct Worker {
    lane: u64,
    process: u64,
    generator: Generator,
    random: Random,
    keys: Rc<RefCell<Keys>>,
    nodes: Vec<Site>,
    workload: Workload,
    tape: Tape,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        let interval = Duration::from_secs(self.workload.clients.into()) / self.workload.rate;
        let mut turn = Instant::now() + self.random.duration(Duration::ZERO..interval);
        while let Some(reach) = self.let_in().await {
            let stay = STAY.start + self.random.below(STAY.end - STAY.start);
            let mut refusals = 0;
            for _ in 0..stay {
                if self.unless_stopped(sleep_until(turn)).await.is_none() {
                    return;
                }
                let ended = self.one(&reach).await;
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
    async fn let_in(&mut self) -> Option<Reach> {
        loop {
            let place = self.random.below(self.nodes.len() as u64) as usize;
            let Site { node, client, grpc } = self.nodes[place].clone();
            let most = self.workload.timeout();
            let timeout = self.random.duration(most / 4..most);
            match self.unless_stopped(connect(&client, timeout, CONNECT)).await? {
                Some(native) => {
                    return Some(Reach { node, native, etcd: reach(grpc, timeout) });
                }
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
    async fn one(&mut self, reach: &Reach) -> Ended {
        let wish = self.generator.next(&mut self.keys.borrow_mut());
        let asked = Asked { process: self.process, node: reach.node.0, wish };
        self.tape.invoke(&asked);
        let ended = reach.perform(&asked, &self.workload).await;
        self.tape.complete(&asked, &ended);
        self.generator.ended(&mut self.keys.borrow_mut(), &asked.wish, &ended);
        ended
    }
}
