//! The keys in their order: those that are there, each with its past, and the past of those that
//! were.
//!
//! # Why two maps
//! A write finds a key and its past by one walk, and all that is done to the past is done there.
//! Keys that are gone stand apart, so that whoever reads what is there now does not walk over them:
//! of a queue, where keys come and go, many more may be gone than there are.

use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::inline_key::InlineKey;
use super::item::Item;
use super::past::Past;
use crate::types::Revision;

/// See the [module](self). A clone costs O(1).
///
/// All versions stand behind pointers, so that copying a node of a tree copies no value's handle.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    there: OrdMap<InlineKey, Standing>,
    /// None of them without a past.
    gone: OrdMap<InlineKey, Past>,
}

/// A key that is there.
#[derive(Clone, Debug)]
pub struct Standing {
    pub item: Arc<Item>,
    pub past: Past,
}

/// A key that is there or was.
#[derive(Clone, Copy)]
pub struct Versions<'a> {
    pub key: &'a [u8],
    pub item: Option<&'a Arc<Item>>,
    pub past: &'a Past,
}

/// From one key to another.
pub type Range<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// What setting a key has led to.
pub struct Set {
    pub before: Option<Arc<Item>>,
    pub now: Arc<Item>,
    /// A deletion at the very same revision, which the key was set after and which is forgotten.
    pub undone: Option<Arc<Item>>,
}

impl<'a> Versions<'a> {
    /// What the key was at `revision`, if it was there then and that is known.
    pub fn at(self, revision: Revision) -> Option<&'a Arc<Item>> {
        let there = self.item.filter(|item| item.kv.mod_revision <= revision);
        there.or_else(|| self.past.at(revision)).filter(|item| !item.is_tombstone())
    }
}

impl Keys {
    /// How many are there.
    pub fn len(&self) -> usize {
        self.there.len()
    }

    pub fn get(&self, key: &Bytes) -> Option<&Arc<Item>> {
        self.there.get(&key[..]).map(|standing| &standing.item)
    }

    /// The last one that is there.
    pub fn last(&self) -> Option<&Bytes> {
        self.there.get_max().map(|(_, standing)| &standing.item.kv.key)
    }

