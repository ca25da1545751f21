//! A disk in memory, for tests: deterministic, and as treacherous as a real one.
//!
//! It keeps every file twice: as it *reads* now, and as it would be *after the power failed*. A
//! write changes the first; a sync of the file carries the writes since the last sync over to the
//! second; names (created, renamed, deleted) are carried over by a sync of the directory.
//! [`MemoryDisk::crash`] then forgets the first, wholly ([`Crash::LoseUnsynced`]) or in parts drawn
//! from a seed ([`Crash::KeepSome`]): any sectors of any write since the last sync may have reached
//! the disk, in any combination, as a drive with a cache may do it.
//!
//! A `MemoryDisk` is a handle: the log owns one, the test keeps another ([`MemoryDisk::handle`])
//! and cuts the power, fills the disk, flips bits or lets syncs fail behind the log's back. A copy
//! of the whole content is cheap ([`MemoryDisk::fork`]): pages are shared until one side writes.
//!
//! Operations are performed when they are submitted, or, in step mode, one at a time when the test
//! says so. [`MemoryDisk::power_off_after`] lets only so many more *steps* happen (the write and
//! the sync of one operation are two), so that a test can crash at every one of them in turn.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use crate::types::Random;

mod content;

use content::Content;

use super::disk::{
    Completion, Disk, DiskError, DiskErrorKind, FileName, Operation, OperationId, Outcome, Times,
};

/// What a drive writes wholly or not at all.
const SECTOR: usize = 512;

/// What a crash forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: the process died, and the machine did not.
    LoseNothing,
    /// Everything that was not synced.
    LoseUnsynced,
    /// An arbitrary part of it, drawn from the seed.
    KeepSome(u64),
}

/// Handle to a disk in memory; see the [module](self).
pub struct MemoryDisk(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, File>,
    /// The directory as it reads now.
    names: BTreeMap<FileName, u64>,
    /// The directory as of its last sync.
    durable_names: BTreeMap<FileName, u64>,
    /// What the directory was after each change since then, oldest first.
    name_history: Vec<BTreeMap<FileName, u64>>,
    next_file: u64,
    next_id: u64,
    queue: VecDeque<(OperationId, Operation)>,
    completions: VecDeque<Completion>,
    stepped: bool,
    steps: u64,
    power_off_at: Option<u64>,
    capacity: Option<u64>,
    writes_full: bool,
    fail_syncs: bool,
    ignore_syncs: bool,
    /// Counts down to the one sync that fails, and the one request for space that is refused.
    fail_one_sync: Option<u64>,
    refuse_one: Option<u64>,
}

/// Whether this is the one that `countdown` was waiting for.
fn is_the_one(countdown: &mut Option<u64>) -> bool {
    let left = countdown.take();
    *countdown = left.and_then(|left| left.checked_sub(1));
    left == Some(0)
}

#[derive(Clone, Default)]
struct File {
    now: Content,
    durable: Content,
    /// Writes since the last sync, oldest first.
    unsynced: Vec<(u64, Bytes)>,
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::new()
    }
}

impl MemoryDisk {
    /// An empty disk without bounds.
    pub fn new() -> MemoryDisk {
        MemoryDisk(Rc::default())
    }

    /// Another handle to the same disk.
    pub fn handle(&self) -> MemoryDisk {
        MemoryDisk(Rc::clone(&self.0))
    }

