//! The one copy, which does one thing at a time and tells the truth.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::verify::history::{Event, Type};

/// What is stored, who leases what, and all that ever changed.
#[derive(Default)]
pub struct OneCopy {
    /// The value, and the lease that it is attached to.
    values: BTreeMap<String, (String, Option<String>)>,
    /// How long each lease lives, and until when.
    leases: BTreeMap<String, (u64, u64)>,
    /// Revision, key, value; the first change has revision 2.
    log: Vec<(u64, String, Option<String>)>,
    revision: u64,
}

/// Nanoseconds of a millisecond.
const MILLI: u64 = 1_000_000;

impl OneCopy {
    pub fn new() -> OneCopy {
        OneCopy { revision: 1, ..OneCopy::default() }
    }

    pub fn value(&self, key: &str) -> Option<&String> {
        self.values.get(key).map(|(value, _)| value)
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Leases whose time is over end.
    pub fn expire(&mut self, now: u64) {
        let over = self.leases.iter().filter(|(_, (_, until))| *until <= now);
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        over.iter().for_each(|lease| self.end(lease));
    }

    /// Does it, and the event becomes its answer.
    pub fn act(&mut self, now: u64, event: &mut Event) {
        let key = event.key.clone().unwrap_or_default();
        let argument = event.value.take().unwrap_or_default();
        let done = match event.f.as_str() {
            "txn" => self.transaction(&argument).map(Some),
            "lease" => self.lease(now, &key, &argument).map(|()| None),
            "lock" => self.lock(&key, &argument, event.lease.clone()).map(|()| None),
            "watch" => Ok(Some(self.seen(&key, &argument))),
            _ => self.plain(event, &key, &argument),
        };
        event.kind = if done.is_ok() { Type::Ok } else { Type::Fail };
        match done {
            Ok(value) => event.value = value,
            Err(why) => event.error = Some(why.to_owned()),
        }
    }

    fn plain(
        &mut self,
        event: &Event,
        key: &str,
        argument: &Value,
    ) -> Result<Option<Value>, &'static str> {
        if event.lease.as_ref().is_some_and(|lease| !self.leases.contains_key(lease)) {
            return Err("no such lease");
        }
        let present = self.value(key).cloned();
        match event.f.as_str() {
            "read" => return Ok(Some(json!(present))),
            "append" => {
                let whole = present.unwrap_or_default() + argument.as_str().unwrap_or_default();
                self.set(key, Some(whole), event.lease.clone());
            }
            "cas" if text(&argument[0]) != present => return Err("mismatch"),
            "cas" => self.set(key, text(&argument[1]), event.lease.clone()),
            "write" => self.set(key, text(argument), event.lease.clone()),
            _ => self.set(key, None, None),
        }
        Ok(None)
    }

    fn transaction(&mut self, steps: &Value) -> Result<Value, &'static str> {
        let mut told = steps.as_array().cloned().unwrap_or_default();
        let is_check = |step: &&Value| step[0] == "check";
        let holds = |step: &Value| {
            text(&step[2]).as_ref() == self.value(step[1].as_str().unwrap_or_default())
        };
        if !told.iter().filter(is_check).all(holds) {
            return Err("mismatch");
        }
        let before = self.log.len();
        for step in &mut told {
            let key = step[1].as_str().unwrap_or_default().to_owned();
            let present = self.value(&key).cloned();
            match step[0].as_str().unwrap_or_default() {
                "read" => *step = json!(["read", key, present]),
                "write" => self.set(&key, text(&step[2]), None),
                "append" => {
                    let whole = present.unwrap_or_default() + step[2].as_str().unwrap_or_default();
                    self.set(&key, Some(whole), None);
                }
                "delete" => self.set(&key, None, None),
                _ => {}
            }
        }
        self.make_one(before);
        Ok(told.into())
    }

    fn lease(&mut self, now: u64, name: &str, argument: &Value) -> Result<(), &'static str> {
        match argument[0].as_str().unwrap_or_default() {
            "grant" => {
                let life = argument[1].as_u64().unwrap_or_default() * MILLI;
                self.leases.insert(name.to_owned(), (life, now + life));
            }
            "keep-alive" => {
                let (life, until) = self.leases.get_mut(name).ok_or("mismatch")?;
                *until = now + *life;
            }
            _ if self.leases.contains_key(name) => self.end(name),
            _ => return Err("mismatch"),
        }
        Ok(())
    }

    fn lock(
        &mut self,
        key: &str,
        argument: &Value,
        lease: Option<String>,
    ) -> Result<(), &'static str> {
        let holder = text(&argument[1]);
        match (argument[0] == "acquire", self.value(key)) {
            (true, None) if lease.as_ref().is_none_or(|it| self.leases.contains_key(it)) => {
                self.set(key, holder, lease);
            }
            (true, _) => return Err("somebody else holds it"),
            (false, present) if present != holder.as_ref() => return Err("mismatch"),
            (false, _) => self.set(key, None, None),
        }
        Ok(())
    }

    fn seen(&self, key: &str, argument: &Value) -> Value {
        let from = argument["from"].as_u64().unwrap_or_default();
        let prefix = argument["prefix"] == true;
        let is_watched = |name: &str| if prefix { name.starts_with(key) } else { name == key };
        let changes = self.log.iter().filter(|(at, name, _)| *at >= from && is_watched(name));
        json!({ "events": changes.collect::<Vec<_>>(), "upto": self.revision })
    }

    /// A lease ends, and takes along what is attached to it, all in one revision.
    fn end(&mut self, lease: &str) {
        self.leases.remove(lease);
        let attached = self.values.iter().filter(|(_, (_, it))| it.as_deref() == Some(lease));
        let attached: Vec<String> = attached.map(|(key, _)| key.clone()).collect();
        let before = self.log.len();
        attached.iter().for_each(|key| self.set(key, None, None));
        self.make_one(before);
    }

    /// What happened since then has one revision, and of each key only the last change.
    fn make_one(&mut self, before: usize) {
        let changes = self.log.split_off(before);
        self.revision -= changes.len() as u64;
        self.revision += u64::from(!changes.is_empty());
        for (at, (_, key, value)) in changes.iter().enumerate() {
            if changes[at + 1..].iter().all(|(_, later, _)| later != key) {
                self.log.push((self.revision, key.clone(), value.clone()));
            }
        }
    }

    fn set(&mut self, key: &str, value: Option<String>, lease: Option<String>) {
        match &value {
            Some(value) => {
                self.values.insert(key.to_owned(), (value.clone(), lease));
            }
            None if self.values.remove(key).is_none() => return,
            None => {}
        }
        self.revision += 1;
        self.log.push((self.revision, key.to_owned(), value));
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
