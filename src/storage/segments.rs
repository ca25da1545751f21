//! A segment, as the running log knows it.

/// A segment's file.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    pub name: String,
    /// Bytes that it takes.
    pub length: u64,
    /// Where its groups end; zero for the one that is being written.
    pub end: u64,
}

/// The segment that is being written.
pub struct Segment {
    pub sequence: u64,
    pub name: String,
    /// Of its format. Nothing but a seal is written into one of an older version.
    pub version: u32,
    /// Where the next group goes.
    pub offset: u64,
    /// The file's length.
    pub capacity: u64,
    /// Zeros have been written up to here.
    pub zeroed_to: u64,
}

/// The segment after it.
pub enum Next {
    None,
    /// `next.tmp` is there, with this much space.
    Ready {
        size: u64,
    },
}
