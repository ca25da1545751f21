//! A life is written down, and lived again: whole, cut short, damaged, and falsified.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::consensus::raft::{Message, Raft};
use crate::consensus::{
    Config, Configuration, Consensus, Effect, Entry, Input, Payload, Proposal, Saved, SnapshotMark,
};
use crate::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Term, Ticket};

type Recorded = Record<Input<Raft>, Raft>;

/// A core that is told things, and the record of it.
struct Told {
    core: Raft,
    now: Instant,
    records: Vec<Recorded>,
}

fn state(core: &Raft, now: Instant) -> State {
    State { digest: digest::of(core), now, unix: 1_000 + now.0.as_nanos() as u64 }
}

impl Told {
    /// One of `voters` members, which knows nobody else's mind.
    fn new(voters: u64) -> Told {
        let configuration =
            Configuration { voters: (1..=voters).map(NodeId).collect(), ..Default::default() };
        let saved = Saved {
            hard_state: Default::default(),
            snapshot: SnapshotMark { configuration, ..Default::default() },
            log_start: (LogIndex(0), Term(0)),
            configurations: Vec::new(),
            term_runs: Vec::new(),
            last_index: LogIndex(0),
        };
        let now = Instant::from_millis(1_000);
        let core = Raft::recover(now, Config::new(NodeId(1), 7), saved);
        let begin = Record::Checkpoint { state: state(&core, now), core: core.clone() };
        Told { core, now, records: vec![begin] }
    }

    /// Tells it something, and what answers what it wants done.
    fn tell(&mut self, input: Input<Raft>) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now = self.now + std::time::Duration::from_micros(100);
            self.records.push(Record::Step { now: self.now, input: input.clone() });
            let effects = self.core.step(self.now, input);
            self.records.push(Record::Effects { digest: digest::of(&effects) });
            for effect in effects {
                match effect {
                    Effect::Persist(persist) => {
                        inputs.push_back(Input::Persisted { seq: persist.seq });
                    }
                    Effect::Apply { entries, .. } => {
                        let last = entries.last().map(|entry| entry.index).unwrap_or_default();
                        inputs.push_back(Input::Applied { index: last });
                    }
                    _ => {}
                }
            }
        }
    }

    fn wait(&mut self) {
        self.now = self.core.next_deadline().unwrap().max(self.now);
        self.tell(Input::Elapsed);
    }

    fn put(&mut self, value: &str) {
        let command = Bytes::copy_from_slice(value.as_bytes());
        self.tell(Input::Propose(vec![Proposal { ticket: Ticket(1), command }]));
    }

    fn end(mut self) -> Vec<Recorded> {
        self.records.push(Record::End(state(&self.core, self.now)));
        self.records
    }

    /// The only member of its group: it leads, and commits what it is asked to.
    fn leader() -> Told {
        let mut told = Told::new(1);
        told.wait();
        assert_eq!(told.core.leader(), Some(NodeId(1)));
        told.put("first");
        told.records.push(Record::State(state(&told.core, told.now)));
        told.put("second");
        told.wait();
        told
    }
}

fn header() -> Header {
    let (cluster, node) = (ClusterId(9), NodeId(1));
    Header { cluster, node, build: "b".into(), core: CORE.into(), life: 5, first_step: 0 }
}

/// A file of one block a record.
fn file(records: &[Recorded]) -> Vec<u8> {
    let mut file = begin_file(&header());
    for record in records {
        let mut bytes = Vec::new();
        write_record(record, &mut bytes);
        file.extend_from_slice(&block(&bytes));
        file.extend_from_slice(&bytes);
    }
    file
}

fn read(file: &[u8]) -> Vec<Result<Recorded, Damage>> {
    Reader::<Raft>::open(file).unwrap().1.collect()
}

fn replayed(file: &[u8]) -> Replayed {
    replay(Reader::<Raft>::open(file).unwrap().1, &mut |_| {})
}

