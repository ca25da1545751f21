//! One task a program: starts it, sees to it that it runs, and ends it.
//!
//! ```text
//!             wanted                     answers
//!   nothing ─────────► Starting ─────────────────────► Running
//!      ▲                  │ ended                        │ ended
//!      │                  ▼                              ▼
//!      │  not wanted  BackingOff: 1 s, 2 s, … 30 s ◄─────┘
//!      └──────────── Stopping: SIGTERM, SIGKILL after 5 s ◄── not wanted, or wanted otherwise
//! ```
//!
//! Whoever comes after this supervisor finds the program by its identity in the state file, or by
//! its name and the path of its configuration among its arguments, as with nodes.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use super::files::{Labels, Places, Target, Targets};
use super::{Ops, Record, SideCar, probe};
use crate::control::{OpsOrder, OpsStatus, SideCarState, SideCarStatus};
use crate::supervisor::daemon::{Daemon, Inner, Phase};
use crate::supervisor::lifecycle::Signal;
use crate::supervisor::process::{self, Process};
use crate::supervisor::spawn::{detached, last_lines_from};
use crate::supervisor::state::{free_port, is_taken};

/// For a program to be ready, before whoever asked is told that it is not.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One that ran for so long ended for another reason than the last time.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// Between two looks at whether it answers.
const GLANCE: Duration = Duration::from_millis(100);

/// What is known of a program beside the state file.
#[derive(Clone, Debug)]
pub struct Beside {
    pub(super) state: SideCarState,
    problem: Option<String>,
}

/// Why a program is not watched any more.
enum Over {
    Ended(String),
    Unwanted,
}