    /// A disk of its own with the same content, queue and settings.
    pub fn fork(&self) -> MemoryDisk {
        MemoryDisk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// In step mode, operations wait for [`step`](Self::step).
    pub fn set_stepped(&self, stepped: bool) {
        self.0.borrow_mut().stepped = stepped;
    }

    /// Performs the oldest operation that waits; false if none does.
    pub fn step(&self) -> bool {
        self.0.borrow_mut().perform_next()
    }

    /// Operations that wait to be performed.
    pub fn waiting(&self) -> usize {
        self.0.borrow().queue.len()
    }

    /// Bytes that all files together take.
    pub fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    /// Whether there are completions to collect: a real disk would have called its waker.
    pub fn has_completions(&self) -> bool {
        !self.0.borrow().completions.is_empty()
    }

    /// After `steps` more steps nothing happens any more: operations queue up and never complete,
    /// and [`Disk::execute`] fails. [`crash`](Self::crash) ends this.
    pub fn power_off_after(&self, steps: u64) {
        let mut state = self.0.borrow_mut();
        state.power_off_at = Some(state.steps + steps);
    }

    /// Steps performed so far: one for each change to the disk.
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// Files together may not be larger than this.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.borrow_mut().capacity = bytes;
    }

    /// Refuses even writes to allocated space, as file systems that copy on write may.
    pub fn set_writes_full(&self, full: bool) {
        self.0.borrow_mut().writes_full = full;
    }

    /// Lets every sync fail from now on. What it should have made durable is lost for good, even
    /// if later syncs succeed.
    pub fn set_fail_syncs(&self, fail: bool) {
        self.0.borrow_mut().fail_syncs = fail;
    }

    /// Lets one sync fail, after `syncs` more that succeed; those behind it succeed again.
    pub fn fail_one_sync_after(&self, syncs: u64) {
        self.0.borrow_mut().fail_one_sync = Some(syncs);
    }

    /// Refuses one request for space, after `requests` more that are granted.
    pub fn refuse_space_once_after(&self, requests: u64) {
        self.0.borrow_mut().refuse_one = Some(requests);
    }

    /// Whether the one failure asked for is still to come.
    pub fn failure_is_due(&self) -> bool {
        let state = self.0.borrow();
        state.fail_one_sync.is_some() || state.refuse_one.is_some()
    }

    /// Syncs succeed and do nothing: a lying drive, or a program that forgot to sync. For tests
    /// that show that a missing sync is found.
    pub fn set_ignore_syncs(&self, ignore: bool) {
        self.0.borrow_mut().ignore_syncs = ignore;
    }

    /// Inverts one bit of a file, durably. False if the file has no such byte.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u32) -> bool {
        let byte = self.files().get(file).and_then(|bytes| bytes.get(offset as usize).copied());
        byte.is_some_and(|byte| self.overwrite(file, offset, &[byte ^ (1 << (bit % 8))]))
    }

    /// Replaces bytes of a file, durably and past the log. False if there is no such file.
    pub fn overwrite(&self, file: &str, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.0.borrow_mut();
        let id = state.names.get(file).copied();
        let Some(file) = id.and_then(|id| state.files.get_mut(&id)) else { return false };
        file.now.write(offset, bytes);
        file.durable.write(offset, bytes);
        true
    }

    /// Gives a file another name, durably.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(id) = state.names.remove(from) else { return false };
        state.names.insert(to.to_owned(), id);
        state.durable_names = state.names.clone();
        true
    }

    /// Removes a file, durably.
    pub fn remove(&self, file: &str) {
        let mut state = self.0.borrow_mut();
        state.names.remove(file);
        state.durable_names.remove(file);
    }

    /// The names of the files, and what they hold now.
    pub fn files(&self) -> BTreeMap<FileName, Vec<u8>> {
        let state = self.0.borrow();
        let content = |id| state.files.get(id).map(|file| &file.now);
        let names = state.names.iter();
        names
            .filter_map(|(name, id)| {
                content(id).map(|c| (name.clone(), c.read(0, c.length as usize)))
            })
            .collect()
    }

    /// The power fails: what was not synced is forgotten, operations under way never complete. The
    /// disk works again afterwards; its faults stay as set, but for
    /// [`power_off_after`](Self::power_off_after).
    pub fn crash(&self, crash: Crash) {
        let state = &mut *self.0.borrow_mut();
        state.queue.clear();
        state.completions.clear();
        state.power_off_at = None;
        if crash == Crash::LoseNothing {
            return;
        }
        if let Crash::KeepSome(seed) = crash {
            let mut random = Random::from_seed(seed);
            // File systems keep the order of changes to a directory: some number of them survive.
            let kept = random.below(state.name_history.len() as u64 + 1) as usize;
            if let Some(names) = kept.checked_sub(1).and_then(|i| state.name_history.get(i)) {
                state.durable_names = names.clone();
            }
            for file in state.files.values_mut() {
                file.keep_some(&mut random);
            }
        }
        state.names = state.durable_names.clone();
        state.name_history.clear();
        let names = &state.names;
        state.files.retain(|id, _| names.values().any(|named| named == id));
        for file in state.files.values_mut() {
            file.unsynced.clear();
            file.now = file.durable.clone();
        }
    }
}

