//! A recorder at work: its ring, its end, and a disk that fails.

use std::fs;
use std::path::Path;
use std::time::Instant as Clock;

use bytes::Bytes;

use super::*;
use crate::consensus::raft::Raft;
use crate::consensus::{Config, Configuration, Proposal, Saved, SnapshotMark};
use crate::record::{Ending, Reader, Replayed, replay};
use crate::replica::Recorder as _;
use crate::types::Ticket;

/// The only member of a group, and who records it.
struct Alone {
    core: Raft,
    now: Instant,
    recorder: Option<Recorder>,
}

impl Alone {
    fn recorded_in(directory: &Path) -> Alone {
        let configuration =
            Configuration { voters: [NodeId(1)].into(), ..Configuration::default() };
        let saved = Saved {
            hard_state: Default::default(),
            snapshot: SnapshotMark { configuration, ..Default::default() },
            log_start: Default::default(),
            configurations: Vec::new(),
            term_runs: Vec::new(),
            last_index: Default::default(),
        };
        let now = Instant::from_millis(1_000);
        let config = Config { cache_bytes: 1 << 10, ..Config::new(NodeId(1), 7) };
        let core = Raft::recover(now, config, saved);
        let options = Options {
            file_bytes: 4 << 10,
            ring_bytes: 32 << 10,
            retry: Duration::from_millis(1),
            ..Options::new(directory.to_owned(), ClusterId(9), NodeId(1))
        };
        let recorder = Recorder::start(&options).unwrap();
        let mut alone = Alone { core, now, recorder: Some(recorder) };
        alone.now = alone.core.next_deadline().unwrap();
        alone.tell(Input::Elapsed);
        alone
    }

    fn tell(&mut self, input: Input<Raft>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.now = self.now + Duration::from_millis(1);
            let recorder = self.recorder.as_mut().unwrap();
            recorder.before(&self.core, self.now, &input);
            let effects = self.core.step(self.now, input);
            recorder.after(&effects);
            for effect in effects {
                match effect {
                    Effect::Persist(persist) => inputs.push(Input::Persisted { seq: persist.seq }),
                    Effect::Apply { entries, .. } => {
                        let index = entries.last().unwrap().index;
                        inputs.push(Input::Applied { index });
                    }
                    _ => {}
                }
            }
        }
    }

    fn put(&mut self) {
        let command = Bytes::from(vec![b'x'; 100]);
        self.tell(Input::Propose(vec![Proposal { ticket: Ticket(1), command }]));
    }

    fn end(mut self) {
        let mut recorder = self.recorder.take().unwrap();
        recorder.end(&self.core, self.now);
    }
}

fn replayed(directory: &Path) -> Vec<(Header, Replayed)> {
    let replay = |(_, path): (u64, PathBuf)| {
        let file = fs::read(path).unwrap();
        let (header, reader) = Reader::<Raft>::open(&file).unwrap();
        (header, replay(reader, &mut |_| {}))
    };
    ring::files(directory).unwrap().into_iter().map(replay).collect()
}

#[test]
fn the_oldest_files_go_and_each_that_is_left_can_be_replayed() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("record");
    let mut alone = Alone::recorded_in(&directory);
    for _ in 0..1_000 {
        alone.put();
    }
    let steps = alone.recorder.as_ref().unwrap().steps;
    alone.end();
    let files = ring::files(&directory).unwrap();
    assert!(files.len() > 3 && files[0].0 > 1, "{files:?}");
    let bytes: u64 = files.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert!(bytes < 40 << 10, "{bytes}");
    let replayed = replayed(&directory);
    assert!(replayed.iter().all(|(_, it)| it.ending == Ending::Whole), "{replayed:?}");
    for pair in replayed.windows(2) {
        let [(before, left), (next, _)] = pair else { unreachable!() };
        assert_eq!(next.first_step, before.first_step + left.steps);
        assert_eq!(next.life, before.life);
    }
    let (last, left) = replayed.last().unwrap();
    assert_eq!(last.first_step + left.steps, steps);
}

#[test]
fn a_core_that_ends_its_node_is_recorded_up_to_that_step() {
    let place = tempfile::tempdir().unwrap();
    let mut alone = Alone::recorded_in(place.path());
    alone.put();
    let impossible = Input::Persisted { seq: crate::types::Seq(999) };
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        alone.tell(impossible);
    }));
    assert!(ended.is_err());
    let [(_, replayed)] = &replayed(place.path())[..] else { panic!() };
    assert!(matches!(&replayed.ending, Ending::Died { .. }), "{replayed:?}");
}

/// What cannot be written is lost; what comes after is recorded again, and says what is missing.
#[test]
fn a_disk_that_fails_leaves_a_gap_of_known_length() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("record");
    // No directory can be made where there is a file.
    fs::write(&directory, "").unwrap();
    let mut alone = Alone::recorded_in(&directory);
    let deadline = Clock::now() + Duration::from_secs(30);
    let mut steps_before = 0;
    while Clock::now() < deadline && !directory.is_dir() {
        alone.put();
        if alone.recorder.as_ref().is_some_and(|it| it.file.is_none()) && steps_before == 0 {
            fs::remove_file(&directory).unwrap();
            steps_before = alone.recorder.as_ref().unwrap().steps;
        }
        std::thread::yield_now();
    }
    alone.put();
    let steps = alone.recorder.as_ref().unwrap().steps;
    alone.end();
    let replayed = replayed(&directory);
    let (first, _) = &replayed[0];
    assert!(first.first_step >= steps_before && steps_before > 0, "{first:?} {steps_before}");
    let (last, left) = replayed.last().unwrap();
    assert_eq!(left.ending, Ending::Whole);
    assert_eq!(last.first_step + left.steps, steps);
}
