//! From a command to its cluster: which directory, which endpoints, and who is missing if it fails.

use std::path::Path;
use std::time::Duration;

use super::Global;
use super::failure::{Exit, Failure};
use super::units;
use crate::client::{Client, ClientError, Options};
use crate::config::{Address, ClusterDirectory, Home, NodeConfig};
use crate::control::{ClusterStatus, ControlError, State, SupervisorClient};
use crate::types::NodeId;

/// How to reach the cluster's nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// Nodes to talk to (`unix:/path` or `tcp:127.0.0.1:PORT`), separated by commas [default: those
    /// of --name, else KVRAFT_ENDPOINTS in the environment, else those of the default cluster]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub endpoints: Vec<Address>,
    /// Give up after this time; a write then says whether its outcome is unknown.
    #[arg(
        long,
        default_value = "5s",
        value_name = "TIME",
        value_parser = units::parse_positive_duration
    )]
    pub timeout: Duration,
}

/// Reading from one node, or without asking the leader.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Freshness {
    /// Read a replica's state as it is: fast, possibly old, and possible without a quorum.
    #[arg(long)]
    pub stale: bool,
    /// Talk to this node only.
    #[arg(long, value_name = "ID", value_parser = parse_node)]
    pub node: Option<NodeId>,
}

/// Reads the number of a node.
pub fn parse_node(text: &str) -> Result<NodeId, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a node's id is a number from 1".to_owned()),
        Ok(number) => Ok(NodeId(number)),
    }
}

impl Freshness {
    pub fn consistency(&self) -> crate::replica::Consistency {
        match self.stale {
            true => crate::replica::Consistency::Stale,
            false => crate::replica::Consistency::Linearizable,
        }
    }
}

/// The directory of the cluster that is meant.
pub fn directory(global: &Global) -> Result<ClusterDirectory, Failure> {
    Ok(Home::from_environment()?.cluster(&global.name))
}

/// There is no cluster of that name.
pub fn no_cluster(global: &Global, directory: &ClusterDirectory) -> Failure {
    let looked = directory.path().display();
    Failure::failed(format!("there is no cluster `{}` (looked in {looked})", global.name))
        .next(format!("start one: kvctl{} cluster up -n 5", global.flag()))
        .next("or see which there are: kvctl cluster list")
}

/// The cluster is there and does not run.
pub fn not_running(global: &Global) -> Failure {
    Failure::failed(format!("the cluster `{}` is not running", global.name))
        .next(format!("start it: kvctl{} cluster up", global.flag()))
}

/// The nodes' own configuration files.
pub fn configurations(
    global: &Global,
    directory: &ClusterDirectory,
) -> Result<Vec<NodeConfig>, Failure> {
    if !directory.cluster_toml().exists() {
        return Err(no_cluster(global, directory));
    }
    directory.check_owner()?;
    let mut found = Vec::new();
    for path in node_files(&directory.nodes()) {
        found.push(NodeConfig::read(&path)?);
    }
    if found.is_empty() {
        return Err(not_running(global));
    }
    found.sort_by_key(|config| config.node);
    Ok(found)
}

/// The addresses for clients, by node.
pub fn endpoints(
    global: &Global,
    directory: &ClusterDirectory,
) -> Result<Vec<(NodeId, Address)>, Failure> {
    let all = configurations(global, directory)?;
    Ok(all.into_iter().map(|config| (config.node, config.client)).collect())
}

/// The `node.toml` of every node that has one.
fn node_files(nodes: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(nodes).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("node.toml")).filter(|path| path.exists()).collect()
}

/// A connection to a cluster, with what is needed to explain its failures.
pub struct Cluster<'a> {
    pub client: Client,
    global: &'a Global,
    /// Present if the cluster is one of this machine's own.
    directory: Option<ClusterDirectory>,
}

