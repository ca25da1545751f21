//! Keys and values in a list, as `scan` and `get` print them.

use super::bytes::{Encoding, JsonItem, printable};
use super::failure::Failure;
use super::output::{self, Format, SCHEMA_VERSION};
use crate::kv::KeyValue;
use crate::types::Revision;

/// Prints the items as they come: a large range is never held in memory.
pub struct Listing {
    pub format: Format,
    pub encoding: Encoding,
    /// Without the values.
    pub keys_only: bool,
    pub stale: bool,
    printed: u64,
    /// The items of a page.
    buffer: Vec<u8>,
}

impl Listing {
    pub fn new(format: Format, encoding: Encoding, keys_only: bool, stale: bool) -> Listing {
        Listing { format, encoding, keys_only, stale, printed: 0, buffer: Vec::new() }
    }

    pub fn begin(&self) -> Result<(), Failure> {
        match self.format {
            Format::Json => output::write(
                format!("{{\"schema_version\":{SCHEMA_VERSION},\"items\":[").as_bytes(),
            ),
            Format::Table | Format::Name => Ok(()),
        }
    }

    pub fn item(&mut self, item: &KeyValue) -> Result<(), Failure> {
        let text = &mut self.buffer;
        match self.format {
            Format::Json => {
                text.extend_from_slice(if self.printed == 0 { b"\n" } else { b",\n" });
                let json = JsonItem { item, key_only: self.keys_only };
                serde_json::to_writer(&mut *text, &json)
                    .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
            }
            Format::Table | Format::Name => {
                let with_value = self.format == Format::Table && !self.keys_only;
                text.extend_from_slice(line(self.encoding, item, with_value).as_bytes());
                text.push(b'\n');
            }
        }
        self.printed += 1;
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        output::write(&std::mem::take(&mut self.buffer))
    }

    pub fn end(&self, revision: Revision, count: u64, more: bool) -> Result<(), Failure> {
        match self.format {
            Format::Json => output::write(
                format!("\n],\"revision\":{revision},\"count\":{count},\"more\":{more}}}\n")
                    .as_bytes(),
            ),
            Format::Table | Format::Name => {
                if self.stale {
                    output::note(format!("stale: served at revision {revision}"));
                }
                if more {
                    output::note(format!("{} of {count} keys shown", self.printed));
                }
                Ok(())
            }
        }
    }
}

/// A key on its line, with its value if that is wanted.
pub fn line(encoding: Encoding, item: &KeyValue, with_value: bool) -> String {
    let mut line = encoding.show(&item.key);
    if with_value {
        line.push('\t');
        line.push_str(&printable(&item.value));
    }
    line
}
