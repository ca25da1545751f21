//! What a file in memory holds.

use std::rc::Rc;

const PAGE: usize = 4096;

/// Bytes as pages, shared with other copies until written; a page that is not there is zeros.
#[derive(Clone, Default)]
pub struct Content {
    pages: imbl::OrdMap<u64, Rc<[u8; PAGE]>>,
    pub length: u64,
}

impl Content {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let count = (PAGE - within).min(bytes.len() - done);
            let part = &bytes[done..done + count];
            done += count;
            if !self.pages.contains_key(&page) {
                if part.iter().all(|byte| *byte == 0) {
                    continue;
                }
                self.pages.insert(page, Rc::new([0; PAGE]));
            }
            if let Some(page) = self.pages.get_mut(&page) {
                Rc::make_mut(page)[within..within + count].copy_from_slice(part);
            }
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let length = length.min(self.length.saturating_sub(offset) as usize);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            let within = (at % PAGE as u64) as usize;
            let count = (PAGE - within).min(length - bytes.len());
            match self.pages.get(&(at / PAGE as u64)) {
                Some(page) => bytes.extend_from_slice(&page[within..within + count]),
                None => bytes.resize(bytes.len() + count, 0),
            }
        }
        bytes
    }

    /// The beginning of the first page from `offset` on that was written.
    pub fn find_data(&self, offset: u64) -> u64 {
        let page = self.pages.range(offset / PAGE as u64..).next();
        page.map_or(self.length, |(page, _)| (page * PAGE as u64).max(offset))
    }
}