impl File {
    fn sync(&mut self) {
        for (offset, bytes) in self.unsynced.drain(..) {
            self.durable.write(offset, &bytes);
        }
        self.durable.length = self.durable.length.max(self.now.length);
    }

    /// Lets some sectors of some unsynced writes reach the disk.
    fn keep_some(&mut self, random: &mut Random) {
        if self.unsynced.is_empty() && self.durable.length == self.now.length {
            return;
        }
        if random.chance(0.5) {
            self.durable.length = self.now.length;
        }
        let length = self.durable.length;
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            let share = [0.0, 0.5, 0.9, 1.0][random.below(4) as usize];
            let mut at = offset;
            let end = (offset + bytes.len() as u64).min(length);
            while at < end {
                let next = ((at / SECTOR as u64 + 1) * SECTOR as u64).min(end);
                if random.chance(share) {
                    let part = (at - offset) as usize..(next - offset) as usize;
                    self.durable.write(at, &bytes[part]);
                }
                at = next;
            }
        }
    }
}

impl State {
    fn perform_next(&mut self) -> bool {
        if self.is_off() {
            return false;
        }
        let Some((id, operation)) = self.queue.pop_front() else { return false };
        let result = self.perform(&operation);
        // Without power, there is nobody to hear of it.
        if !self.is_off() {
            self.completions.push_back(Completion { id, result, times: Times::default() });
        }
        true
    }

    fn is_off(&self) -> bool {
        self.power_off_at.is_some_and(|at| self.steps >= at)
    }

    /// Counts a step; fails if the power is off.
    fn begin_step(&mut self) -> Result<(), Failure> {
        if self.is_off() {
            return Err((DiskErrorKind::Other, "the power is off"));
        }
        self.steps += 1;
        Ok(())
    }

    fn perform(&mut self, operation: &Operation) -> Result<Outcome, DiskError> {
        self.try_perform(operation).map_err(|(kind, reason)| DiskError {
            kind,
            action: operation.action(),
            file: operation.file().unwrap_or("the directory").to_owned(),
            reason: reason.to_owned(),
        })
    }

