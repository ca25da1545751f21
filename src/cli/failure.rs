//! How a command ends.
//!
//! The exit code tells a program what a person reads in the message:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | the command line, or the input it names, is wrong |
//! | 3 | no quorum, or timed out; a write says "outcome unknown" unless it was never proposed |
//! | 4 | a check or an expectation was violated (`cas` found something else) |
//! | 5 | a check could not decide |
//! | 130 | interrupted (Ctrl-C) |
//!
//! A command that wraps another returns that one's code.

use std::fmt::Display;
use std::io;

use crate::client::ClientError;
use crate::config::{ConfigError, LayoutError};
use crate::control::ControlError;
use crate::supervisor::launch::LaunchError;

/// What a command returns: the exit code of a success (almost always 0), or why it failed.
pub type Outcome = Result<u8, Failure>;

/// The exit code of a command that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    NoQuorum = 3,
    Violated = 4,
    Undecided = 5,
    Interrupted = 130,
}

/// Why a command failed: what happened and where, and what to do next.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// What to do next, one hint a line.
    pub next: Vec<String>,
    /// Nobody listens any more (standard output is closed): end without a word.
    pub quiet: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), next: Vec::new(), quiet: false }
    }

    /// Exit code 1.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// Exit code 2.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, hint: impl Into<String>) -> Failure {
        self.next.push(hint.into());
        self
    }

    /// Puts what was being done in front.
    #[must_use]
    pub fn while_doing(mut self, what: impl Display) -> Failure {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Writing to standard output failed.
    pub fn output(error: &io::Error) -> Failure {
        let failure = Failure::failed(format!("cannot write to standard output: {error}"));
        Failure { quiet: error.kind() == io::ErrorKind::BrokenPipe, ..failure }
    }

    /// Prints it on standard error.
    pub fn print(&self) {
        if self.quiet {
            return;
        }
        use anstyle::{AnsiColor, Style};
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        anstream::eprintln!("{red}error:{red:#} {}", self.message);
        for hint in &self.next {
            anstream::eprintln!("{cyan}next:{cyan:#} {hint}");
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let exit = match &error {
            ClientError::Invalid(_) => Exit::Usage,
            ClientError::Refused(_) => Exit::Failed,
            ClientError::NoQuorum(_) | ClientError::NotProposed(_) | ClientError::Unknown(_) => {
                Exit::NoQuorum
            }
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        let exit = match &error {
            ControlError::Timeout { .. } | ControlError::Unfinished(_) => Exit::NoQuorum,
            _ => Exit::Failed,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Failure {
        Failure::failed(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::failed(error.to_string())
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Failure {
        match error {
            LaunchError::Differs { .. } => Failure::usage(error.to_string()),
            LaunchError::NotReady { .. } => Failure::new(Exit::NoQuorum, error.to_string()),
            LaunchError::Control(error) => error.into(),
            other => Failure::failed(other.to_string()),
        }
    }
}
