//! `cluster.toml`: what was asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How nodes and clients of one machine reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Over Unix sockets in the cluster's directory.
    #[default]
    Unix,
    /// Over TCP on 127.0.0.1, with ports that the system hands out once.
    Tcp,
}

impl Transport {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Unix => "unix",
            Transport::Tcp => "tcp",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Transport, String> {
        match text {
            "unix" => Ok(Transport::Unix),
            "tcp" => Ok(Transport::Tcp),
            _ => Err(format!("`{text}` is none of unix, tcp")),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