#[test]
fn a_life_is_lived_again_and_comes_to_the_same() {
    let told = Told::leader();
    let steps = told.records.iter().filter(|it| matches!(it, Record::Step { .. })).count();
    let end = state(&told.core, told.now);
    let file = file(&told.end());
    let mut seen = Vec::new();
    let replayed = replay(Reader::<Raft>::open(&file).unwrap().1, &mut |step| {
        seen.push((step.unix, step.core.checkpoint().commit_index));
    });
    assert_eq!(replayed.ending, Ending::Whole);
    assert_eq!((replayed.steps, replayed.states), (steps as u64, 3));
    assert_eq!(replayed.reached, Some(end));
    assert_eq!(seen.len(), steps);
    assert_eq!(seen.last().unwrap(), &(end.unix, LogIndex(3)));
    assert_eq!(replayed.span, Some((seen[0].0, end.unix)));
}

#[test]
fn one_value_that_was_changed_is_found_where_it_was() {
    let mut records = Told::leader().end();
    let forged = Bytes::from_static(b"forged");
    let mut steps = 0;
    for record in &mut records {
        let Record::Step { input, .. } = record else { continue };
        if let Input::Propose(proposals) = input
            && proposals[0].command == "second"
        {
            proposals[0].command = forged;
            break;
        }
        steps += 1;
    }
    let replayed = replayed(&file(&records));
    assert!(
        matches!(replayed.ending, Ending::Diverged(Divergence::Effects { .. })),
        "{replayed:?}"
    );
    assert_eq!(replayed.steps, steps);
}

#[test]
fn a_state_that_was_changed_is_found_before_any_step() {
    let mut records = Told::leader().end();
    let Record::Checkpoint { core, .. } = &mut records[0] else { panic!() };
    *core = Told::new(3).core;
    let replayed = replayed(&file(&records));
    assert!(matches!(replayed.ending, Ending::Diverged(Divergence::State { .. })), "{replayed:?}");
    assert_eq!((replayed.steps, replayed.reached), (0, None));
}

#[test]
fn the_step_that_ended_the_node_ends_the_replay() {
    let nobody_asked = Input::Persisted { seq: Seq(999) };
    let mut told = Told::leader();
    let step = Record::Step { now: told.now, input: nobody_asked };
    told.records.push(step);
    let Ending::Died { why } = replayed(&file(&told.records)).ending else { panic!() };
    assert!(why.contains("a write nobody asked for"), "{why}");
    // The same, if its node is said to have gone on; and a step that should have been its end.
    told.records.push(Record::Effects { digest: 0 });
    let ending = replayed(&file(&told.records)).ending;
    assert!(matches!(ending, Ending::Diverged(Divergence::Panicked { .. })), "{ending:?}");
    let mut told = Told::leader();
    told.records.pop();
    let ending = replayed(&file(&told.records)).ending;
    assert_eq!(ending, Ending::Diverged(Divergence::Survived));
}

