//! The state machine as one would write it on a blackboard: plain maps, linear searches, no hash.

use std::collections::BTreeMap;

use super::*;
use crate::kv::limits::SessionLimits;
use crate::kv::session::result_bytes;

pub struct Model {
    pub keys: BTreeMap<Bytes, KeyValue>,
    pub revision: u64,
    pub version: u16,
    pub sessions: BTreeMap<SessionId, ModelSession>,
    /// Last-used indexes of all sessions that were ever forgotten.
    pub forgotten: Vec<LogIndex>,
    pub limits: SessionLimits,
}

#[derive(Default)]
pub struct ModelSession {
    last_used: LogIndex,
    acknowledged: u64,
    refused_as_full: Vec<u64>,
    results: BTreeMap<u64, Outcome>,
}

impl ModelSession {
    fn bytes(&self) -> usize {
        self.results.values().map(result_bytes).sum()
    }
}

impl Model {
    pub fn new(limits: SessionLimits) -> Model {
        let (keys, sessions) = Default::default();
        let version = 1;
        Model { keys, revision: 1, version, sessions, forgotten: Vec::new(), limits }
    }

    /// An entry at `index` is there, whatever it says.
    pub fn advance(&mut self, index: LogIndex) {
        let most = self.limits.idle_entries;
        let idle = |session: &ModelSession| index.0 - session.last_used.0 > most;
        while self.version >= 2 && self.sessions.values().any(idle) {
            self.forget();
        }
    }

    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Outcome {
        self.advance(index);
        let effect = match &command.session {
            None if let Operation::RaiseVersion { to } = command.operation => {
                let result = self.raise(to);
                self.advance(index);
                result
            }
            None => Ok(self.operate(&command.operation)),
            Some(stamp) => self.once(index, stamp, &command.operation),
        };
        effect.unwrap_or_else(|refusal| Outcome {
            revision: Revision(self.revision),
            effect: Effect::Refused(refusal),
        })
    }

    fn raise(&mut self, to: u16) -> Result<Outcome, Refusal> {
        if to != self.version + 1 {
            return Err(Refusal::UnknownVersion);
        }
        self.version = to;
        let revision = Revision(self.revision);
        Ok(Outcome { revision, effect: Effect::Raised { version: to } })
    }

    fn once(
        &mut self,
        index: LogIndex,
        stamp: &SessionStamp,
        operation: &Operation,
    ) -> Result<Outcome, Refusal> {
        if !self.sessions.contains_key(&stamp.id) {
            let too_old = self.forgotten.iter().any(|last_used| stamp.opened_at < *last_used);
            if too_old || stamp.opened_at >= index {
                return Err(Refusal::SessionExpired);
            }
            while self.sessions.len() >= self.limits.sessions {
                self.forget();
            }
            self.sessions.insert(stamp.id, ModelSession::default());
        }
        let session = self.sessions.get_mut(&stamp.id).unwrap();
        session.last_used = index;
        session.acknowledged = session.acknowledged.max(stamp.acknowledged);
        session.results.retain(|sequence, _| *sequence > session.acknowledged);
        if stamp.sequence <= session.acknowledged {
            return Err(Refusal::StaleSequence);
        }
        if let Some(outcome) = session.results.get(&stamp.sequence) {
            return Ok(outcome.clone());
        }
        let full = session.results.len() >= self.limits.results
            || session.bytes() >= self.limits.session_bytes;
        if full {
            session.refused_as_full.push(stamp.sequence);
        }
        if session.refused_as_full.iter().any(|sequence| stamp.sequence <= *sequence) {
            return Err(Refusal::SessionFull);
        }
        let outcome = self.operate(operation);
        let session = self.sessions.get_mut(&stamp.id).unwrap();
        session.results.insert(stamp.sequence, outcome.clone());
        while self.sessions.values().map(ModelSession::bytes).sum::<usize>()
            > self.limits.total_bytes
            && self.sessions.len() > 1
        {
            self.forget();
        }
        Ok(outcome)
    }

    fn forget(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        let (id, last_used) = oldest.map(|(id, session)| (*id, session.last_used)).unwrap();
        self.sessions.remove(&id);
        self.forgotten.push(last_used);
    }

    fn operate(&mut self, operation: &Operation) -> Outcome {
        let effect = match operation.clone() {
            Operation::Put { key, value } => Effect::Put { existed: self.put(key, value) },
            Operation::Delete { key } => {
                let existed = self.keys.remove(&key).is_some();
                self.revision += u64::from(existed);
                Effect::Deleted { existed }
            }
            Operation::CompareAndSwap { key, expected, value } => {
                let found = self.keys.get(&key).cloned();
                let same = match (&expected, &found) {
                    (Expected::Absent, None) => true,
                    (Expected::Value(wanted), Some(found)) => found.value == wanted,
                    (Expected::ModRevision(at), Some(found)) => found.mod_revision == *at,
                    _ => false,
                };
                if same {
                    self.put(key, value);
                    Effect::Swapped
                } else {
                    Effect::Unchanged { found }
                }
            }
            _ => unreachable!("this model is of a machine whose keys have no past"),
        };
        Outcome { revision: Revision(self.revision), effect }
    }

    fn put(&mut self, key: Bytes, value: Bytes) -> bool {
        self.revision += 1;
        let now = Revision(self.revision);
        let before = self.keys.get(&key);
        let (create_revision, version) =
            before.map_or((now, 1), |item| (item.create_revision, item.version + 1));
        let (lease, mod_revision) = (LeaseId(0), now);
        let item =
            KeyValue { key: key.clone(), value, create_revision, mod_revision, version, lease };
        self.keys.insert(key, item).is_some()
    }
}
