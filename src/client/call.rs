//! One call, from its first try to its end.
//!
//! # The rule
//!
//! A try is repeated only where that is safe: reads, requests that were refused (a refusal means
//! *certainly no effect*), and writes, because each carries its session's stamp and is applied once
//! however often it arrives. What must never be repeated is a write under a *new* stamp after an
//! earlier one may have been applied; so the stamp is made once, before the first try, and only a
//! write that was certainly never applied gets another.
//!
//! # What is told at the end
//!
//! [`Attempts::ambiguous`] is set by the first try whose fate is not known (the connection broke,
//! time ran out, the node said so itself). If the call is given up, it decides between "certainly
//! no effect" and "outcome unknown". A refusal that comes *after* an ambiguous try says nothing
//! about that earlier try, and does not clear it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::{ClientError, EndpointState, Trouble};
use super::pool::{Endpoint, Pool, Want};
use super::wire::{self, CallError};
use super::{Options, Random};
use crate::replica::{Refused, Request, Response};
use crate::types::NodeId;

/// The first pause before trying again; it doubles with each try…
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// …up to this: about the time in which a new leader may have been found.
const PAUSE_MAX: Duration = Duration::from_millis(40);
/// A node gets this share of a try's time, so that its own word on how the try ended, which is
/// more precise than our silence, is still heard.
const NODES_SHARE: f64 = 0.9;

/// A response, and who gave it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) node: Option<NodeId>,
}

/// How one try ended.
#[derive(Debug)]
pub(super) enum Try {
    Answered(Response),
    /// The connection broke, or the answer made no sense: the request may have arrived.
    Lost(String),
    /// No answer in time.
    Silent,
}

/// What to do after a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done(Response),
    /// Try again, elsewhere if possible, after this pause.
    Again(Duration),
    /// Give up: it will not get better.
    Fail(ClientError),
}

/// The tries of one call so far.
#[derive(Debug)]
pub(super) struct Attempts {
    is_write: bool,
    began: Instant,
    tries: u32,
    /// Some try may have taken effect.
    pub(super) ambiguous: bool,
    /// The last try found nobody who leads or answers.
    leaderless: bool,
    last: String,
}

