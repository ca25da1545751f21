//! When a node is started, signalled and given up: the supervisor's judgement, as a value.
//!
//! # The problem
//!
//! A supervisor makes few decisions, and every one of them at a bad moment: the node died while it
//! was being stopped, a person said `start` while it was backing off, it was killed on purpose and
//! again on purpose. Entangled with processes and timers, such cases are never tested.
//!
//! # The rule
//!
//! A [`Lifecycle`] is told what happened and the time, and answers with what must be done ([`Do`]).
//! It holds no process and no clock.
//!
//! ```text
//!            Spawn            answered             silent
//!  (start) ──────► starting ──────────► running ◄────────► unresponsive
//!                     │  SIGTERM            │  ▲ SIGCONT
//!                     ▼                     ▼  │
//!   stopped ◄──── stopping            SIGSTOP  paused            (any of these)
//!      │   ended      │ after the grace: SIGKILL                       │ ended, unasked
//!      │ start        ▼                                                ▼
//!      └────────► starting ◄──── backing-off ◄─────────────── died: how often of late?
//!                     ▲                                                │ too often
//!                     └───────────── start ─────── crash-looping ◄─────┘ or exit code 78
//! ```
//!
//! - The first restart after a death is immediate, for a node that is gone for a moment costs a
//!   cluster its margin. Each further one within the window waits twice as long as the last.
//! - A node that was killed through the supervisor (`kill`) is started again at once and its death
//!   counts for nothing: it was an experiment.
//! - Exit code 78 means that the node refuses its configuration or its data. Starting it again
//!   cannot help, and may hide what a person must see.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::config::Supervision;
use crate::control::{Action, State};
use crate::types::Instant;

/// What a node exits with when it refuses its configuration or its data (`EX_CONFIG`).
pub const EXIT_REFUSED: i32 = 78;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was not our child, so nobody told us.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
            Exit::Unknown => f.write_str("unknown"),
        }
    }
}

/// A signal that the supervisor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Kill,
    Pause,
    Continue,
}

/// Why a node is started, as the metrics tell starts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The cluster comes up.
    Up,
    /// A person asked for it.
    Asked,
    /// It was killed through the supervisor.
    Killed,
    /// It died by itself.
    Died,
}

impl Reason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Up => "up",
            Reason::Asked => "asked",
            Reason::Killed => "killed",
            Reason::Died => "died",
        }
    }
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Start a process; then say [`Lifecycle::spawned`] or [`Lifecycle::spawn_failed`].
    Spawn(Reason),
    /// Send a signal to the process.
    Send(Signal),
    /// Write into the history.
    Tell { kind: &'static str, detail: String },
}

fn tell(kind: &'static str, detail: impl Into<String>) -> Do {
    Do::Tell { kind, detail: detail.into() }
}

/// What follows the end of a node that is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    StayDown,
    StartAgain,
}

/// The supervisor's judgement about one node.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    policy: Supervision,
    state: State,
    /// There is a process. Always with `unresponsive`, `paused`, `running` and `stopping`; with
    /// `starting` only once it is spawned.
    process: bool,
    then: Then,
    /// The process was sent SIGKILL because somebody asked for it.
    killed_on_purpose: bool,
    /// The process was sent SIGKILL because it did not stop in time.
    out_of_patience: Option<Duration>,
    /// Between SIGTERM and SIGKILL, of the stop under way.
    grace: Duration,
    /// When it died unasked, of late; as many as the limit at most.
    deaths: VecDeque<Instant>,
    /// Stopping: when patience ends. Backing off: when it is started.
    deadline: Option<Instant>,
    restarts: u32,
    last_exit: Option<String>,
    problem: Option<String>,
}

impl Lifecycle {
    /// A node that does not run.
    pub fn new(policy: Supervision, restarts: u32, last_exit: Option<String>) -> Lifecycle {
        Lifecycle {
            policy,
            state: State::Stopped,
            process: false,
            then: Then::StayDown,
            killed_on_purpose: false,
            out_of_patience: None,
            grace: Duration::ZERO,
            deaths: VecDeque::new(),
            deadline: None,
            restarts,
            last_exit,
            problem: None,
        }
    }

    /// What the node is doing, as far as is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether there is a process.
    pub fn has_process(&self) -> bool {
        self.process
    }

    /// How often it was started again although nobody asked.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How it ended last.
    pub fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// Why it does not run as asked.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How long it was waited for before SIGKILL, if it was not asked for.
    pub fn out_of_patience(&self) -> Option<Duration> {
        self.out_of_patience
    }

    /// Whether a person wants it to stay down.
    pub fn stays_down(&self) -> bool {
        match self.state {
            State::Stopped => true,
            State::Stopping => self.then == Then::StayDown,
            _ => false,
        }
    }

