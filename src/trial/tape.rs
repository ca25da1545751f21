//! The clock and the recorder of a trial, for all who take part in it.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use tokio::time::Instant;

use super::lives::{Lives, doubt};
use super::recorder::{Asked, Ended, Progress, Recorder, Recording};
use crate::control::unix_millis;
use crate::types::LeaseId;
use crate::verify::history::Event;

/// One clock, one history. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Tape {
    inner: Rc<Inner>,
}

struct Inner {
    began: Instant,
    began_unix_millis: u64,
    lanes: u64,
    /// The next process on each lane.
    processes: RefCell<Vec<u64>>,
    recorder: RefCell<Option<Recorder>>,
    lives: RefCell<Lives>,
}

/// A clock is upset while this is there.
pub struct Upset(Tape);

impl Drop for Upset {
    fn drop(&mut self) {
        self.0.inner.lives.borrow_mut().calm();
    }
}

impl Tape {
    /// Begins now. There are as many `lanes` as can do something at the same time; a process and
    /// those that come after it when it ended in doubt share one: `process % lanes`.
    pub fn start(lanes: u64, out: Option<Box<dyn Write>>) -> Tape {
        let inner = Inner {
            began: Instant::now(),
            began_unix_millis: unix_millis(),
            lanes: lanes.max(1),
            processes: RefCell::new((0..lanes.max(1)).collect()),
            recorder: RefCell::new(Some(Recorder::new(out))),
            lives: RefCell::default(),
        };
        Tape { inner: Rc::new(inner) }
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.inner.began.elapsed().as_nanos() as u64
    }

    /// Unix time of the beginning.
    pub fn began_unix_millis(&self) -> u64 {
        self.inner.began_unix_millis
    }

    pub fn lanes(&self) -> u64 {
        self.inner.lanes
    }

    /// A process that was not there before.
    pub fn process(&self, lane: u64) -> u64 {
        let mut processes = self.inner.processes.borrow_mut();
        let next = &mut processes[(lane % self.inner.lanes) as usize];
        let process = *next;
        *next += self.inner.lanes;
        process
    }

    /// To be said right before something is asked.
    pub fn invoke(&self, asked: &Asked) {
        if let Some(recorder) = &mut *self.inner.recorder.borrow_mut() {
            recorder.invoke(self.now(), asked);
        }
        let in_doubt = self.inner.lives.borrow_mut().invoke(self.now(), asked);
        in_doubt.into_iter().for_each(|lease| self.doubt(lease));
    }

    /// To be said right after the answer came.
    pub fn complete(&self, asked: &Asked, ended: &Ended) {
        if let Some(recorder) = &mut *self.inner.recorder.borrow_mut() {
            recorder.complete(self.now(), asked, ended);
        }
        self.inner.lives.borrow_mut().complete(self.now(), asked, ended);
    }

    /// To be said right before a clock is upset: see [`lives`](super::lives).
    pub fn upset(&self) -> Upset {
        let in_doubt = self.inner.lives.borrow_mut().upset(self.now());
        in_doubt.into_iter().for_each(|lease| self.doubt(lease));
        Upset(self.clone())
    }

    fn doubt(&self, lease: LeaseId) {
        // It never does anything else: whose lane it is on means nothing.
        for event in doubt(self.process(0), lease) {
            self.note(event);
        }
    }

    /// A line that is no operation of a client, with this moment as its time.
    pub fn note(&self, event: Event) {
        if let Some(recorder) = &mut *self.inner.recorder.borrow_mut() {
            recorder.note(&Event { time: Some(self.now()), ..event });
        }
    }

    /// Every key that was asked for.
    pub fn keys(&self) -> Vec<String> {
        let recorder = self.inner.recorder.borrow();
        recorder.iter().flat_map(|recorder| recorder.keys().iter().cloned()).collect()
    }

    pub fn progress(&self) -> Progress {
        let recorder = self.inner.recorder.borrow();
        recorder.as_ref().map(Recorder::progress).unwrap_or_default()
    }

    /// Why the history is not whole, if it is not: then nothing more is to be learned.
    pub fn trouble(&self) -> Option<String> {
        self.inner.recorder.borrow().as_ref()?.trouble().map(str::to_owned)
    }

    /// The history; nothing is taken after that. The error says why it is of no use.
    pub fn finish(&self) -> Result<Recording, String> {
        let recorder = self.inner.recorder.borrow_mut().take();
        recorder.map(Recorder::finish).ok_or_else(|| "the history was taken before".to_owned())
    }
}