impl Attempts {
    pub(super) fn new(is_write: bool) -> Attempts {
        Attempts {
            is_write,
            began: Instant::now(),
            tries: 0,
            ambiguous: false,
            leaderless: true,
            last: "no endpoint answers".to_owned(),
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// What to do after a try that ended like this. Pauses are not yet randomised.
    pub(super) fn judge(&mut self, ended: Try) -> Verdict {
        self.tries += 1;
        let pause = (PAUSE_MIN * (1 << (self.tries - 1).min(8))).min(PAUSE_MAX);
        self.leaderless = false;
        match ended {
            Try::Answered(Response::Refused { why, message }) => {
                // Once a try's fate is unknown, that is what its caller must hear: a later refusal
                // is true of the later try only.
                if !self.ambiguous {
                    self.last.clone_from(&message);
                }
                self.judge_refusal(why, message, pause)
            }
            Try::Answered(Response::Unknown(why)) => {
                self.ambiguous |= self.is_write;
                self.last = why;
                Verdict::Again(pause)
            }
            Try::Answered(response) => Verdict::Done(response),
            Try::Lost(why) => {
                self.ambiguous |= self.is_write;
                self.last = why;
                Verdict::Again(pause)
            }
            Try::Silent => {
                self.ambiguous |= self.is_write;
                self.last = "the node did not answer in time".to_owned();
                Verdict::Again(Duration::ZERO)
            }
        }
    }

    fn judge_refusal(&mut self, why: Refused, message: String, pause: Duration) -> Verdict {
        match why {
            Refused::NoLeader { leader } => {
                self.leaderless = leader.is_none();
                Verdict::Again(pause)
            }
            Refused::Busy { retry_after_millis } => {
                Verdict::Again(Duration::from_millis(retry_after_millis.into()).max(PAUSE_MIN))
            }
            Refused::TimedOut => {
                self.leaderless = true;
                Verdict::Again(pause)
            }
            Refused::Stopping | Refused::Repairing => Verdict::Again(pause),
            Refused::Invalid if !self.ambiguous => Verdict::Fail(ClientError::Invalid(message)),
            Refused::NoSpace | Refused::Disagreement if !self.ambiguous => {
                Verdict::Fail(ClientError::Refused(message))
            }
            // An earlier try may have gone through where this one did not: ask for its result.
            Refused::Invalid | Refused::NoSpace | Refused::Disagreement => {
                Verdict::Again(PAUSE_MAX)
            }
        }
    }

    /// The error for a write whose result cannot be known any more.
    pub(super) fn in_doubt(&self, pool: &Pool, why: String) -> ClientError {
        let waited = self.began.elapsed();
        let (is_write, endpoints) = (self.is_write, pool.statuses());
        ClientError::Unknown(Box::new(Trouble { is_write, waited, last: why, endpoints }))
    }

    /// The error for a call whose time is over.
    pub(super) fn give_up(&self, pool: &Pool) -> ClientError {
        let endpoints = pool.statuses();
        let answering = endpoints.iter().filter(|e| e.state == EndpointState::Answering).count();
        let minority = answering * 2 <= endpoints.len();
        let waited = self.began.elapsed();
        let (is_write, last) = (self.is_write, self.last.clone());
        let trouble = Box::new(Trouble { is_write, waited, last, endpoints });
        match (self.ambiguous, self.leaderless || minority) {
            (true, _) => ClientError::Unknown(trouble),
            (false, true) => ClientError::NoQuorum(trouble),
            (false, false) => ClientError::NotProposed(trouble),
        }
    }
}

/// Sends `request` until it is answered, refused for good, or its time is over.
pub(super) async fn execute(
    pool: &Pool,
    options: &Options,
    random: &Random,
    request: &Request,
    want: Want,
    attempts: &mut Attempts,
) -> Result<Reply, ClientError> {
    let end = attempts.began + options.timeout;
    let mut last: Option<Rc<Endpoint>> = None;
    let mut changes = pool.watch();
    let mut limit = options.attempt_timeout;
    loop {
        changes.mark_unchanged();
        let Some(endpoint) = pool.pick(want, last.as_ref()) else {
            // Nobody to ask: wait until that changes.
            match timeout_at(end, changes.changed()).await {
                Ok(Ok(())) => continue,
                _ => return Err(attempts.give_up(pool)),
            }
        };
        let left = end.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            return Err(attempts.give_up(pool));
        }
        let ended = try_once(&endpoint, request, limit.min(left)).await;
        limit *= 2;
        last = None;
        match &ended {
            Try::Answered(Response::Refused { why: Refused::NoLeader { leader }, .. }) => {
                pool.not_leading(&endpoint, *leader);
                last = Some(endpoint.clone());
            }
            Try::Answered(Response::Refused { why: Refused::Busy { .. }, .. }) => {}
            Try::Answered(_) | Try::Lost(_) => last = Some(endpoint.clone()),
            Try::Silent => {
                endpoint.suspect();
                last = Some(endpoint.clone());
            }
        }
        match attempts.judge(ended) {
            Verdict::Done(response) => return Ok(Reply { response, node: endpoint.node() }),
            Verdict::Fail(error) => return Err(error),
            Verdict::Again(pause) => {
                let pause = random.around(pause);
                if Instant::now() + pause >= end {
                    return Err(attempts.give_up(pool));
                }
                sleep_until(Instant::now() + pause).await;
            }
        }
    }
}

/// One try at one endpoint.
async fn try_once(endpoint: &Endpoint, request: &Request, limit: Duration) -> Try {
    let Some(connection) = endpoint.connection() else {
        return Try::Lost("the connection was lost".to_owned());
    };
    let end = Instant::now() + limit;
    match timeout_at(end, wire::execute(&connection, request, limit.mul_f64(NODES_SHARE))).await {
        Ok(Ok(response)) => Try::Answered(response),
        Ok(Err(CallError(why))) => Try::Lost(why),
        Err(_) => Try::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn refused(why: Refused) -> Try {
        Try::Answered(Response::Refused { why, message: "because".into() })
    }

    fn pool() -> Pool {
        Pool::new(&["unix:/nowhere/1", "unix:/nowhere/2"].map(|a| a.parse::<Address>().unwrap()))
    }

    #[tokio::test]
    async fn refusals_have_no_effect_and_are_tried_again() {
        let mut attempts = Attempts::new(true);
        let no_leader = Refused::NoLeader { leader: None };
        assert_eq!(attempts.judge(refused(no_leader)), Verdict::Again(PAUSE_MIN));
        assert_eq!(attempts.judge(refused(no_leader)), Verdict::Again(PAUSE_MIN * 2));
        let busy = attempts.judge(refused(Refused::Busy { retry_after_millis: 70 }));
        assert_eq!(busy, Verdict::Again(Duration::from_millis(70)), "the node's own hint");
        assert!(matches!(attempts.judge(refused(Refused::TimedOut)), Verdict::Again(_)));
        assert!(matches!(attempts.judge(refused(Refused::Stopping)), Verdict::Again(_)));
        assert!(attempts.give_up(&pool()).is_without_effect());
    }

    #[tokio::test]
    async fn a_refusal_does_not_clear_the_doubt_about_an_earlier_try() {
        let mut attempts = Attempts::new(true);
        attempts.judge(Try::Lost("broken".into()));
        assert!(matches!(attempts.judge(refused(Refused::NoSpace)), Verdict::Again(_)));
        assert!(matches!(attempts.judge(refused(Refused::TimedOut)), Verdict::Again(_)));
        assert!(matches!(attempts.give_up(&pool()), ClientError::Unknown(_)));
    }

    #[tokio::test]
    async fn a_read_is_never_in_doubt() {
        let mut attempts = Attempts::new(false);
        attempts.judge(Try::Silent);
        attempts.judge(Try::Answered(Response::Unknown("lost".into())));
        assert!(attempts.give_up(&pool()).is_without_effect());
    }

    #[tokio::test]
    async fn what_is_wrong_or_does_not_fit_is_not_tried_again() {
        let verdict = Attempts::new(true).judge(refused(Refused::Invalid));
        assert_eq!(verdict, Verdict::Fail(ClientError::Invalid("because".into())));
        let verdict = Attempts::new(true).judge(refused(Refused::NoSpace));
        assert_eq!(verdict, Verdict::Fail(ClientError::Refused("because".into())));
    }
}
