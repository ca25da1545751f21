//! `kvctl env`: where the cluster is, for other programs' environments.

use serde::Serialize;

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format};
use crate::control::ClusterStatus;

/// Print the variables with which etcd's own programs find this cluster
///
/// etcdctl and most clients read ETCDCTL_ENDPOINTS: where each node serves etcd's API.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eval \"$(kvctl env)\"          then: etcdctl put a 1; etcdctl get a
  kvctl env -o name            the addresses alone, a line each
  kvctl env -o json

JSON fields: schema_version, variables: name, value")]
pub struct Env {}

#[derive(Serialize)]
struct Printed {
    variables: Vec<Variable>,
}

/// A variable of a process's environment.
#[derive(Serialize)]
pub struct Variable {
    pub name: &'static str,
    pub value: String,
}

pub async fn run(global: &Global, _: Env) -> Outcome {
    let status = super::cluster::status(global).await?;
    let variables = variables(&status);
    if variables.is_empty() {
        let failure = Failure::new(Exit::Failed, "no node of this cluster serves etcd's API yet");
        return Err(failure.next("restart it: kvctl cluster down, kvctl cluster up"));
    }
    match global.output {
        Format::Json => output::json(&Printed { variables })?,
        Format::Name => endpoints(&status).iter().try_for_each(output::line)?,
        Format::Table => variables
            .iter()
            .try_for_each(|it| output::line(format!("export {}={}", it.name, it.value)))?,
    }
    Ok(0)
}

/// What etcd's programs look for; nothing if no node serves its API.
pub fn variables(status: &ClusterStatus) -> Vec<Variable> {
    let endpoints = endpoints(status);
    if endpoints.is_empty() {
        return Vec::new();
    }
    let value = endpoints.join(",");
    // Older versions of etcdctl speak another API unless they are told.
    let version = Variable { name: "ETCDCTL_API", value: "3".to_owned() };
    vec![Variable { name: "ETCDCTL_ENDPOINTS", value }, version]
}

fn endpoints(status: &ClusterStatus) -> Vec<String> {
    status.nodes.iter().filter_map(|node| Some(node.grpc?.to_string())).collect()
}