    /// When [`Lifecycle::elapsed`] is next due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When it will be started, if it is backing off.
    pub fn next_start(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.state == State::BackingOff)
    }

    /// The cluster comes up.
    pub fn up(&mut self) -> Vec<Do> {
        self.start(Reason::Up)
    }

    /// It was given up by an earlier supervisor, and still waits for a person.
    pub fn given_up(&mut self, problem: String) {
        self.state = State::CrashLooping;
        self.problem = Some(problem);
    }

    /// It was found running; `paused`: stopped by SIGSTOP.
    pub fn adopted(&mut self, paused: bool) -> Vec<Do> {
        self.process = true;
        self.state = if paused { State::Paused } else { State::Running };
        let detail = if paused { "found running, paused" } else { "found running" };
        vec![tell("node-adopted", detail)]
    }

    /// Somebody asks for `action`; the error says why it cannot be, and nothing was changed.
    /// `grace` lies between SIGTERM and SIGKILL.
    pub fn act(
        &mut self,
        now: Instant,
        action: Action,
        grace: Duration,
    ) -> Result<Vec<Do>, String> {
        match action {
            Action::Start => Ok(self.start(Reason::Asked)),
            Action::Stop => Ok(self.stop(now, Then::StayDown, grace)),
            Action::Restart => match self.process {
                true => Ok(self.stop(now, Then::StartAgain, grace)),
                false => Ok(self.start(Reason::Asked)),
            },
            _ if !self.process => {
                Err(format!("it has no process to {action} now: it is {}", self.state))
            }
            Action::Kill => {
                self.killed_on_purpose = true;
                Ok(vec![Do::Send(Signal::Kill), tell("node-killed", "on request")])
            }
            Action::Pause => match self.state {
                State::Paused => Ok(Vec::new()),
                State::Stopping => Err("it is being stopped".into()),
                _ => {
                    self.state = State::Paused;
                    Ok(vec![Do::Send(Signal::Pause), tell("node-paused", "on request")])
                }
            },
            Action::Resume => match self.state {
                State::Paused => {
                    self.state = State::Running;
                    Ok(vec![Do::Send(Signal::Continue), tell("node-resumed", "on request")])
                }
                _ => Ok(Vec::new()),
            },
        }
    }

    /// A fault kills it, and wants it to stay dead.
    pub fn kill_and_keep(&mut self) -> Result<Vec<Do>, String> {
        if !self.process {
            return Err(format!("it has no process to kill now: it is {}", self.state));
        }
        self.state = State::Stopping;
        self.then = Then::StayDown;
        self.deadline = None;
        self.out_of_patience = None;
        Ok(vec![Do::Send(Signal::Kill), tell("node-killed", "to stay dead")])
    }

    fn start(&mut self, reason: Reason) -> Vec<Do> {
        match self.state {
            State::Stopping => {
                self.then = Then::StartAgain;
                Vec::new()
            }
            state if state.is_alive() => Vec::new(),
            _ => {
                self.deaths.clear();
                self.problem = None;
                self.spawn(reason)
            }
        }
    }

    fn spawn(&mut self, reason: Reason) -> Vec<Do> {
        self.state = State::Starting;
        self.deadline = None;
        self.killed_on_purpose = false;
        self.out_of_patience = None;
        vec![Do::Spawn(reason)]
    }

    fn stop(&mut self, now: Instant, then: Then, grace: Duration) -> Vec<Do> {
        if !self.process {
            let told = match self.state {
                State::Stopped => Vec::new(),
                _ => vec![tell("node-stopped", "it had no process")],
            };
            self.state = State::Stopped;
            self.deadline = None;
            self.problem = None;
            return told;
        }
        if self.state == State::Stopping {
            self.then = then;
            // Without a deadline it was sent SIGKILL already.
            self.deadline = self.deadline.map(|deadline| deadline.min(now + grace));
            return Vec::new();
        }
        let paused = self.state == State::Paused;
        self.state = State::Stopping;
        self.then = then;
        self.grace = grace;
        self.deadline = Some(now + grace);
        self.out_of_patience = None;
        let mut todo = vec![Do::Send(Signal::Terminate)];
        if paused {
            // It takes the SIGTERM when it goes on.
            todo.push(Do::Send(Signal::Continue));
        }
        todo
    }

    /// A process was started.
    pub fn spawned(&mut self, pid: u32, reason: Reason) -> Vec<Do> {
        self.process = true;
        vec![tell("node-started", format!("pid {pid} ({})", reason.as_str()))]
    }

    /// No process could be started. `hopeless`: trying again cannot help.
    pub fn spawn_failed(&mut self, now: Instant, why: &str, hopeless: bool) -> Vec<Do> {
        if self.state != State::Starting {
            return Vec::new();
        }
        let mut todo = vec![tell("node-not-started", why)];
        match hopeless {
            true => todo.extend(self.give_up(why.to_owned())),
            false => todo.extend(self.died(now, why)),
        }
        todo
    }

    /// The process ended. `last_words`: the end of what it said, for people.
    pub fn exited(&mut self, now: Instant, exit: Exit, last_words: &str) -> Vec<Do> {
        let was = self.state;
        self.process = false;
        self.last_exit = Some(exit.to_string());
        self.deadline = None;
        if was == State::Stopping {
            let how = match self.out_of_patience {
                Some(grace) => format!("killed after {grace:?} without an end"),
                None => exit.to_string(),
            };
            self.state = State::Stopped;
            let mut todo = vec![tell("node-stopped", how)];
            if self.then == Then::StartAgain {
                todo.extend(self.start(Reason::Asked));
            }
            return todo;
        }
        let mut todo = vec![tell("node-exited", exit.to_string())];
        if self.killed_on_purpose {
            todo.extend(self.restart(Reason::Killed));
        } else if exit == Exit::Code(EXIT_REFUSED) {
            todo.extend(self.give_up(with_words("it refuses to run", last_words)));
        } else {
            let why = with_words(&format!("it ended by itself ({exit})"), last_words);
            todo.extend(self.died(now, &why));
        }
        todo
    }

    fn died(&mut self, now: Instant, why: &str) -> Vec<Do> {
        let window = Duration::from_millis(self.policy.crash_loop_within_millis);
        self.deaths.push_back(now);
        self.deaths.retain(|death| now.since(*death) <= window);
        let deaths = self.deaths.len() as u32;
        if deaths >= self.policy.crash_loop_deaths {
            return self.give_up(format!("{deaths} deaths within {window:?}; the last: {why}"));
        }
        self.problem = Some(why.to_owned());
        match backoff(&self.policy, deaths) {
            Duration::ZERO => self.restart(Reason::Died),
            delay => {
                self.state = State::BackingOff;
                self.deadline = Some(now + delay);
                Vec::new()
            }
        }
    }

    fn restart(&mut self, reason: Reason) -> Vec<Do> {
        if reason == Reason::Died {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.spawn(reason)
    }

    fn give_up(&mut self, problem: String) -> Vec<Do> {
        self.state = State::CrashLooping;
        self.deadline = None;
        self.problem = Some(problem.clone());
        vec![tell("node-crash-looping", problem)]
    }

    /// The node answered.
    pub fn answered(&mut self) -> Vec<Do> {
        let before = self.state;
        let told = match before {
            State::Starting => tell("node-running", "it answers"),
            State::Unresponsive => tell("node-responsive", "it answers again"),
            State::Paused => tell("node-resumed", "by somebody else"),
            _ => return Vec::new(),
        };
        if !self.process {
            return Vec::new();
        }
        self.state = State::Running;
        self.problem = None;
        vec![told]
    }

    /// It lives and has not answered for too long.
    pub fn silent(&mut self, silence: Duration) -> Vec<Do> {
        if self.state != State::Running {
            return Vec::new();
        }
        self.state = State::Unresponsive;
        self.problem = Some(format!("alive, but without an answer for over {silence:?}"));
        vec![tell("node-unresponsive", format!("no answer for over {silence:?}"))]
    }

    /// The process is seen to be stopped by SIGSTOP although nobody asked us for it.
    pub fn seen_paused(&mut self) -> Vec<Do> {
        match self.state {
            State::Starting | State::Running | State::Unresponsive if self.process => {
                self.state = State::Paused;
                vec![tell("node-paused", "by somebody else")]
            }
            _ => Vec::new(),
        }
    }

    /// Time has passed; the deadline may have come.
    pub fn elapsed(&mut self, now: Instant) -> Vec<Do> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        match self.state {
            State::BackingOff => self.restart(Reason::Died),
            State::Stopping => {
                self.deadline = None;
                self.out_of_patience = Some(self.grace);
                vec![Do::Send(Signal::Kill)]
            }
            _ => {
                self.deadline = None;
                Vec::new()
            }
        }
    }
}

/// How long to wait before the restart after the `deaths`-th death of late.
fn backoff(policy: &Supervision, deaths: u32) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        n => {
            let factor = 1u64.checked_shl(n - 2).unwrap_or(u64::MAX);
            let millis = policy.backoff_min_millis.saturating_mul(factor);
            Duration::from_millis(millis.min(policy.backoff_max_millis))
        }
    }
}

fn with_words(what: &str, last_words: &str) -> String {
    match last_words.trim() {
        "" => what.to_owned(),
        words => format!("{what}: {words}"),
    }
}

#[cfg(test)]
mod tests;
