//! What can go wrong with a call, told apart by the one question that matters to its caller:
//! *may it have taken effect?*
//!
//! A failed write is not an absent write. Whoever treats the two alike loses or doubles data, so
//! the type says which it is, and only [`ClientError::Unknown`] leaves it open.

use std::fmt;
use std::time::Duration;

use crate::config::Address;
use crate::types::NodeId;

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The request itself is wrong: no effect, and none if it is tried again.
    #[error("{0}")]
    Invalid(String),
    /// The cluster refused, and trying again at once would not help (a full disk): no effect.
    #[error("refused, with no effect: {0}")]
    Refused(String),
    /// No leader took the request in time, because too few nodes answer: no effect.
    #[error("no quorum; the request was never proposed and has no effect: {0}")]
    NoQuorum(Box<Trouble>),
    /// There was no time left to have the request taken: no effect.
    #[error("timed out; the request was never proposed and has no effect: {0}")]
    NotProposed(Box<Trouble>),
    /// The write was sent, and its result did not arrive: it may or may not take effect, now or
    /// later.
    #[error("outcome unknown; the write may or may not take effect: {0}")]
    Unknown(Box<Trouble>),
}

impl ClientError {
    /// Whether the request certainly had no effect, and never will.
    pub fn is_without_effect(&self) -> bool {
        !matches!(self, ClientError::Unknown(_))
    }

    /// The state of the endpoints when the call was given up, where that is why it was.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            ClientError::NoQuorum(trouble)
            | ClientError::NotProposed(trouble)
            | ClientError::Unknown(trouble) => Some(trouble),
            ClientError::Invalid(_) | ClientError::Refused(_) => None,
        }
    }
}

/// How things stood when a call was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How long it was tried.
    pub waited: Duration,
    /// What the last try ended with.
    pub last: String,
    /// Every endpoint that the client knows.
    pub endpoints: Vec<EndpointStatus>,
}

impl Trouble {
    /// The endpoints that did not answer.
    pub fn missing(&self) -> impl Iterator<Item = &EndpointStatus> {
        self.endpoints.iter().filter(|endpoint| endpoint.state != EndpointState::Answering)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1} s: {}", self.waited.as_secs_f64(), self.last)?;
        let missing: Vec<String> = self.missing().map(ToString::to_string).collect();
        if !missing.is_empty() {
            let all = self.endpoints.len();
            write!(f, " ({} of {all} endpoints missing: {})", missing.len(), missing.join("; "))?;
        }
        Ok(())
    }
}

/// An endpoint as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    pub address: Address,
    /// Which node listens there, once it has said so.
    pub node: Option<NodeId>,
    pub state: EndpointState,
}

/// Whether an endpoint can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Connected, and not known to be silent.
    Answering,
    /// Connected, but it let a call run into its time limit and has said nothing since.
    Silent,
    /// Not connected; the last reason, empty before the first try ended.
    Down(String),
}

impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node} at {}", self.address)?,
            None => write!(f, "{}", self.address)?,
        }
        match &self.state {
            EndpointState::Answering => f.write_str(" answers"),
            EndpointState::Silent => f.write_str(" does not answer"),
            EndpointState::Down(why) if why.is_empty() => f.write_str(" is not connected yet"),
            EndpointState::Down(why) => write!(f, ": {why}"),
        }
    }
}