    /// Those that are there, of a range.
    pub fn range<'s>(&'s self, range: Range<'_>) -> impl Iterator<Item = &'s Arc<Item>> + use<'s> {
        self.there.range::<_, [u8]>(range).map(|(_, standing)| &standing.item)
    }

    /// Those that are there or were, of a range.
    pub fn all<'s>(&'s self, range: Range<'_>) -> impl Iterator<Item = Versions<'s>> + use<'s> {
        let there = self.there.range::<_, [u8]>(range);
        let mut there = there
            .map(|(key, it)| Versions { key: key.borrow(), item: Some(&it.item), past: &it.past })
            .peekable();
        let gone = self.gone.range::<_, [u8]>(range);
        let mut gone =
            gone.map(|(key, past)| Versions { key: key.borrow(), item: None, past }).peekable();
        std::iter::from_fn(move || match (there.peek(), gone.peek()) {
            (Some(one), Some(other)) if other.key < one.key => gone.next(),
            (Some(_), _) => there.next(),
            (None, _) => gone.next(),
        })
    }

    /// One key, if it is there or was.
    pub fn versions(&self, key: &[u8]) -> Option<Versions<'_>> {
        if let Some((key, it)) = self.there.get_key_value(key) {
            return Some(Versions { key: key.borrow(), item: Some(&it.item), past: &it.past });
        }
        let (key, past) = self.gone.get_key_value(key)?;
        Some(Versions { key: key.borrow(), item: None, past })
    }

    /// Sets a key to what `make` makes of what it is. What it was goes to its past, if it is to
    /// have one and if it was that at an earlier revision: what comes and goes within one
    /// transaction nobody can ever have read.
    pub fn set(
        &mut self,
        key: Bytes,
        has_past: bool,
        make: impl FnOnce(Bytes, Option<&Item>) -> Arc<Item>,
    ) -> Set {
        if let Some(Standing { item, past }) = self.there.get_mut(&key[..]) {
            let now = make(key, Some(item));
            let before = std::mem::replace(item, now.clone());
            if has_past && before.kv.mod_revision < now.kv.mod_revision {
                past.push(before.clone());
            }
            return Set { before: Some(before), now, undone: None };
        }
        // To look first costs less than to make room for a change that there will not be.
        let was_there = self.gone.contains_key(&key[..]);
        let past = if was_there { self.gone.remove(&key[..]) } else { None };
        let mut past = past.unwrap_or_default();
        let name = InlineKey::from(&key);
        let now = make(key, None);
        let undone = past.forget_deletion(now.kv.mod_revision);
        self.there.insert(name, Standing { item: now.clone(), past });
        Set { before: None, now, undone }
    }

    /// Takes a key away, with its past.
    pub fn take(&mut self, key: &Bytes) -> Option<Standing> {
        self.there.remove(&key[..])
    }

    /// Keeps the past of a key that was taken away by this deletion.
    pub fn bury(&mut self, Standing { item, mut past }: Standing, deletion: Arc<Item>) {
        let key = InlineKey::from(&deletion.kv.key);
        if item.kv.mod_revision < deletion.kv.mod_revision {
            past.push(item);
        }
        past.push(deletion);
        self.gone.insert(key, past);
    }

    /// Forgets what a change at `revision` replaced, and, if it was one, the deletion.
    pub fn forget(
        &mut self,
        key: &Bytes,
        revision: Revision,
        is_deletion: bool,
    ) -> [Option<Arc<Item>>; 2] {
        let forget = |past: &mut Past| {
            let replaced = past.forget_before(revision);
            let deletion = if is_deletion { past.forget_deletion(revision) } else { None };
            [replaced, deletion]
        };
        if let Some(standing) = self.there.get_mut(&key[..]) {
            return forget(&mut standing.past);
        }
        let Some(past) = self.gone.get_mut(&key[..]) else { return [None, None] };
        let forgotten = forget(past);
        if past.is_empty() {
            self.gone.remove(&key[..]);
        }
        forgotten
    }

    /// Every version of the past behind this one, or all, by keys and revisions, each with its key;
    /// behind those of a key, and be there none, nothing: it has been looked at.
    pub fn past_after(
        &self,
        after: Option<(Bytes, Revision)>,
    ) -> impl Iterator<Item = (&[u8], Option<&Arc<Item>>)> + '_ {
        let (key, revision) = after.unwrap_or_default();
        let rest = self.all((Bound::Included(&key), Bound::Unbounded));
        rest.flat_map(|Versions { key, past, .. }| {
            past.iter().map(Some).chain([None]).map(move |item| (key, item))
        })
        .skip_while(move |(of, item)| {
            *of == key && item.is_some_and(|item| item.kv.mod_revision <= revision)
        })
    }

    /// Puts a key that is behind all that are there.
    pub fn restore(&mut self, item: Arc<Item>) {
        let key = InlineKey::from(&item.kv.key);
        self.there.insert(key, Standing { item, past: Past::default() });
    }

    /// Puts a version into a key's past. It must be newer than what is there of that.
    pub fn restore_past(&mut self, item: Arc<Item>) -> Result<(), &'static str> {
        let (key, revision) = (&item.kv.key, item.kv.mod_revision);
        let past = match self.there.get_mut(&key[..]) {
            Some(standing) if standing.item.kv.mod_revision <= revision => {
                return Err("the past of a key is newer than the key");
            }
            Some(standing) => &mut standing.past,
            None => self.gone.entry(key.into()).or_default(),
        };
        if past.last().is_some_and(|last| last.kv.mod_revision >= revision) {
            return Err("the past is out of order");
        }
        past.push(item);
        Ok(())
    }
}
