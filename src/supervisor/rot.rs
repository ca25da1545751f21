//! A bit of a log flips while nobody looks, as on a disk that rots.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::storage::FileView;
use crate::storage::inspect::{RecordSeen, inspect};

/// Flips one bit of an entry in the log in `directory`: in the segment of this number (the oldest
/// is 0), or in any; which one `lot` decides. Says where. No process may be using the log.
///
/// # Errors
/// If there is no such segment, or no entry in it, or it cannot be read or written.
pub(super) fn flip_bit(directory: &Path, segment: Option<u64>, lot: u64) -> Result<String, String> {
    let view = FileView::open(directory).map_err(|error| error.to_string())?;
    let mut entries: Vec<(String, u64, u64)> = Vec::new();
    let mut see = |record: &RecordSeen<'_>| {
        if matches!(record.kind, "noop" | "command") {
            let at = record.offset + (lot >> 40) % record.bytes.max(1) as u64;
            entries.push((record.file.to_owned(), at, record.index.0));
        }
    };
    let seen = inspect(view, &mut see).map_err(|error| error.to_string())?;
    if let Some(number) = segment {
        let count = seen.segments.len();
        let chosen = usize::try_from(number).ok().and_then(|number| seen.segments.get(number));
        let chosen = chosen
            .ok_or_else(|| format!("there is no segment {number}; there are {count}, from 0 on"))?;
        entries.retain(|(file, ..)| *file == chosen.file);
    }
    if entries.is_empty() {
        return Err("it holds no entry that could rot".to_owned());
    }
    let (file, offset, index) = &entries[(lot % entries.len() as u64) as usize];
    flip(&directory.join(file), *offset, (lot >> 32) as u8 % 8)
        .map_err(|error| format!("{file}: {error}"))?;
    Ok(format!("a bit of entry {index} has flipped, in {file} at offset {offset}"))
}

fn flip(path: &Path, offset: u64, bit: u8) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset)?;
    file.sync_data()
}
