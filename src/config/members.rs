//! `members.toml`: who the members are when a cluster is created.
//!
//! It is read once, by `kvnode init`, which writes it as the first entry of the log. From then on
//! the log alone says who the members are.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{ConfigError, read_toml};
use super::{Address, MAX_NODES};
use crate::consensus::Configuration;
use crate::types::NodeId;

/// The contents of `members.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    pub member: Vec<Member>,
}

/// One voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub id: NodeId,
    /// Where the others reach it.
    pub address: Address,
}

impl Members {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Members, ConfigError> {
        let members: Members = read_toml(path)?;
        members.validate().map_err(|message| ConfigError::wrong(path, message))?;
        Ok(members)
    }

    fn validate(&self) -> Result<(), String> {
        let configuration = self.configuration();
        if self.member.is_empty() || self.member.len() > MAX_NODES as usize {
            return Err(format!(
                "{} members: from 1 to {MAX_NODES} are possible",
                self.member.len()
            ));
        }
        if configuration.voters.len() != self.member.len() {
            return Err("two members have the same `id`".into());
        }
        if configuration.voters.contains(&NodeId(0)) {
            return Err("`id = 0` is nobody: members are numbered from 1".into());
        }
        Ok(())
    }

    /// The first entry of the log.
    pub fn configuration(&self) -> Configuration {
        Configuration {
            voters: self.member.iter().map(|member| member.id).collect(),
            addresses: self
                .member
                .iter()
                .map(|member| (member.id, member.address.to_string()))
                .collect(),
            ..Configuration::default()
        }
    }

    /// The file, with a comment for the person who opens it.
    pub fn to_commented_toml(&self) -> String {
        let mut text = String::from(
            "# The members that the cluster began with. Read once, when a node is initialised;\n\
             # from then on the log says who the members are, and changing this file does\n\
             # nothing.\n",
        );
        for member in &self.member {
            // Debug quotes and escapes as TOML's basic strings do.
            let address = member.address.to_string();
            text.push_str(&format!("\n[[member]]\nid = {}\naddress = {address:?}\n", member.id));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse_toml;

    fn members(text: &str) -> Members {
        parse_toml(Path::new("members.toml"), text).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_and_is_a_configuration() {
        let text = "[[member]]\nid = 1\naddress = \"unix:/a b/\\\"1\\\"\"\n\
                    [[member]]\nid = 2\naddress = \"tcp:127.0.0.1:5\"\n";
        let read = members(text);
        assert_eq!(members(&read.to_commented_toml()), read);
        assert_eq!(read.validate(), Ok(()));
        let configuration = read.configuration();
        assert_eq!(configuration.voters, [NodeId(1), NodeId(2)].into());
        assert_eq!(configuration.addresses[&NodeId(2)], "tcp:127.0.0.1:5");
    }

    #[test]
    fn nobody_and_twice_the_same_are_refused() {
        let twice = "[[member]]\nid = 1\naddress = \"unix:/a\"\n".repeat(2);
        assert!(members(&twice).validate().unwrap_err().contains("same"));
        let nobody = "[[member]]\nid = 0\naddress = \"unix:/a\"\n";
        assert!(members(nobody).validate().unwrap_err().contains("nobody"));
        assert!(members("member = []").validate().is_err());
    }
}