#[test]
fn records_in_an_order_that_makes_no_sense_are_a_finding() {
    let records = Told::leader().end();
    let [begin, step, effects, ..] = &records[..] else { panic!() };
    for wrong in [
        vec![step],
        vec![begin, begin],
        vec![begin, effects],
        vec![begin, step, step],
        vec![begin, step, begin],
    ] {
        let wrong: Vec<_> = wrong.into_iter().cloned().collect();
        let ending = replayed(&file(&wrong)).ending;
        assert_eq!(ending, Ending::Diverged(Divergence::Nonsense));
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_replayed_as_far_as_it_goes() {
    let file = file(&Told::leader().end());
    let whole = replayed(&file);
    let (mut steps, begins) = (0, begin_file(&header()).len());
    for length in 0..file.len() {
        let cut = &file[..length];
        if length < begins {
            assert!(Reader::<Raft>::open(cut).is_err(), "{length}");
            continue;
        }
        let replayed = replayed(cut);
        assert!(replayed.steps >= steps && replayed.steps <= whole.steps, "{length}");
        steps = replayed.steps;
        let is_cut = matches!(
            replayed.ending,
            Ending::Open
                | Ending::Damaged(Damage::Torn { .. })
                // Here each record is a block of its own: a file may end between a step and its
                // effects. In a node's, it does not.
                | Ending::Diverged(Divergence::Survived)
        );
        assert!(is_cut, "{length}: {replayed:?}");
    }
}

#[test]
fn a_bit_that_flips_is_noticed() {
    let file = file(&Told::leader().end());
    for byte in 0..file.len() {
        let mut flipped = file.clone();
        flipped[byte] ^= 1 << (byte % 8);
        let Ok((_, records)) = Reader::<Raft>::open(&flipped) else { continue };
        let ending = replay(records, &mut |_| {}).ending;
        assert!(matches!(ending, Ending::Damaged(_)), "{byte}: {ending:?}");
    }
}

#[test]
fn another_format_and_another_core_are_refused() {
    let open = |file: &[u8]| Reader::<Raft>::open(file).map(drop).unwrap_err();
    assert_eq!(open(b"something else entirely"), Unreadable::NoRecord);
    let mut newer = begin_file(&header());
    newer[8] += 1;
    assert_eq!(open(&newer), Unreadable::Version(FORMAT + 1));
    let other = Header { core: "0123456789abcdef".into(), ..header() };
    let why = open(&begin_file(&other)).to_string();
    assert!(why.contains("another core: build b, core 0123456789abcdef"), "{why}");
}

/// Whatever a core may be told, valid or not.
fn input() -> impl Strategy<Value = Input<Raft>> {
    let small = 0..4_u64;
    let node = (1..4_u64).prop_map(NodeId);
    let entries = (1..4_u64, 0..3_usize, 1..4_u64).prop_map(|(from, count, term)| {
        let entry = |at| {
            let payload = Payload::Command(Bytes::from(vec![at as u8; 20]));
            Entry { term: Term(term), index: LogIndex(from + at), payload }
        };
        (0..count as u64).map(entry).collect::<Vec<_>>()
    });
    let append = (small.clone(), small.clone(), small.clone(), entries).prop_map(
        |(term, prev, commit, entries)| Message::AppendEntries {
            term: Term(term),
            prev_log_index: LogIndex(prev),
            prev_log_term: Term(prev.min(1)),
            entries,
            leader_commit: LogIndex(commit),
            round: commit,
        },
    );
    let vote = (small.clone(), small).prop_map(|(term, last)| Message::RequestVote {
        term: Term(term),
        last_log_index: LogIndex(last),
        last_log_term: Term(last.min(1)),
        transfer: false,
    });
    let granted = (1..4_u64, any::<bool>())
        .prop_map(|(term, granted)| Message::RequestVoteReply { term: Term(term), granted });
    let message = prop_oneof![append, vote, granted];
    prop_oneof![
        Just(Input::Elapsed),
        Just(Input::Campaign),
        (node, message).prop_map(|(from, message)| Input::Receive { from, message }),
        any::<u8>().prop_map(|byte| Input::Propose(vec![Proposal {
            ticket: Ticket(u64::from(byte)),
            command: Bytes::from(vec![byte; 9]),
        }])),
        any::<u64>().prop_map(|ticket| Input::Read { ticket: Ticket(ticket) }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same_and_lives_again(
        inputs in prop::collection::vec(input(), 1..40),
    ) {
        let mut told = Told::new(3);
        for input in inputs {
            match input {
                Input::Elapsed => told.wait(),
                input => told.tell(input),
            }
        }
        let records = told.end();
        let file = file(&records);
        let read: Result<Vec<_>, _> = read(&file).into_iter().collect();
        prop_assert_eq!(read, Ok(records));
        prop_assert_eq!(replayed(&file).ending, Ending::Whole);
    }

    #[test]
    fn strangers_bytes_are_no_record_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut file = begin_file(&header());
        file.extend_from_slice(&block(&bytes));
        file.extend_from_slice(&bytes);
        let _ = replayed(&file);
    }
}
