//! The records of a core's life, which lay on the disk: as one block whose checksum fits, or
//! nothing behind it would ever be reached. Panics of the core itself are a replay's findings.

use kvraft::consensus::raft::Raft;
use kvraft::consensus::{Config, Configuration, Consensus, Input, Saved, SnapshotMark};
use kvraft::record::{
    CORE, Header, Reader, Record, State, begin_file, block, digest, replay, write_record,
};
use kvraft::types::{ClusterId, Instant, LogIndex, NodeId, Term};

fn header() -> Header {
    let (cluster, node) = (ClusterId(7), NodeId(1));
    Header { cluster, node, build: String::new(), core: CORE.into(), life: 1, first_step: 0 }
}

pub fn run(data: &[u8]) {
    // As a whole file, and as what stands in one.
    if let Ok((_, reader)) = Reader::<Raft>::open(data) {
        replay(reader, &mut |_| {});
    }
    let records = read(data);
    let mut again = Vec::new();
    records.iter().for_each(|record| write_record(record, &mut again));
    assert_eq!(read(&again), records, "what can be read can be written, and read again");
    let file = file(data);
    let (_, reader) = Reader::<Raft>::open(&file).expect("its beginning is ours");
    replay(reader, &mut |_| {});
}

fn file(block_of: &[u8]) -> Vec<u8> {
    [&begin_file(&header())[..], &block(block_of), block_of].concat()
}

/// The records in a block, up to what is none.
fn read(bytes: &[u8]) -> Vec<Record<Input<Raft>, Raft>> {
    let file = file(bytes);
    let (read, reader) = Reader::<Raft>::open(&file).expect("its beginning is ours");
    assert_eq!(read, header());
    reader.map_while(Result::ok).collect()
}

/// A member that stands for election in vain.
pub fn samples() -> Vec<Vec<u8>> {
    let voters = [1, 2, 3].map(NodeId).into();
    let configuration = Configuration { voters, ..Default::default() };
    let saved = Saved {
        hard_state: Default::default(),
        snapshot: SnapshotMark { configuration, ..Default::default() },
        log_start: (LogIndex(0), Term(0)),
        configurations: Vec::new(),
        term_runs: Vec::new(),
        last_index: LogIndex(0),
    };
    let mut now = Instant::from_millis(1_000);
    let mut core = Raft::recover(now, Config::new(NodeId(1), 7), saved);
    let state = |core: &Raft, now| State { digest: digest::of(core), now, unix: 0 };
    let mut bytes = Vec::new();
    write_record::<Input<Raft>, _>(
        &Record::Checkpoint { state: state(&core, now), core: core.clone() },
        &mut bytes,
    );
    for input in [Input::Elapsed, Input::Campaign, Input::Propose(Vec::new())] {
        now = core.next_deadline().unwrap_or(now).max(now);
        write_record::<_, Raft>(&Record::Step { now, input: input.clone() }, &mut bytes);
        let effects = core.step(now, input);
        let digest = digest::of(&effects);
        write_record::<Input<Raft>, Raft>(&Record::Effects { digest }, &mut bytes);
    }
    write_record::<Input<Raft>, Raft>(&Record::End(state(&core, now)), &mut bytes);
    vec![bytes]
}