    fn try_perform(&mut self, operation: &Operation) -> Result<Outcome, Failure> {
        match operation {
            Operation::List => {
                let length = |id| self.files.get(id).map_or(0, |file| file.now.length);
                let files = self.names.iter().map(|(name, id)| (name.clone(), length(id)));
                return Ok(Outcome::Files(files.collect()));
            }
            Operation::Read { file, offset, length } => {
                let bytes = self.file(file)?.now.read(*offset, *length);
                return Ok(Outcome::Bytes(bytes.into()));
            }
            Operation::FindData { file, offset } => {
                return Ok(Outcome::Offset(self.file(file)?.now.find_data(*offset)));
            }
            Operation::Create { file, size } => self.create(file, *size)?,
            Operation::Allocate { file, size } => {
                self.begin_step()?;
                let length = self.file(file)?.now.length;
                self.reserve(size.saturating_sub(length))?;
                self.file(file)?.now.length = length.max(*size);
            }
            Operation::Write { file, offset, bytes, sync } => {
                self.begin_step()?;
                self.write(file, *offset, bytes)?;
                if *sync {
                    self.sync(file)?;
                }
            }
            Operation::Sync { file } => self.sync(file)?,
            Operation::SyncDirectory => {
                self.begin_step()?;
                if is_the_one(&mut self.fail_one_sync) || self.fail_syncs {
                    return Err(SYNC_FAILED);
                }
                if !self.ignore_syncs {
                    self.durable_names = self.names.clone();
                    self.name_history.clear();
                }
            }
            Operation::Rename { from, to } => {
                self.begin_step()?;
                let id = self.names.remove(from).ok_or(NOT_FOUND)?;
                self.names.insert(to.clone(), id);
                self.name_history.push(self.names.clone());
            }
            Operation::Delete { file } => {
                self.begin_step()?;
                self.names.remove(file).ok_or(NOT_FOUND)?;
                self.name_history.push(self.names.clone());
            }
        }
        Ok(Outcome::Done)
    }

    fn file(&mut self, name: &str) -> Result<&mut File, Failure> {
        let id = self.names.get(name).ok_or(NOT_FOUND)?;
        self.files.get_mut(id).ok_or(NOT_FOUND)
    }

    fn create(&mut self, name: &str, size: u64) -> Result<(), Failure> {
        self.begin_step()?;
        if self.names.contains_key(name) {
            return Err((DiskErrorKind::Exists, "the file exists"));
        }
        self.reserve(size)?;
        let id = self.next_file;
        self.next_file += 1;
        let mut now = Content::default();
        now.length = size;
        self.files.insert(id, File { now, ..File::default() });
        self.names.insert(name.to_owned(), id);
        self.name_history.push(self.names.clone());
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|f| f.now.length).sum()
    }

    /// Refuses if `more` bytes do not fit.
    fn reserve(&mut self, more: u64) -> Result<(), Failure> {
        if more > 0 && is_the_one(&mut self.refuse_one) {
            return Err(NO_SPACE);
        }
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(NO_SPACE),
            _ => Ok(()),
        }
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &Bytes) -> Result<(), Failure> {
        if self.writes_full {
            return Err(NO_SPACE);
        }
        let end = offset + bytes.len() as u64;
        let length = self.file(name)?.now.length;
        self.reserve(end.saturating_sub(length))?;
        let file = self.file(name)?;
        file.now.write(offset, bytes);
        file.unsynced.push((offset, bytes.clone()));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), Failure> {
        self.begin_step()?;
        let fail = is_the_one(&mut self.fail_one_sync) || self.fail_syncs;
        let ignore = self.ignore_syncs;
        let file = self.file(name)?;
        if fail {
            // The kernel takes the pages for clean from now on: no later sync writes them.
            file.unsynced.clear();
            return Err(SYNC_FAILED);
        }
        if !ignore {
            file.sync();
        }
        Ok(())
    }
}

type Failure = (DiskErrorKind, &'static str);
const NOT_FOUND: Failure = (DiskErrorKind::NotFound, "there is no such file");
const NO_SPACE: Failure = (DiskErrorKind::NoSpace, "no space left on device");
const SYNC_FAILED: Failure = (DiskErrorKind::SyncFailed, "input/output error");

impl Disk for MemoryDisk {
    fn submit(&mut self, operation: Operation) -> OperationId {
        let mut state = self.0.borrow_mut();
        let id = OperationId(state.next_id);
        state.next_id += 1;
        state.queue.push_back((id, operation));
        if !state.stepped {
            while state.perform_next() {}
        }
        id
    }

    fn complete(&mut self) -> Option<Completion> {
        self.0.borrow_mut().completions.pop_front()
    }

    fn execute(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        let mut state = self.0.borrow_mut();
        while state.perform_next() {}
        state.perform(&operation)
    }
}
