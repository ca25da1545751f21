//! Keeps a record of the core's life in the node's directory (`cluster up --record`).
//!
//! # The problem
//! The core lives on the node's one thread, and every microsecond that is taken from it is taken
//! from every write. A record must cost little, never wait for a disk, and never fill one.
//!
//! # The rule
//! ```text
//!   core ──► Recorder: a step becomes bytes ──► waiting (bounded) ──► thread ──► record/…0007.rec
//!            (the node's thread)                                                 record/…0006.rec
//! ```
//! - The node's thread only turns a step into bytes and puts them where they wait. A thread of its
//!   own takes all that waits, five times a second, and writes it as one block: that much a SIGKILL
//!   may lose. Nothing is synced.
//! - If too much waits, or the disk fails or is full, steps are not recorded, which is said in
//!   `node.log`. Once there is room again the record goes on in a new file, with a checkpoint: how
//!   many steps are missing is known from the count in its header.
//! - A file ends once it holds [`FILE_BYTES`] of steps; the oldest files go so that all of them
//!   together stay within [`RING_BYTES`], about.
//! - A panic of the core unwinds through here: what waits is written before the process ends, the
//!   step that ended it too.

pub mod ring;
#[cfg(test)]
mod tests;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::consensus::{Consensus, Effect, Input};
use crate::record::{CORE, Header, Record, State, digest, write_record};
use crate::replica;
use crate::types::{ClusterId, Instant, NodeId};
use ring::Ring;
use waiting::Waiting;

/// Steps in one file.
pub const FILE_BYTES: usize = 16 << 20;

/// All files together, the newest one full.
pub const RING_BYTES: u64 = 64 << 20;

/// After a failure, until it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The whole state is noted this often, of the node's own time.
const STATE_EVERY: Duration = Duration::from_secs(5);

/// Where, whose, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub file_bytes: usize,
    pub ring_bytes: u64,
    /// After a failure, until it is tried again.
    pub retry: Duration,
}

impl Options {
    /// The usual sizes.
    pub fn new(directory: PathBuf, cluster: ClusterId, node: NodeId) -> Options {
        let (file_bytes, ring_bytes, retry) = (FILE_BYTES, RING_BYTES, RETRY);
        Options { directory, cluster, node, file_bytes, ring_bytes, retry }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Recorder {
    header: Header,
    file_bytes: usize,
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
    /// Steps of this life so far, recorded or not.
    steps: u64,
    /// Bytes of the current file; `None`: the next step begins a new one.
    file: Option<usize>,
    noted: Instant,
    /// The step under way; empty if it is not recorded.
    step: Vec<u8>,
}

impl Recorder {
    /// A recorder, whose thread runs.
    pub fn start(options: &Options) -> std::io::Result<Recorder> {
        let ring = Ring::new(&options.directory, options.file_bytes, options.ring_bytes);
        let waiting = Arc::new(Waiting::default());
        let (theirs, retry) = (waiting.clone(), options.retry);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || waiting::write(&theirs, ring, retry))?;
        let header = Header {
            cluster: options.cluster,
            node: options.node,
            build: crate::observe::VERSION.into(),
            core: CORE.into(),
            life: unix(),
            first_step: 0,
        };
        Ok(Recorder {
            header,
            file_bytes: options.file_bytes,
            waiting,
            thread: Some(thread),
            steps: 0,
            file: None,
            noted: Instant::default(),
            step: Vec::new(),
        })
    }

    /// Notes where the core stands, now and then; begins a file if it is time to.
    fn look_up<C: Consensus>(&mut self, core: &C, now: Instant) {
        match self.file {
            Some(bytes) if bytes >= self.file_bytes => {
                let state = self.note(core, now);
                self.write::<C>(&Record::End(state));
                self.begin(core, now);
            }
            Some(_) if now.since(self.noted) >= STATE_EVERY => {
                let state = self.note(core, now);
                self.write::<C>(&Record::State(state));
            }
            Some(_) => {}
            None => self.begin(core, now),
        }
    }

    fn begin<C: Consensus>(&mut self, core: &C, now: Instant) {
        self.header.first_step = self.steps;
        self.file = self.waiting.begin(&self.header).then_some(0);
        if self.file.is_some() {
            let state = self.note(core, now);
            self.write(&Record::Checkpoint { state, core });
            // What a file holds is counted from here: a checkpoint may be larger than all else.
            self.file = self.file.map(|_| 0);
        }
    }

    fn note<C: Consensus>(&mut self, core: &C, now: Instant) -> State {
        self.noted = now;
        State { digest: digest::of(core), now, unix: unix() }
    }

    fn write<C: Consensus>(&mut self, record: &Record<&Input<C>, &C>) {
        write_record(record, &mut self.step);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.file = match self.file {
            Some(bytes) if self.waiting.push(&self.step) => Some(bytes + self.step.len()),
            _ => None,
        };
        self.step.clear();
    }
}

impl<C: Consensus> replica::Recorder<C> for Recorder {
    fn before(&mut self, core: &C, now: Instant, input: &Input<C>) {
        self.look_up(core, now);
        if self.file.is_some() {
            write_record::<_, &C>(&Record::Step { now, input }, &mut self.step);
        }
        self.steps += 1;
    }

    fn after(&mut self, effects: &[Effect<C>]) {
        if self.file.is_some() {
            let digest = digest::of(effects);
            self.write::<C>(&Record::Effects { digest });
        }
    }

    fn end(&mut self, core: &C, now: Instant) {
        if self.file.is_some() {
            let state = self.note(core, now);
            self.write::<C>(&Record::End(state));
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.step.is_empty() {
            self.hand_over();
        }
        self.waiting.close();
        if let Some(thread) = self.thread.take() {
            // It has said in the log what it could not write.
            let _ = thread.join();
        }
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}
