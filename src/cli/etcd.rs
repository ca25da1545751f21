//! From a command to whatever serves etcd's API: which endpoints, and why it failed.

use std::time::Duration;

use super::failure::{Exit, Failure};
use super::{Global, reach, units};
use crate::config::{ClusterDirectory, NodeConfig};
use crate::etcd_client::{Client, Code, Error, KeyValue, Kind, Options, WatchError};
use crate::kv;
use crate::types::{LeaseId, Revision};

/// How to reach etcd's API.
#[derive(Clone, Debug, clap::Args)]
pub struct EtcdReach {
    /// Where etcd's API is served (`host:port`), separated by commas; an etcd will do [default: the
    /// nodes of the cluster]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub endpoints: Vec<String>,
    /// Give up a call after this time; a write then says whether its outcome is unknown.
    #[arg(
        long,
        default_value = "5s",
        value_name = "TIME",
        value_parser = units::parse_positive_duration
    )]
    pub timeout: Duration,
}

/// A client, with what is needed to explain its failures.
pub struct Etcd<'a> {
    pub client: Client,
    global: &'a Global,
    /// Present if the cluster is one of this machine's own.
    directory: Option<ClusterDirectory>,
}

/// The client for the cluster. Nothing is dialled yet.
pub fn client<'a>(global: &'a Global, reach: &EtcdReach) -> Result<Etcd<'a>, Failure> {
    let (endpoints, directory) = match reach.endpoints.is_empty() {
        false => (reach.endpoints.clone(), None),
        true => {
            let directory = reach::directory(global)?;
            (of_cluster(global, &directory)?, Some(directory))
        }
    };
    let options = Options { timeout: reach.timeout, ..Options::default() };
    let client = Client::new(endpoints, options).map_err(Failure::usage)?;
    Ok(Etcd { client, global, directory })
}

/// Where the nodes serve it, as their own configuration files have it.
fn of_cluster(global: &Global, directory: &ClusterDirectory) -> Result<Vec<String>, Failure> {
    let nodes = reach::configurations(global, directory)?;
    let served = |node: &NodeConfig| node.grpc.map(|address| address.to_string());
    let endpoints: Vec<String> = nodes.iter().filter_map(served).collect();
    if endpoints.is_empty() {
        let flag = global.flag();
        let failure = Failure::failed("no node of this cluster serves etcd's API yet");
        return Err(
            failure.next(format!("restart it: kvctl{flag} cluster down, kvctl{flag} cluster up"))
        );
    }
    Ok(endpoints)
}

impl Etcd<'_> {
    /// Makes a failure of a call a failure of the command: says who is missing and what to do.
    pub async fn explain(&self, error: Error) -> Failure {
        let exit = match (error.kind, error.code) {
            (Kind::Unavailable | Kind::Unknown, _) => Exit::NoQuorum,
            (Kind::Refused, Code::InvalidArgument) => Exit::Usage,
            (Kind::Refused, _) => Exit::Failed,
        };
        let failure = Failure::new(exit, error.to_string());
        if error.code == Code::Unimplemented {
            return failure.next("the server there does not know this: is it of this version?");
        }
        let Some(directory) = &self.directory else { return failure };
        reach::who_is_missing(self.global, directory, failure, error.is_unreachable()).await
    }

    pub async fn explain_watch(&self, error: WatchError) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error {
            WatchError::Failed(error) => self.explain(error).await,
            WatchError::Compacted { compacted, .. } => failure
                .next("read what is there now: kvctl get")
                .next(format!("or watch what is left: the same with --rev {compacted}")),
            WatchError::Canceled { .. } => failure,
        }
    }
}

/// A key of a message, as the other commands have it. What is below zero is as good as zero.
pub fn key_value(item: KeyValue) -> kv::KeyValue {
    let unsigned = |number| u64::try_from(number).unwrap_or(0);
    kv::KeyValue {
        key: item.key,
        value: item.value,
        create_revision: Revision(unsigned(item.create_revision)),
        mod_revision: Revision(unsigned(item.mod_revision)),
        version: unsigned(item.version),
        lease: LeaseId(item.lease as u64),
    }
}

/// Reads how long a lease lasts: a time of whole seconds, or a number of them.
pub fn parse_ttl(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(0) => Err("it must be more than nothing".to_owned()),
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
            Err(error) => Err(error.to_string()),
        };
    }
    let time = units::parse_positive_duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time),
        _ => Err("a lease lasts for whole seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_for_whole_seconds_however_they_are_written() {
        for (text, seconds) in [("60", 60), ("60s", 60), ("2m", 120), ("9000000001", 9_000_000_001)]
        {
            assert_eq!(parse_ttl(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "0", "0s", "1500ms", "-3", "soon", "99999999999999999999"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
