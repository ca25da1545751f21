//! A whole trial: clients, nemesis and spectator, from the beginning to the record.

use std::io::Write;
use std::time::Duration;

use super::finish::{self, Concluded};
use super::load::Load;
use super::nemesis::Nemesis;
use super::nemesis::plan::Plan;
use super::nemesis::table::Row;
use super::recorder::Progress;
use super::site::Site;
use super::tape::Tape;
use super::verdict::{About, Expectation, Record, Unmet};
use super::watch::Watch;
use super::workload::Workload;
use crate::config::Address;
use crate::control::{ControlError, SupervisorClient};
use crate::types::NodeId;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The workload makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// As things stand it cannot be done.
    #[error("{0}")]
    NotNow(String),
    #[error("there is nothing to judge: {0}")]
    Recording(String),
}

/// What to do, and to whom.
pub struct Setup {
    pub seed: u64,
    pub workload: Workload,
    /// Kinds of faults to inject; none is allowed.
    pub faults: Vec<&'static Row>,
    /// Where the supervisor listens.
    pub supervisor: Address,
    /// Inject even what takes a protected cluster's majority away.
    pub yes: bool,
    /// Where the history goes, besides.
    pub history: Option<Box<dyn Write>>,
}

/// A trial under way.
pub struct Trial {
    seed: u64,
    workload: Workload,
    faults: Vec<String>,
    supervisor: Address,
    nodes: Vec<Site>,
    onlookers: u64,
    about: About,
    tape: Tape,
    load: Load,
    nemesis: Nemesis,
    watch: Watch,
}

impl Trial {
    /// Begins. Lives on a `LocalSet`.
    pub async fn start(setup: Setup) -> Result<Trial, TrialError> {
        let Setup { seed, workload, faults, supervisor, yes, history } = setup;
        workload.validate().map_err(TrialError::Invalid)?;
        let status = SupervisorClient::connect(&supervisor).await?.status().await?;
        let nodes = Site::running(&status);
        if nodes.is_empty() {
            return Err(TrialError::Invalid("no node of the cluster runs".to_owned()));
        }
        if let Some(site) = nodes.iter().find(|site| site.grpc.is_none())
            && let Some(kind) = workload.kinds.iter().find(|kind| kind.is_etcd())
        {
            let node = site.node;
            let why = format!("node {node} does not serve etcd's API, by which {kind} goes in");
            return Err(TrialError::NotNow(why));
        }
        let (clients, onlookers) = Load::lanes(&workload, &nodes);
        let lanes = clients + onlookers + nodes.len() as u64;
        let tape = Tape::start(lanes, history);
        let members: Vec<NodeId> = nodes.iter().map(|site| site.node).collect();
        let plan = Plan::new(seed, &faults, &members);
        let prefix = format!("verify/{}/", tape.began_unix_millis());
        Ok(Trial {
            watch: Watch::start(&supervisor, &tape),
            load: Load::start(&workload, seed, &prefix, &nodes, &tape),
            nemesis: Nemesis::start(plan, &supervisor, format!("verify, seed {seed}"), yes, &tape),
            faults: faults.iter().map(|row| row.name.to_owned()).collect(),
            about: About::of(&status),
            seed,
            workload,
            supervisor,
            nodes,
            onlookers,
            tape,
        })
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.tape.now())
    }

    pub fn progress(&self) -> Progress {
        self.tape.progress()
    }

    /// Why there is nothing more to be learned, if there is not.
    pub fn trouble(&self) -> Option<String> {
        self.tape.trouble()
    }

    /// How many faults were injected so far, and what is in force now.
    pub fn in_force(&self) -> (usize, Vec<String>) {
        self.nemesis.in_force()
    }

    /// Injects no more, and heals what is in force. The clients go on.
    pub async fn heal(&mut self) -> Result<(), ControlError> {
        self.nemesis.stop().await
    }

    /// Heals, waits until the cluster has recovered, lets the clients end, reads every key through
    /// every node, compares the replicas.
    pub async fn finish(mut self) -> Result<Record, TrialError> {
        let healed = self.heal().await;
        let healed = healed.map(|()| "none of the faults is in force any more".to_owned());
        let mut expectations = vec![Expectation::new("healing", healed.map_err(Unmet::from))];
        let (nodes, tape) = (&self.nodes, &self.tape);
        let concluded =
            finish::conclude(&self.supervisor, nodes, self.load, tape, &self.watch).await;
        let Concluded { worked, expectations: of_the_end, seen } = concluded;
        expectations.extend(of_the_end);
        let recording = self.tape.finish().map_err(TrialError::Recording)?;
        expectations.extend(finish::is_whole(&recording));
        Ok(Record {
            seed: self.seed,
            workload: self.workload,
            faults: self.faults,
            about: self.about,
            began_unix_millis: self.tape.began_unix_millis(),
            worked,
            lanes: self.tape.lanes(),
            onlookers: self.onlookers,
            seen,
            recording,
            injuries: self.nemesis.injuries(),
            leaderships: self.watch.seen(),
            casualties: self.watch.casualties(),
            expectations,
        })
    }
}