impl Daemon {
    /// Carries out an order; the error says why it cannot be.
    pub(in crate::supervisor) async fn order_ops(
        self: &Rc<Self>,
        order: OpsOrder,
    ) -> Result<OpsStatus, String> {
        if self.inner.borrow().phase != Phase::Up {
            return Err("the cluster is going down".to_owned());
        }
        match order {
            OpsOrder::Look => return Ok(self.ops_status()),
            OpsOrder::Down => {
                self.inner.borrow_mut().state.ops = None;
                self.touch();
                self.ops_are_gone().await;
            }
            OpsOrder::Up { prometheus, grafana, windows } => {
                let mut programs = vec![&prometheus];
                programs.extend(&grafana);
                if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
                    return Err(format!("there is no program {}", missing.display()));
                }
                let last = self.inner.borrow().state.ops.clone();
                let record = |which, program| -> Result<Record, String> {
                    match last.as_ref().and_then(|ops| ops.record(which)).cloned() {
                        Some(last) => Ok(Record { program, ..last }),
                        None => {
                            let at = free_port().map_err(|error| error.to_string())?;
                            Ok(Record { program, at, process: None, restarts: 0 })
                        }
                    }
                };
                let ops = Ops {
                    windows,
                    version: last.as_ref().map_or(0, |last| last.version) + 1,
                    prometheus: record(SideCar::Prometheus, prometheus)?,
                    grafana: grafana.map(|it| record(SideCar::Grafana, it)).transpose()?,
                };
                self.begin_ops(ops).map_err(|error| {
                    let place = self.directory.path().display();
                    format!("cannot write the configuration in {place}/ops: {error}")
                })?;
                self.ops_are_settled().await;
            }
        }
        self.is_saved().await;
        Ok(self.ops_status())
    }

    fn begin_ops(&self, ops: Ops) -> io::Result<()> {
        let places = Places::of(&self.directory);
        places.write(&ops)?;
        let mut inner = self.inner.borrow_mut();
        for which in SideCar::ALL {
            if ops.record(which).is_some() {
                let beside = Beside { state: SideCarState::Starting, problem: None };
                inner.side_cars.insert(which, beside);
            }
        }
        inner.state.ops = Some(ops);
        drop(inner);
        self.touch();
        Ok(())
    }

    /// Waits until each that is wanted serves, or is known not to.
    async fn ops_are_settled(&self) {
        let settled = || {
            let inner = self.inner.borrow();
            let wanted = SideCar::ALL.into_iter().filter(|which| is_wanted(&inner, *which));
            let mut states = wanted.map(|which| Some(inner.side_cars.get(&which)?.state));
            states.all(|it| matches!(it, Some(SideCarState::Running | SideCarState::BackingOff)))
        };
        self.wait_until(READY_PATIENCE, settled).await;
    }

    /// Waits until none runs that is not to.
    async fn ops_are_gone(&self) {
        let gone = || self.inner.borrow().side_cars.is_empty();
        self.wait_until(GRACE * 2, gone).await;
    }

    fn ops_status(&self) -> OpsStatus {
        let (inner, places) = (self.inner.borrow(), Places::of(&self.directory));
        let Some(ops) = &inner.state.ops else { return OpsStatus::default() };
        let status = |which: SideCar| {
            let (record, beside) = (ops.record(which)?, inner.side_cars.get(&which));
            Some(SideCarStatus {
                name: which.name().to_owned(),
                state: beside.map_or(SideCarState::Starting, |it| it.state),
                address: record.at,
                pid: record.process.as_ref().map(|process| process.pid),
                restarts: record.restarts,
                problem: beside.and_then(|it| it.problem.clone()),
                log: places.log(which),
            })
        };
        let side_cars = SideCar::ALL.into_iter().filter_map(status).collect();
        OpsStatus { windows: ops.windows, side_cars, dashboards: places.dashboards() }
    }

    /// Whom Prometheus is to ask.
    fn targets(&self) -> Targets {
        if self.inner.borrow().phase != Phase::Up {
            return Targets::default();
        }
        let (inner, cluster) = (self.inner.borrow(), self.config.name.to_string());
        let target = |at: SocketAddr, node: Option<String>| Target {
            targets: [at.to_string()],
            labels: Labels { cluster: cluster.clone(), node },
        };
        let nodes = inner.state.live().map(|(id, node)| target(node.http, Some(id.to_string())));
        Targets { nodes: nodes.collect(), supervisor: vec![target(inner.state.http, None)] }
    }

    fn write_targets(&self, targets: &Targets) {
        if let Err(error) = Places::of(&self.directory).write_targets(targets) {
            tracing::warn!(%error, "cannot write whom Prometheus is to ask");
        }
    }

    /// Waits until none runs that is not to, and leaves nobody to be asked.
    pub(in crate::supervisor) async fn end_ops(&self) {
        self.ops_are_gone().await;
        self.write_targets(&Targets::default());
    }

    /// Keeps the targets as new as the members.
    pub(in crate::supervisor) async fn keep_targets(self: Rc<Self>) {
        let mut news = self.news();
        let mut written = None;
        loop {
            news.borrow_and_update();
            let targets = self.targets();
            if written.as_ref() != Some(&targets) {
                self.write_targets(&targets);
                written = Some(targets);
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps `which` running while it is wanted.
    pub(in crate::supervisor) async fn keep_side_car(self: Rc<Self>, which: SideCar) {
        let mut news = self.news();
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(version) = self.wanted(which) else {
                // One that a supervisor before this one left, and that nobody wants. The look at
                // all processes is for once, and not for every piece of news.
                if let Ok(Some(process)) = self.side_car_that_runs(which) {
                    self.stop_side_car(&process).await;
                }
                self.forget_side_car(which);
                pause = FIRST_PAUSE;
                while self.wanted(which).is_none() {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
                continue;
            };
            let began = tokio::time::Instant::now();
            // Before its start: the first words of one that ends at once are its last, too.
            let log = Places::of(&self.directory).log(which);
            let logged = std::fs::metadata(log).map_or(0, |it| it.len());
            let over = match self.adopt_or_start(which) {
                Ok(process) => self.watch_side_car(which, version, &process, logged).await,
                Err(error) => Over::Ended(format!("cannot be started: {error}")),
            };
            let Over::Ended(why) = over else { continue };
            if began.elapsed() >= LONG_ENOUGH {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(program = which.name(), "{why}");
            self.show_side_car(which, SideCarState::BackingOff, Some(why));
            self.set_process(which, None, 1);
            let unwanted = self.is_unwanted(which, version);
            let _ = tokio::time::timeout(pause, unwanted).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// By which order it is to run, if it is.
    fn wanted(&self, which: SideCar) -> Option<u64> {
        let inner = self.inner.borrow();
        let version = inner.state.ops.as_ref().map(|ops| ops.version);
        version.filter(|_| is_wanted(&inner, which))
    }

    async fn is_unwanted(&self, which: SideCar, version: u64) {
        let mut news = self.news();
        while self.wanted(which) == Some(version) && news.changed().await.is_ok() {}
    }

    fn show_side_car(&self, which: SideCar, state: SideCarState, problem: Option<String>) {
        self.inner.borrow_mut().side_cars.insert(which, Beside { state, problem });
        self.look();
    }

    fn forget_side_car(&self, which: SideCar) {
        if self.inner.borrow_mut().side_cars.remove(&which).is_some() {
            self.set_process(which, None, 0);
        }
    }

    fn set_process(&self, which: SideCar, process: Option<&Process>, restarts: u32) {
        if let Some(ops) = &mut self.inner.borrow_mut().state.ops
            && let Some(record) = ops.record_mut(which)
        {
            record.process = process.map(|process| process.identity.clone());
            record.restarts += restarts;
        }
        self.touch();
    }

    /// The process that is recorded, or that has the configuration among its arguments.
    fn side_car_that_runs(&self, which: SideCar) -> io::Result<Option<Process>> {
        let recorded = {
            let inner = self.inner.borrow();
            let record = inner.state.ops.as_ref().and_then(|ops| ops.record(which));
            record.and_then(|it| it.process.clone())
        };
        if let Some(identity) = recorded
            && let Some(process) = Process::of_identity(&identity)?
        {
            return Ok(Some(process));
        }
        let config = Places::of(&self.directory).config(which);
        for program in which.programs() {
            for identity in process::running(program, &config)? {
                if let Some(process) = Process::of_identity(&identity)? {
                    return Ok(Some(process));
                }
            }
        }
        Ok(None)
    }

    fn adopt_or_start(&self, which: SideCar) -> io::Result<Process> {
        let process = match self.side_car_that_runs(which)? {
            Some(process) => process,
            None => Process::of_child(self.start_side_car(which)?)?,
        };
        self.set_process(which, Some(&process), 0);
        self.show_side_car(which, SideCarState::Starting, None);
        Ok(process)
    }

    fn start_side_car(&self, which: SideCar) -> io::Result<std::process::Child> {
        let record = {
            let mut inner = self.inner.borrow_mut();
            let ops = inner.state.ops.as_mut().and_then(|ops| ops.record_mut(which));
            let record = ops.ok_or_else(|| io::Error::other("it is not wanted any more"))?;
            if is_taken(record.at) {
                record.at = free_port().map_err(io::Error::other)?;
            }
            record.clone()
        };
        let places = Places::of(&self.directory);
        // A port may have changed since.
        if let Some(ops) = &self.inner.borrow().state.ops {
            places.write(ops)?;
        }
        let mut command = Command::new(&record.program);
        match which {
            SideCar::Prometheus => {
                command
                    .arg("--config.file")
                    .arg(places.config(which))
                    .arg("--storage.tsdb.path")
                    .arg(places.data(which))
                    .arg(format!("--web.listen-address={}", record.at))
                    .args(["--storage.tsdb.retention.time=7d"])
                    // Everybody is asked once a second: what is older than this is gone. Else
                    // what somebody said last would count for five minutes after a restart.
                    .arg("--query.lookback-delta=15s")
                    .args(["--storage.tsdb.retention.size=1GB", "--log.level=warn"]);
            }
            SideCar::Grafana => {
                let home = ["/usr/share/grafana", "/usr/local/share/grafana"];
                let home = home.into_iter().find(|it| std::path::Path::new(it).is_dir());
                command.arg("--config").arg(places.config(which));
                command.args(home.into_iter().flat_map(|home| ["--homepath", home]));
            }
        }
        detached(command, &places.log(which))
    }

    /// Looks on until it ends, or is not wanted as it is any more and has been ended. Its words
    /// begin after the first `logged` bytes of its log.
    async fn watch_side_car(
        &self,
        which: SideCar,
        version: u64,
        process: &Process,
        logged: u64,
    ) -> Over {
        let log = Places::of(&self.directory).log(which);
        let ready = async {
            while !self.answers(which).await {
                tokio::time::sleep(GLANCE).await;
            }
            // It may be on its way out already.
            if self.wanted(which) == Some(version) {
                self.show_side_car(which, SideCarState::Running, None);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = process.ended() => {
                let how = ended.map_or_else(|error| error.to_string(), |exit| exit.to_string());
                let words = last_lines_from(&log, logged, 3);
                let words = if words.is_empty() { words } else { format!(": {words}") };
                return Over::Ended(format!("ended, {how}{words}"));
            }
            () = self.is_unwanted(which, version) => {}
            () = ready => {}
        }
        self.show_side_car(which, SideCarState::Stopping, None);
        self.stop_side_car(process).await;
        self.set_process(which, None, 0);
        Over::Unwanted
    }

    async fn answers(&self, which: SideCar) -> bool {
        let at = {
            let inner = self.inner.borrow();
            let ops = inner.state.ops.as_ref();
            ops.and_then(|ops| ops.record(which)).map(|record| record.at)
        };
        match at {
            Some(at) => probe::is_ready(at, which.readiness()).await,
            None => false,
        }
    }

    async fn stop_side_car(&self, process: &Process) {
        for signal in [Signal::Terminate, Signal::Kill] {
            if let Err(error) = process.send(signal) {
                tracing::warn!(%error, pid = process.pid(), "cannot send a signal");
            }
            if tokio::time::timeout(GRACE, process.ended()).await.is_ok() {
                return;
            }
        }
    }
}

fn is_wanted(inner: &Inner, which: SideCar) -> bool {
    let ops = inner.state.ops.as_ref();
    inner.phase == Phase::Up && ops.is_some_and(|ops| ops.record(which).is_some())
}
