//! A snapshot's file, which another node sent or which lay on the disk: its bytes as they come, in
//! pieces of a length that the first byte says.

use bytes::Bytes;
use kvraft::consensus::{Configuration, SnapshotMark};
use kvraft::storage::snapshot_format::{
    Item, SnapshotDecoder, SnapshotEncoder, parse_snapshot_name,
};
use kvraft::types::{ClusterId, LogIndex, NodeId, Term};

const CLUSTER: ClusterId = ClusterId(7);

pub fn run(data: &[u8]) {
    let Some((pieces, bytes)) = data.split_first() else { return };
    if let Ok(name) = std::str::from_utf8(bytes) {
        let _ = parse_snapshot_name(name);
    }
    let whole = decode(bytes, bytes.len().max(1));
    let in_pieces = decode(bytes, usize::from(*pieces).max(1));
    assert_eq!(whole, in_pieces, "it does not matter in what pieces a snapshot comes");
}

/// Its mark and parts, if it is whole and undamaged.
fn decode(bytes: &[u8], pieces: usize) -> Option<(SnapshotMark, Vec<Bytes>)> {
    let mut decoder = SnapshotDecoder::new(CLUSTER);
    let (mut mark, mut parts) = (None, Vec::new());
    for piece in bytes.chunks(pieces) {
        decoder.push(piece);
        while let Some(item) = decoder.item().ok()? {
            match item {
                Item::Mark(it) => mark = Some(it),
                Item::Part(part) => parts.push(part),
            }
        }
    }
    decoder.finish().ok()?;
    Some((mark?, parts))
}

pub fn samples() -> Vec<Vec<u8>> {
    [0, 1, 3]
        .map(|parts| {
            let configuration = Configuration { voters: [NodeId(1)].into(), ..Default::default() };
            let mark = SnapshotMark { index: LogIndex(9), term: Term(2), configuration };
            let (mut encoder, begin) = SnapshotEncoder::begin(CLUSTER, &mark);
            let mut bytes = [&[16][..], &begin].concat();
            (0..parts).for_each(|_| bytes.extend_from_slice(&encoder.part(b"a part of the state")));
            bytes.extend_from_slice(&encoder.end());
            bytes
        })
        .into()
}
