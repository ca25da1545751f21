//! What waits to be written, and the thread that writes it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ring::Ring;
use crate::record::{Header, begin_file};

/// More than this waits for nobody. A whole file with its checkpoint fits.
const MAX_WAITING: usize = 64 << 20;

/// So much is worth a write at once.
const WORTH: usize = 1 << 20;

/// Between two writes, unless there is [`WORTH`].
const PAUSE: Duration = Duration::from_millis(50);

/// Between the node's thread and the one that writes.
#[derive(Debug, Default)]
pub struct Waiting {
    queue: Mutex<Queue>,
    /// Something is new: the first bytes, a lot of them, or the end.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Part>,
    bytes: usize,
    /// The last write failed: nothing is taken for a while.
    failed: bool,
    closed: bool,
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
            _ => queue.parts.push_back(Part::Records(records.to_vec())),
        }
        let is_news = before == 0 || (before < WORTH && queue.bytes >= WORTH);
        drop(queue);
        if is_news {
            self.bell.notify_one();
        }
        true
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        self.queue().closed = true;
        self.bell.notify_one();
    }

    /// Waits for something to write, and then for more, a little; `None` at the end.
    fn take(&self) -> Option<VecDeque<Part>> {
        let idle = |queue: &mut Queue| queue.bytes == 0 && !queue.closed;
        let few = |queue: &mut Queue| queue.bytes < WORTH && !queue.closed;
        let queue = self.bell.wait_while(self.queue(), idle);
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(queue, PAUSE, few);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.bytes = 0;
        let parts = std::mem::take(&mut queue.parts);
        (!parts.is_empty()).then_some(parts)
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
        match parts.into_iter().try_for_each(|part| write_part(&mut ring, &part)) {
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

fn write_part(ring: &mut Ring, part: &Part) -> io::Result<()> {
    match part {
        Part::Begin(header) => ring.begin(header),
        Part::Records(records) => ring.write(records),
    }
}
