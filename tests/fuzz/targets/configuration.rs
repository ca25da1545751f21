//! A configuration out of a log entry or a snapshot's head.

use kvraft::codec::{decode_configuration, encode_configuration};
use kvraft::consensus::Configuration;
use kvraft::types::NodeId;

pub fn run(data: &[u8]) {
    if let Ok(first) = decode_configuration(data) {
        assert_eq!(decode_configuration(&encode_configuration(&first)), Ok(first));
    }
}

pub fn samples() -> Vec<Vec<u8>> {
    let configuration = |voters: u64, outgoing: u64, learners: u64| Configuration {
        voters: (1..=voters).map(NodeId).collect(),
        outgoing: (1..=outgoing).map(NodeId).collect(),
        learners: (1..=learners).map(|id| NodeId(100 + id)).collect(),
        addresses: (1..=voters).map(|id| (NodeId(id), format!("tcp:127.0.0.1:{id}"))).collect(),
    };
    [(0, 0, 0), (1, 0, 0), (5, 3, 1)]
        .map(|(voters, outgoing, learners)| {
            encode_configuration(&configuration(voters, outgoing, learners)).to_vec()
        })
        .into()
}