/// Connects to the cluster: to `node` only if one is named.
pub async fn connect<'a>(
    global: &'a Global,
    reach: &Reach,
    node: Option<NodeId>,
) -> Result<Cluster<'a>, Failure> {
    let options = Options {
        timeout: reach.timeout,
        connect_timeout: reach.timeout.min(Options::default().connect_timeout),
        ..Options::default()
    };
    connect_with(global, reach, node, options).await
}

/// Like [`connect`], with other options.
pub async fn connect_with<'a>(
    global: &'a Global,
    reach: &Reach,
    node: Option<NodeId>,
    mut options: Options,
) -> Result<Cluster<'a>, Failure> {
    let given = given(global, reach, std::env::var("KVRAFT_ENDPOINTS").ok())?;
    let (addresses, directory) = if given.is_empty() {
        let directory = directory(global)?;
        let all = endpoints(global, &directory)?;
        (pick(&all, node)?, Some(directory))
    } else {
        (given, None)
    };
    if let Some(directory) = &directory
        && !listens(&directory.supervisor_address()).await
    {
        // Most likely nothing runs: do not wait long to find out.
        options.connect_timeout = options.connect_timeout.min(Duration::from_millis(300));
    }
    let cluster = |client| Cluster { client, global, directory: directory.clone() };
    let client = match Client::connect(&addresses, options).await {
        Ok(client) => client,
        Err(error) => return Err(explain(global, directory.as_ref(), error).await),
    };
    if directory.is_none()
        && let Some(node) = node
    {
        return narrow(cluster(client), node, reach).await;
    }
    Ok(cluster(client))
}

/// The endpoints that were given: on the command line, or, unless a cluster was named there, in the
/// environment.
fn given(
    global: &Global,
    reach: &Reach,
    environment: Option<String>,
) -> Result<Vec<Address>, Failure> {
    match environment {
        Some(text) if reach.endpoints.is_empty() && !global.is_named => text
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(|address| {
                address.parse().map_err(|e| Failure::usage(format!("KVRAFT_ENDPOINTS: {e}")))
            })
            .collect(),
        _ => Ok(reach.endpoints.clone()),
    }
}

/// Among given endpoints, keeps the one at which `node` listens.
async fn narrow<'a>(
    cluster: Cluster<'a>,
    node: NodeId,
    reach: &Reach,
) -> Result<Cluster<'a>, Failure> {
    let of = |status: &crate::client::EndpointStatus| status.node == Some(node);
    let Some(status) = cluster.client.endpoints().into_iter().find(of) else {
        return Err(Failure::usage(format!("none of the endpoints is node {node}")));
    };
    let options = Options { timeout: reach.timeout, ..Options::default() };
    let client = Client::connect(&[status.address], options).await?;
    Ok(Cluster { client, ..cluster })
}

fn pick(all: &[(NodeId, Address)], node: Option<NodeId>) -> Result<Vec<Address>, Failure> {
    let wanted = all.iter().filter(|(id, _)| node.is_none_or(|node| node == *id));
    let addresses: Vec<Address> = wanted.map(|(_, address)| address.clone()).collect();
    match (addresses.is_empty(), node) {
        (true, Some(node)) => {
            let ids: Vec<String> = all.iter().map(|(id, _)| id.to_string()).collect();
            Err(Failure::usage(format!("there is no node {node}; there are {}", ids.join(", "))))
        }
        _ => Ok(addresses),
    }
}

/// Whether somebody listens at `address`.
pub async fn listens(address: &Address) -> bool {
    crate::rpc::connect(address).await.is_ok()
}

impl Cluster<'_> {
    /// Makes a failure of a call a failure of the command: says who is missing and what to do.
    pub async fn explain(&self, error: ClientError) -> Failure {
        explain(self.global, self.directory.as_ref(), error).await
    }

    /// What the supervisor says of the cluster, if it is one of this machine and answers.
    pub async fn status(&self) -> Option<ClusterStatus> {
        ask(self.directory.as_ref()?).await.ok()
    }
}

