//! A disk in trouble, on purpose.
//!
//! Whoever opened the disk keeps its [`Ailment`] and sets what is wrong; the disk's thread asks
//! before each operation. As long as nothing is wrong that costs one load of a flag.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::disk::Operation;
use super::super::trouble::Trouble;
use crate::types::Random;

/// What is wrong with a disk; all clones speak of the same.
#[derive(Clone, Debug, Default)]
pub struct Ailment(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    any: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    /// The one sync that was to fail has failed.
    sync_failed: bool,
    stopping: bool,
}

impl Ailment {
    /// From now on this is wrong, and nothing else. An operation that is being held up goes on
    /// when it would have under `trouble`.
    pub fn set(&self, trouble: Trouble) {
        let mut state = self.state();
        state.sync_failed &= trouble.sync_error;
        self.0.any.store(!trouble.is_empty(), Ordering::Release);
        state.trouble = trouble;
        self.0.changed.notify_all();
    }

    /// Nobody waits for the disk any more: nothing is held up.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.0.changed.notify_all();
    }

    /// Its value is whole after every step: whoever panicked while holding it broke nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// Holds whoever calls up for as long as an operation must wait.
    pub(super) fn wait(&self, random: &mut Random) {
        if !self.is_any() {
            return;
        }
        let (begin, lot) = (Instant::now(), share(random));
        let mut state = self.state();
        loop {
            let left = delay(&state.trouble, lot).saturating_sub(begin.elapsed());
            if left.is_zero() || state.stopping {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether `operation` fails.
    pub(super) fn fails(&self, operation: &Operation, random: &mut Random) -> io::Result<()> {
        if !self.is_any() {
            return Ok(());
        }
        let state = self.state();
        let trouble = &state.trouble;
        let fails = |wanted: f64, random: &mut Random| match share(random) < wanted {
            true => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
            false => Ok(()),
        };
        match operation {
            Operation::Create { .. } | Operation::Allocate { .. } | Operation::Write { .. }
                if trouble.full =>
            {
                Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
            }
            Operation::Write { .. } => fails(trouble.write_errors, random),
            Operation::Read { .. } => fails(trouble.read_errors, random),
            _ => Ok(()),
        }
    }

    /// Whether the sync that comes now is the one that fails.
    pub(super) fn fails_sync(&self) -> bool {
        if !self.is_any() {
            return false;
        }
        let mut state = self.state();
        let fails = state.trouble.sync_error && !state.sync_failed;
        state.sync_failed |= fails;
        fails
    }

    /// Whether writes are held back until they are synced; and whether half of each is not.
    pub(super) fn holds_back(&self) -> (bool, bool) {
        if !self.is_any() {
            return (false, false);
        }
        let state = self.state();
        let Trouble { lose_unsynced, torn, sync_error, .. } = state.trouble;
        // A sync that fails loses what it should have saved.
        (lose_unsynced || torn || sync_error && !state.sync_failed, torn)
    }
}

/// Evenly from 0 to 1.
fn share(random: &mut Random) -> f64 {
    random.bits() as f64 / u64::MAX as f64
}

/// How long an operation is held up whose lot this is, from 0 to 1.
fn delay(trouble: &Trouble, lot: f64) -> Duration {
    let (delay, jitter) = (trouble.delay_millis as f64, trouble.jitter_millis as f64);
    Duration::from_secs_f64((delay + (2.0 * lot - 1.0) * jitter).max(0.0) / 1e3)
}
