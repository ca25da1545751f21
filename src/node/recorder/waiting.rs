//! What waits to be written, and the thread that writes it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ring::Ring;
use crate::record::{Header, begin_file};

/// More than this waits for nobody. A whole file with its checkpoint fits.
const MAX_WAITING: usize = 64 << 20;

/// So much is worth a write at once.
const WORTH: usize = 1 << 20;

/// Between two writes, unless there is [`WORTH`]: what a SIGKILL loses at most.
const PAUSE: Duration = Duration::from_millis(200);

/// Between the node's thread and the one that writes.
#[derive(Debug, Default)]
pub struct Waiting {
    queue: Mutex<Queue>,
    /// There is a lot, or it is the end.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Part>,
    bytes: usize,
    /// What was written, to be filled again: fresh memory would cost more than what goes into it.
    spare: Vec<u8>,
    /// The last write failed: nothing is taken for a while.
    failed: bool,
    closed: bool,
    /// A file has its beginning: that is worth a write at once, for whoever asks soon.
    begun: bool,
}

/// What the thread has to do.
#[derive(Debug)]
enum Part {
    /// Begin a file with these bytes.
    Begin(Vec<u8>),
    /// Write these records, as a block.
    Records(Vec<u8>),
}

impl Waiting {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Whoever panicked with it in hand left it whole: nothing panics between two parts.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes next is a new file's. False if nothing can be taken now.
    pub fn begin(&self, header: &Header) -> bool {
        let mut queue = self.queue();
        // With some room for what follows, or it would be over at once.
        if queue.failed || queue.bytes > MAX_WAITING / 2 {
            return false;
        }
        queue.parts.push_back(Part::Begin(begin_file(header)));
        true
    }

    /// Whole records of the current file. False if they cannot be taken: it goes on no further.
    pub fn push(&self, records: &[u8]) -> bool {
        let mut queue = self.queue();
        if queue.failed || queue.bytes + records.len() > MAX_WAITING {
            return false;
        }
        let before = queue.bytes;
        queue.bytes += records.len();
        match queue.parts.back_mut() {
            Some(Part::Records(waiting)) => waiting.extend_from_slice(records),
            last => {
                let begins = matches!(last, Some(Part::Begin(_)));
                queue.begun |= begins;
                let mut waiting = std::mem::take(&mut queue.spare);
                waiting.extend_from_slice(records);
                queue.parts.push_back(Part::Records(waiting));
            }
        }
        let is_worth = queue.begun || (before < WORTH && queue.bytes >= WORTH);
        drop(queue);
        if is_worth {
            self.bell.notify_one();
        }
        true
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        self.queue().closed = true;
        self.bell.notify_one();
    }

    /// Waits a little, or for a lot; `None` at the end.
    fn take(&self) -> Option<VecDeque<Part>> {
        let few = |queue: &mut Queue| queue.bytes < WORTH && !queue.closed && !queue.begun;
        loop {
            let waited = self.bell.wait_timeout_while(self.queue(), PAUSE, few);
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.bytes = 0;
            queue.begun = false;
            let parts = std::mem::take(&mut queue.parts);
            match (parts.is_empty(), queue.closed) {
                (false, _) => return Some(parts),
                (true, true) => return None,
                (true, false) => {}
            }
        }
    }

    /// What was written is memory again.
    fn give_back(&self, mut written: Vec<u8>) {
        if written.capacity() <= 2 * WORTH {
            written.clear();
            self.queue().spare = written;
        }
    }

    /// Lets what waits go, takes nothing for a while, and then again.
    fn fail(&self, retry: Duration) {
        let mut queue = self.queue();
        queue.failed = true;
        queue.parts.clear();
        queue.bytes = 0;
        let waited = self.bell.wait_timeout_while(queue, retry, |queue| !queue.closed);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.failed = false;
    }
}

/// Writes what waits into `ring`, until nothing comes any more; what fails is tried again after
/// `retry`.
pub fn write(waiting: &Waiting, mut ring: Ring, retry: Duration) {
    let mut failed = false;
    while let Some(parts) = waiting.take() {
        let mut write = |part| match part {
            Part::Begin(header) => ring.begin(&header),
            Part::Records(records) => {
                ring.write(&records)?;
                waiting.give_back(records);
                Ok(())
            }
        };
        match parts.into_iter().try_for_each(&mut write) {
            Ok(()) if failed => {
                failed = false;
                tracing::info!("the record goes on; what is missing is said in its new file");
            }
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    tracing::warn!(
                        "the record stops: cannot write {}: {error}; trying again every {retry:?}",
                        ring.directory().display()
                    );
                }
                failed = true;
                ring.give_up();
                waiting.fail(retry);
            }
        }
    }
}
