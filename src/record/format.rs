//! What a file is made of; see the [module](super).

use serde::{Deserialize, Serialize};

use crate::types::{ClusterId, Instant, NodeId};

/// How every file begins.
pub(super) const MAGIC: [u8; 8] = *b"kvrafrec";

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The core that this program was built with: a digest of its source. A record is replayed by the
/// core that lived it, and by no other.
pub const CORE: &str = env!("KVRAFT_CORE");

/// No file is larger: a file of the ring ends at some megabytes beyond its checkpoint, and that is
/// bounded by the core's caches.
pub const MAX_FILE: u64 = 256 << 20;

/// Length and checksum, before each block.
pub(super) const BLOCK_HEAD: usize = 8;

/// Whose life it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The node's program, for people.
    pub build: String,
    /// Its [`CORE`].
    pub core: String,
    /// Which life of the node: when it began, in nanoseconds of Unix time.
    pub life: u64,
    /// Steps of this life before this file.
    pub first_step: u64,
}

/// One thing that is recorded; of borrowed parts where it is written, of owned ones where it is
/// read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<Input, Core> {
    /// The whole core, at the beginning of each file.
    Checkpoint { state: State, core: Core },
    /// The core is told `input`.
    Step { now: Instant, input: Input },
    /// What came of it, as the digest of its effects.
    Effects { digest: u64 },
    /// Where the core stands, so that a replay of what is still being written can be sure.
    State(State),
    /// The file ends in good order: the next goes on from here, or the node was stopped.
    End(State),
}

/// The core's state as one number, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub digest: u64,
    /// By the node's own clock…
    pub now: Instant,
    /// …and by the machine's, in nanoseconds of Unix time.
    pub unix: u64,
}

impl State {
    /// The time of day of a moment after this one, in nanoseconds of Unix time.
    pub fn unix_at(&self, now: Instant) -> u64 {
        self.unix.saturating_add(now.since(self.now).as_nanos() as u64)
    }
}

/// The beginning of a file.
pub fn begin_file(header: &Header) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    let header = to_bytes(header, Vec::new());
    bytes.extend_from_slice(&block(&header));
    bytes.extend_from_slice(&header);
    bytes
}

/// What stands before a block of `bytes`, which hold whole records.
pub fn block(bytes: &[u8]) -> [u8; BLOCK_HEAD] {
    let length = u32::try_from(bytes.len()).expect("a block is cut before it reaches 4 GiB");
    let mut head = [0; BLOCK_HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    head
}

/// Writes a record behind those that `to` holds.
pub fn write_record<I: Serialize, C: Serialize>(record: &Record<I, C>, to: &mut Vec<u8>) {
    *to = to_bytes(record, std::mem::take(to));
}

fn to_bytes<T: Serialize>(value: &T, to: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, to).expect("memory takes everything, and every length is known")
}
