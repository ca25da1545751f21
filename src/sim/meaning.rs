//! What an answer means to the client that asked: what it was told, and what it still does not
//! know.

use super::properties::Broken;
use super::world::unsound;
use crate::kv::{Answer, Effect, Outcome, Refusal, ResponseOp};
use crate::replica::{Consistency, Refused, Request, Response};
use crate::types::Revision;
use crate::verify::register::Told;

/// What an answer means.
pub enum Meaning {
    /// It is done; what was told, as of which revision, and whether it changed something.
    Done(Told, Revision, bool),
    /// A stale read is done; nothing follows from it.
    Stale,
    /// The past is compacted, or was so before; nothing follows from it for any key.
    Compacted,
    /// The state machine is of too old a version for it, and what it is by the time an earlier try
    /// arrives nobody knows.
    Unsupported,
    /// Certainly no effect.
    Nothing,
    /// It may have had an effect.
    Unknown,
}

pub fn meaning(request: &Request, response: &Response) -> Result<Meaning, Broken> {
    let wrong = |what: String| Err(unsound(what));
    match response {
        Response::Written(bytes) => match Outcome::decode(bytes) {
            Ok(outcome) => written(&outcome),
            Err(error) => wrong(format!("an outcome cannot be decoded: {error}")),
        },
        Response::Member(_) => wrong("nobody asked for a change of membership".into()),
        Response::Answer(_) if request.is_write() => {
            wrong("a write was answered like a read".into())
        }
        Response::Answer(bytes) => match Answer::decode(bytes) {
            Ok(answer) => {
                let stale =
                    matches!(request, Request::Read { consistency: Consistency::Stale, .. });
                let value = answer.items.first().map(|item| item.value.clone());
                Ok(if stale {
                    Meaning::Stale
                } else {
                    Meaning::Done(Told::Found(value), answer.revision, false)
                })
            }
            Err(error) => wrong(format!("an answer cannot be decoded: {error}")),
        },
        Response::Refused { why: Refused::Invalid, message } => wrong(message.clone()),
        Response::Refused { .. } => Ok(Meaning::Nothing),
        Response::Unknown(_) => Ok(Meaning::Unknown),
    }
}

fn written(outcome: &Outcome) -> Result<Meaning, Broken> {
    let revision = outcome.revision;
    Ok(match &outcome.effect {
        Effect::Put { existed } => {
            Meaning::Done(Told::Written { existed: *existed }, revision, true)
        }
        Effect::Deleted { existed } => {
            Meaning::Done(Told::Written { existed: *existed }, revision, *existed)
        }
        Effect::Swapped => Meaning::Done(Told::Swapped, revision, true),
        Effect::Unchanged { found } => {
            let found = found.as_ref().map(|item| item.value.clone());
            Meaning::Done(Told::Found(found), revision, false)
        }
        Effect::Raised { .. } => return Err(unsound("a client raised the version".into())),
        Effect::Transaction(result) => match &result.responses[..] {
            [ResponseOp::Put { prev }, ResponseOp::Range { count: 1, .. }, besides @ ..]
                if besides.iter().all(|it| matches!(it, ResponseOp::Put { prev: None })) =>
            {
                Meaning::Done(Told::Written { existed: prev.is_some() }, revision, true)
            }
            other => return Err(unsound(format!("a transaction did not see itself: {other:?}"))),
        },
        Effect::Compacted | Effect::Refused(Refusal::Compacted) => Meaning::Compacted,
        Effect::Refused(Refusal::UnknownVersion) => Meaning::Unsupported,
        Effect::LeaseGranted
        | Effect::LeaseRevoked { .. }
        | Effect::LeasesCheckpointed
        | Effect::Alarm { .. }
        | Effect::Announced
        | Effect::Enlisted => {
            return Err(unsound("a client was told what it did not ask for".into()));
        }
        Effect::Refused(why) => return Err(unsound(format!("a command was refused: {why}"))),
    })
}
