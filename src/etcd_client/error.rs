//! What can go wrong with a call: the server's code and words, and the one question that matters to
//! a caller: *may it have taken effect?*
//!
//! # What can go wrong
//! gRPC has one code for "nobody took it" and "it was under way when the connection broke"; etcd
//! adds texts of its own, some of which come before a proposal and some after. Only those that
//! certainly come before are believed: the rest leaves a write in doubt.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::{Code, ConnectError, Status, TimeoutExpired};

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// Who was asked last, as `host:port`.
    pub endpoint: String,
    /// As the server said it; `Unavailable` if none was reached.
    pub code: Code,
    /// In the server's own words, or in ours if it said nothing.
    pub text: String,
    /// How long it was tried, with all tries.
    pub waited: Duration,
}

/// What a caller may conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server said no: no effect, and the same again will be refused again.
    Refused,
    /// Nobody took it, or nobody answered a read, before its time was over: no effect.
    Unavailable,
    /// A write was sent, and its result did not arrive: it may or may not take effect, now or
    /// later. It was not sent again.
    Unknown,
}

impl Error {
    /// Whether the request certainly had no effect, and never will.
    pub fn is_without_effect(&self) -> bool {
        self.kind != Kind::Unknown
    }

    /// Whether nobody listened where it was tried last.
    pub fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unavailable && self.text.starts_with(CANNOT_CONNECT)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { endpoint, text, .. } = self;
        let what = match self.kind {
            Kind::Refused => return write!(f, "{endpoint} refused: {text}"),
            Kind::Unavailable => "not done, with no effect",
            Kind::Unknown => "outcome unknown, the write may or may not take effect",
        };
        write!(f, "{what}: after {:.1} s: {endpoint}: {text}", self.waited.as_secs_f64())
    }
}

/// What became of one try that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was certainly not done, and may be tried again.
    Untouched,
    /// It may have been done.
    InDoubt,
    /// It was refused.
    Refused,
}

/// How a failed connection begins, in [`words`].
const CANNOT_CONNECT: &str = "cannot connect: ";

/// etcd's texts that come before anything is proposed.
const BEFORE_PROPOSING: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: too many requests",
    "etcdserver: rpc not supported for learner",
];

/// How texts of the code UNKNOWN begin that mean that time was over, or the server; the others of
/// this code are refusals. What the services for locks and elections say lost its code.
const OUT_OF_TIME: [&str; 5] = [
    "context deadline exceeded",
    "context canceled",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "etcdserver: server stopped",
];

/// What became of a try that ended like this.
pub(super) fn fate(status: &Status) -> Fate {
    if never_connected(status) || BEFORE_PROPOSING.contains(&status.message()) {
        return Fate::Untouched;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal => {
            Fate::InDoubt
        }
        // Made here, of a broken connection; what servers say has no cause beneath it.
        Code::Unknown if status.source().is_some() => Fate::InDoubt,
        Code::Unknown if OUT_OF_TIME.iter().any(|it| status.message().starts_with(it)) => {
            Fate::InDoubt
        }
        _ => Fate::Refused,
    }
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// The library's own clock said so, under the code CANCELLED.
pub(super) fn is_our_timeout(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<TimeoutExpired>())
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

fn causes(status: &Status) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(status.source(), |cause| (**cause).source())
}

/// A status in words: the server's, or the innermost reason of a failed connection.
pub(super) fn words(status: &Status) -> String {
    match causes(status).last() {
        Some(_) if is_our_timeout(status) => "it did not answer in time".to_owned(),
        Some(innermost) if never_connected(status) => format!("{CANNOT_CONNECT}{innermost}"),
        Some(innermost) => format!("the connection broke: {innermost}"),
        None if status.message().is_empty() => format!("{:?}, without a word", status.code()),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_before_a_proposal_is_certain() {
        use Code::*;
        for (code, text, fate_of_it) in [
            (Unavailable, "etcdserver: no leader", Fate::Untouched),
            (Unknown, "etcdserver: too many requests", Fate::Untouched),
            (Unavailable, "etcdserver: request timed out", Fate::InDoubt),
            (Unavailable, "etcdserver: server stopped", Fate::InDoubt),
            (Unavailable, "etcdserver: leader changed", Fate::InDoubt),
            (DeadlineExceeded, "context deadline exceeded", Fate::InDoubt),
            (Unknown, "context deadline exceeded", Fate::InDoubt),
            (
                Unknown,
                "etcdserver: request timed out, possibly due to connection lost",
                Fate::InDoubt,
            ),
            (Unknown, "etcdserver: leader changed", Fate::InDoubt),
            (Unknown, "etcdserver: requested lease not found", Fate::Refused),
            (NotFound, "etcdserver: requested lease not found", Fate::Refused),
            (ResourceExhausted, "etcdserver: mvcc: database space exceeded", Fate::Refused),
        ] {
            assert_eq!(fate(&Status::new(code, text)), fate_of_it, "{code:?} {text}");
        }
    }

    #[test]
    fn an_error_says_who_and_whether_it_may_have_happened() {
        let error = |kind| Error {
            kind,
            endpoint: "127.0.0.1:2379".to_owned(),
            code: Code::Unavailable,
            text: "etcdserver: request timed out".to_owned(),
            waited: Duration::from_millis(7_000),
        };
        let unknown = error(Kind::Unknown).to_string();
        assert!(unknown.starts_with("outcome unknown"), "{unknown}");
        assert!(unknown.ends_with("7.0 s: 127.0.0.1:2379: etcdserver: request timed out"));
        assert!(!error(Kind::Unknown).is_without_effect());
        assert!(error(Kind::Unavailable).is_without_effect());
    }
}