/// Asks the supervisor, if one runs.
async fn ask(directory: &ClusterDirectory) -> Result<ClusterStatus, ControlError> {
    SupervisorClient::connect(&directory.supervisor_address()).await?.status().await
}

async fn explain(
    global: &Global,
    directory: Option<&ClusterDirectory>,
    error: ClientError,
) -> Failure {
    let nobody = error.trouble().is_some_and(|t| t.missing().count() == t.endpoints.len());
    let brief = error.brief();
    let failure = Failure::from(error);
    let Some(directory) = directory else { return failure };
    match ask(directory).await {
        Ok(status) => add_missing(global, Failure { message: brief, ..failure }, &status),
        Err(_) if nobody => not_running(global),
        Err(_) => failure,
    }
}

/// Adds which nodes are missing, where that may be why; `nobody` says that none could be reached.
pub async fn who_is_missing(
    global: &Global,
    directory: &ClusterDirectory,
    failure: Failure,
    nobody: bool,
) -> Failure {
    match ask(directory).await {
        Ok(status) => add_missing(global, failure, &status),
        Err(_) if nobody => not_running(global),
        Err(_) => failure,
    }
}

/// Adds which nodes are missing, as the supervisor knows them, and how to bring them back.
fn add_missing(global: &Global, mut failure: Failure, status: &ClusterStatus) -> Failure {
    if failure.exit != Exit::NoQuorum {
        return failure;
    }
    let flag = global.flag();
    let missing: Vec<_> = status.nodes.iter().filter(|n| n.state != State::Running).collect();
    if !missing.is_empty() {
        let list: Vec<String> =
            missing.iter().map(|n| format!("node {} is {}", n.node, n.state)).collect();
        let (all, need) = (status.nodes.len(), status.nodes.len() / 2 + 1);
        let rule = match all - missing.len() {
            // Whoever was asked may itself be among the missing.
            running if running >= need => format!("{running} of {all} run, which is enough"),
            _ => format!("{need} of {all} nodes must run"),
        };
        failure.message.push_str(&format!("\n       missing: {}; {rule}", list.join(", ")));
    }
    for node in missing {
        let id = node.node;
        match node.state {
            State::Stopped | State::CrashLooping => {
                failure.next.push(format!("kvctl{flag} node start {id}"));
            }
            State::Paused => failure.next.push(format!("kvctl{flag} node resume {id}")),
            _ => {}
        }
    }
    if failure.next.is_empty() {
        failure.next.push(format!("see how the nodes are: kvctl{flag} cluster status"));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    #[test]
    fn what_is_nearer_wins_flag_then_name_then_environment() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let global =
            |is_named| Global { name: Default::default(), is_named, output: Format::Table };
        let reach = |endpoints| Reach { endpoints, timeout: Duration::from_secs(1) };
        let environment = || Some("unix:/a, unix:/b,".to_owned());
        let of = |is_named, endpoints| given(&global(is_named), &reach(endpoints), environment());
        assert_eq!(of(true, vec![address("unix:/c")]).unwrap(), [address("unix:/c")]);
        assert_eq!(of(true, vec![]).unwrap(), []);
        assert_eq!(of(false, vec![]).unwrap(), ["unix:/a", "unix:/b"].map(address));
        let wrong = given(&global(false), &reach(vec![]), Some("nowhere".to_owned()));
        assert_eq!(wrong.unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_node_that_does_not_exist_is_named_with_those_that_do() {
        let all =
            [(NodeId(1), "unix:/1".parse().unwrap()), (NodeId(2), "unix:/2".parse().unwrap())];
        assert_eq!(pick(&all, Some(NodeId(2))).unwrap(), ["unix:/2".parse().unwrap()]);
        assert_eq!(pick(&all, None).unwrap().len(), 2);
        let failure = pick(&all, Some(NodeId(3))).unwrap_err();
        assert!(failure.message.contains("there are 1, 2"), "{}", failure.message);
    }
}
