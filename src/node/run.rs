//! A node's life, from its configuration to its end.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, LocalSet};
use tracing_subscriber::EnvFilter;

use super::chronicle::Chronicle;
use super::client_metrics::ClientMetrics;
use super::client_server::ClientServer;
use super::clock::{Clock, time_passed};
use super::control_server::ControlServer;
use super::desk::{Desk, DeskLimits};
use super::event_loop::{DiskBell, EventLoop, complaints};
use super::faults::{Faults, read_table};
use super::grpc_backend::{Changes, GrpcBackend};
use super::inbox::Inbox;
use super::metrics::{NodeMetrics, Seen};
use super::operator_desk::OperatorDesk;
use super::order_metrics::OrderMetrics;
use super::peer_server::PeerServer;
use super::peers::Peers;
use super::reads::Reads;
use super::recorder::{self, Recorder};
use super::sender::PEER_LIMITS;
use super::status::{Window, readiness};
use super::stop::Stop;
use super::watch_metrics::WatchMetrics;
use super::{DirectoryLock, LogFile, NodeError};
use crate::config::{Address, NodeConfig};
use crate::consensus::raft::Raft;
use crate::consensus::{Config, Lease};
use crate::control::{Served, unix_millis};
use crate::grpc::watch::{Hub, HubOptions};
use crate::grpc::{self, Backends, GrpcLimits, Identity, Meter, MetricsPage};
use crate::kv::Announcement;
use crate::observe::log::{self, Standing};
#[cfg(feature = "otel")]
use crate::observe::trace;
use crate::observe::{self, Guest, HttpError, HttpLimits, HttpServer, Observed, Registry, VERSION};
use crate::quota::Quota;
use crate::replica::{Options, Replica};
use crate::rpc::{Limits, Server, ServerCounters, ServerOptions, listen_within};
use crate::storage::{Disk, FileDisk, LogOptions};
use crate::types::Random;

/// How long an address that is taken is tried again: whoever had it may be on the way out.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);

/// Requests that a replica works on at once, of clients and of relaying nodes.
const MAX_REQUESTS: usize = 32_768;

/// A segment of the log holds at least so many of the largest messages' entries.
const MESSAGES_A_SEGMENT: usize = 4;

/// At the end, for what a collector has not been told yet. Whoever stops a node waits for it.
#[cfg(feature = "otel")]
const COLLECTOR_PATIENCE: Duration = Duration::from_millis(500);

/// Open connections, by socket.
const MAX_CLIENTS: usize = 1024;
const MAX_PEERS: usize = 64;
const MAX_OPERATORS: usize = 32;

/// Runs the node that `config` describes, until it is told to stop or must.
pub fn run(config: NodeConfig) -> Result<(), NodeError> {
    let _lock = DirectoryLock::take(&config.directory)?;
    let standing = start_log(&config)?;
    tracing::info!(
        cluster = %config.cluster_name,
        pid = std::process::id(),
        durability = config.durability.as_str(),
        "kvnode {VERSION} starts"
    );
    if let Some(error) = config.lease_clock_error_millis {
        tracing::info!("leaders serve reads by a lease; clocks may differ by {error} ms at most");
    }
    #[cfg(feature = "otel")]
    if let Err(error) = trace::export::begin("kvnode", Some(config.node)) {
        tracing::error!("nobody is told of requests' paths: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = LocalSet::new().block_on(&runtime, live(config, standing));
    match &ended {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!("stopped: {error}"),
    }
    #[cfg(feature = "otel")]
    trace::export::end(COLLECTOR_PATIENCE);
    ended
}

/// From here on, what is worth knowing goes to `node.log`; panics too. What comes back is to be
/// told where the node stands.
fn start_log(config: &NodeConfig) -> Result<Standing, NodeError> {
    let path = config.directory.join("node.log");
    let file = LogFile::open(&path, config.log_format)
        .map_err(|source| NodeError::LogFile { path, source })?;
    let filter = EnvFilter::try_from_env("KVRAFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let standing = Standing::of(config.node);
    let subscriber = log::subscriber(config.log_format, filter, standing.clone(), file, false);
    // Somebody who uses the library may have a subscriber already; then it hears us.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let to_standard_error = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        to_standard_error(panic);
    }));
    Ok(standing)
}

/// What the parts of a node share.
struct Node<D: Disk> {
    config: NodeConfig,
    window: Rc<Window<D>>,
    inbox: Rc<Inbox>,
    desk: Rc<Desk>,
    operators: Rc<OperatorDesk>,
    peers: Rc<RefCell<Peers>>,
    peer_server: Rc<PeerServer>,
    faults: Rc<Faults>,
    stop: Rc<Stop>,
    registry: Rc<Registry>,
    metrics: Rc<NodeMetrics>,
    meter: Rc<Meter>,
    hub: Rc<Hub>,
}

async fn live(config: NodeConfig, standing: Standing) -> Result<(), NodeError> {
    let inbox = Rc::new(Inbox::default());
    let disk_bell = DiskBell::new(inbox.bell().clone());
    let (node, complaint) = (open(config, inbox, &disk_bell)?, complaints());
    let (_servers, http) = serve(&node).await?;
    let _faults = spawn(node.faults.clone().keep());
    let _hub = spawn(node.hub.clone().run());
    let _signals = Aborting(tokio::task::spawn_local(hear(node.stop.clone())?).abort_handle());
    let event_loop = EventLoop {
        replica: node.window.replica.clone(),
        clock: node.window.clock.clone(),
        inbox: node.inbox.clone(),
        desk: node.desk.clone(),
        operators: node.operators.clone(),
        peers: node.peers.clone(),
        disk: disk_bell,
        stop: node.stop.clone(),
        metrics: node.metrics.clone(),
        hub: node.hub.clone(),
        complaint,
        chronicle: RefCell::new(Chronicle::new(standing)),
        #[cfg(feature = "otel")]
        paths: RefCell::new(super::paths::Paths::new(node.config.node)),
        stopping_since: Cell::new(None),
    };
    // A task of its own, so that a panic in it can be told from all else.
    let ended = tokio::task::spawn_local(event_loop.run()).await;
    http.stop().await;
    match ended {
        Ok(ended) => Ok(ended?),
        Err(error) => Err(NodeError::Panicked(error.to_string())),
    }
}

/// Recovers the replica from the disk.
fn open(
    config: NodeConfig,
    inbox: Rc<Inbox>,
    disk_bell: &DiskBell,
) -> Result<Node<FileDisk>, NodeError> {
    let clock = Clock::start();
    let directory = config.directory.join("log");
    let bell = disk_bell.clone();
    let disk = FileDisk::open(&directory, config.durability, Box::new(move || bell.ring()))?;
    // What is wrong with the disk is wrong from the start.
    let (table, ailment) = (read_table(&config.directory)?, disk.ailment());
    ailment.set(table.trouble(unix_millis()));
    let options = options(&config);
    #[cfg(feature = "museum")]
    let options = options.with_bugs(super::museum::bugs().map_err(NodeError::Museum)?);
    let (mut replica, report) = Replica::<Raft, _>::open(clock.now(), options, disk)
        .map_err(|source| NodeError::Log { directory, source })?;
    if let Some(tear) = &report.tear {
        tracing::warn!("the last stop cut a write short, which nobody was told of: {tear:?}");
    }
    if let Some(first) = report.damaged.first() {
        let (count, index) = (report.damaged.len(), first.index);
        tracing::warn!(
            "{count} entries of the log are damaged, the first at index {index} ({}, offset {}): \
             this node asks the others for them before it takes part",
            first.file,
            first.offset
        );
    }
    tracing::info!(last_index = %report.last_index, "recovered the log in {:?}", clock.uptime());
    if config.record {
        let place = config.directory.join("record");
        tracing::info!("keeps a record of its core's life in {}", place.display());
        let options = recorder::Options::new(place, config.cluster, config.node);
        replica.record(Box::new(Recorder::start(&options)?));
    }
    let (registry, meter) = (Registry::new("kvnode")?, Rc::new(Meter::new()));
    let random = Random::from_seed(rand::random());
    let metrics = NodeMetrics::new(&registry, config.node, meter.clone())?;
    metrics.found_corrupt(report.damaged.len());
    let (strangers, delivery) = (config.join_addresses(), metrics.delivery().clone());
    let way = Duration::from_millis(config.link_delay_millis);
    let peers = Peers::new(config.cluster, config.node, random, strangers, delivery).with_way(way);
    let peers = Rc::new(RefCell::new(peers));
    let faults = Faults::new(table, peers.clone(), clock.clone(), ailment, inbox.clone());
    let peer_server = PeerServer::new(config.cluster, config.node, inbox.clone(), peers.clone());
    let replica = Rc::new(RefCell::new(replica));
    let window = Rc::new(Window { replica, clock, config: config.clone(), faults: faults.clone() });
    let changes = Rc::new(Changes { window: window.clone() });
    Ok(Node {
        window,
        hub: Rc::new(Hub::new(changes, HubOptions::default())),
        faults,
        config,
        desk: Rc::new(Desk::new(inbox.clone(), DeskLimits::default())),
        operators: Rc::new(OperatorDesk::new(inbox.clone())),
        peers,
        peer_server: Rc::new(peer_server),
        stop: Rc::new(Stop::new(inbox.bell().clone())),
        metrics: Rc::new(metrics),
        meter,
        registry: Rc::new(registry),
        inbox,
    })
}

fn options(config: &NodeConfig) -> Options {
    let millis = Duration::from_millis;
    let consensus = Config {
        election_timeout: millis(config.election_timeout_min_millis)
            ..millis(config.election_timeout_max_millis),
        heartbeat_interval: millis(config.heartbeat_millis),
        keep_entries: config.keep_entries,
        lease: config.lease_clock_error_millis.map(|error| Lease { clock_error: millis(error) }),
        ..Config::new(config.node, rand::random())
    };
    // A message's entries must fit what a follower's log surely has room for, or it would drop
    // them for ever.
    let max_message_bytes =
        consensus.max_message_bytes.min(config.segment_bytes as usize / MESSAGES_A_SEGMENT);
    let consensus = Config { max_message_bytes, ..consensus };
    let log = LogOptions { segment_bytes: config.segment_bytes, ..LogOptions::default() };
    Options {
        log,
        max_requests: MAX_REQUESTS,
        snapshot_log_bytes: config.snapshot_log_bytes,
        retention: config.history,
        quota: config.quota,
        announcement: Some(announcement(config)),
        stopwatch: Some(time_passed),
        ..Options::new(config.cluster, consensus)
    }
}

/// What the others are told of this node.
fn announcement(config: &NodeConfig) -> Announcement {
    Announcement {
        node: config.node,
        name: format!("node-{}", config.node),
        client_urls: config.grpc.map(|address| format!("http://{address}")).into_iter().collect(),
    }
}

/// A task that ends with this value.
struct Aborting(AbortHandle);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens every socket.
async fn serve<D: Disk + 'static>(
    node: &Node<D>,
) -> Result<(Vec<Aborting>, HttpServer), NodeError> {
    let mut servers = Vec::new();
    let mut sockets = Vec::new();
    let peer_server = node.peer_server.clone();
    let peer = bind(&node.config.peer, "peers", MAX_PEERS, PEER_LIMITS).await?;
    sockets.push(("peer", peer.counters()));
    servers.push(spawn(peer.run(move || peer_server.capability())));

    let metrics = Rc::new(ClientMetrics::new(&node.registry)?);
    let (window, peers) = (node.window.clone(), node.peers.clone());
    let (clients, figures) = (metrics.clone(), node.metrics.clone());
    let control = Rc::new(ControlServer {
        status: Box::new(move || {
            let (commits, commit_micros) = figures.commits();
            let served = Served { commits, commit_micros, ..clients.served() };
            window.node_status(peers.borrow().traffic(), served)
        }),
        stop: node.stop.clone(),
        operators: node.operators.clone(),
        faults: node.faults.clone(),
        metrics: OrderMetrics::new(&node.registry)?,
        directory: node.config.directory.clone(),
    });
    let server = bind(&node.config.control, "operators", MAX_OPERATORS, Limits::default()).await?;
    sockets.push(("control", server.counters()));
    servers.push(spawn(server.run(move || control.capability())));

    let requests = metrics.clone();
    let (desk, window) = (node.desk.clone(), node.window.clone());
    let client = bind(&node.config.client, "clients", MAX_CLIENTS, Limits::default()).await?;
    sockets.push(("client", client.counters()));
    let greeting: super::client_server::Greeting = Rc::new(move || window.hello());
    servers
        .push(spawn(client.run(move || {
            ClientServer::capability(desk.clone(), greeting.clone(), metrics.clone())
        })));

    let observed = Observer {
        window: node.window.clone(),
        metrics: node.metrics.clone(),
        peers: node.peers.clone(),
        peer_server: node.peer_server.clone(),
        hub: node.hub.clone(),
        watch_metrics: WatchMetrics::new(&node.registry)?,
        sockets,
    };
    let observed: Rc<dyn Observed> = Rc::new(observed);
    let mut guest: Option<Rc<dyn Guest>> = None;
    if let Some(address) = node.config.grpc {
        let (server, tasks) = serve_grpc(node, address, requests, observed.clone()).await?;
        servers.extend(tasks);
        guest = Some(server);
    }
    let http = serve_http(node, observed, guest).await?;
    Ok((servers, http))
}

fn spawn(server: impl Future<Output = ()> + 'static) -> Aborting {
    Aborting(tokio::task::spawn_local(server).abort_handle())
}

async fn bind(
    address: &Address,
    whom: &'static str,
    max_connections: usize,
    limits: Limits,
) -> Result<Server, NodeError> {
    let listener = listen_within(address, LISTEN_PATIENCE).await?;
    Ok(Server::new(listener, ServerOptions { whom, max_connections, limits }))
}

/// etcd's API, on a socket of its own; its gateway is a guest on the HTTP port, too.
async fn serve_grpc<D: Disk + 'static>(
    node: &Node<D>,
    address: SocketAddr,
    metrics: Rc<ClientMetrics>,
    observed: Rc<dyn Observed>,
) -> Result<(Rc<grpc::Server>, [Aborting; 2]), NodeError> {
    let listener = listen_within(&Address::Tcp(address), LISTEN_PATIENCE).await?;
    let no_tcp = || std::io::Error::other(format!("{address} is no TCP address"));
    let listener = listener.into_tcp().ok_or_else(no_tcp)?;
    let identity = Rc::new(Identity {
        cluster: node.config.cluster,
        node: node.config.node,
        url: format!("http://{address}"),
    });
    let (desk, window, hub) = (node.desk.clone(), node.window.clone(), node.hub.clone());
    let operators = node.operators.clone();
    let reads = Rc::new(Reads::new(desk.clone()));
    let asking = spawn(reads.clone().run());
    let complaint = Rc::new(complaints());
    let backends: Backends = Rc::new(move || {
        Rc::new(GrpcBackend {
            desk: desk.clone(),
            share: Rc::default(),
            reads: reads.clone(),
            window: window.clone(),
            operators: operators.clone(),
            metrics: metrics.clone(),
            identity: identity.clone(),
            hub: hub.clone(),
            complaint: complaint.clone(),
        })
    });
    let registry = node.registry.clone();
    let page: MetricsPage = Rc::new(move || observe::metrics(&registry, &*observed));
    let server =
        Rc::new(grpc::Server::new(GrpcLimits::default(), backends, page, node.meter.clone()));
    Ok((server.clone(), [asking, spawn(server.serve(listener))]))
}

/// Like the other sockets, an address that is taken is tried again for a while.
async fn serve_http<D: Disk>(
    node: &Node<D>,
    observed: Rc<dyn Observed>,
    guest: Option<Rc<dyn Guest>>,
) -> Result<HttpServer, NodeError> {
    const RETRY: Duration = Duration::from_millis(100);
    let end = tokio::time::Instant::now() + LISTEN_PATIENCE;
    loop {
        let (registry, observed) = (node.registry.clone(), observed.clone());
        let (address, limits) = (node.config.http, HttpLimits::default());
        match HttpServer::start(address, limits, registry, observed, guest.clone()) {
            Err(HttpError::Listen { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() + RETRY < end =>
            {
                tokio::time::sleep(RETRY).await;
            }
            other => return Ok(other?),
        }
    }
}

/// Asks the node to stop at the first SIGTERM or SIGINT.
fn hear(stop: Rc<Stop>) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => stop.ask("SIGTERM"),
            _ = interrupt.recv() => stop.ask("SIGINT"),
        }
    })
}

/// What `/metrics` and `/ready` look at.
struct Observer<D: Disk> {
    window: Rc<Window<D>>,
    metrics: Rc<NodeMetrics>,
    peers: Rc<RefCell<Peers>>,
    peer_server: Rc<PeerServer>,
    hub: Rc<Hub>,
    watch_metrics: WatchMetrics,
    sockets: Vec<(&'static str, Rc<ServerCounters>)>,
}

impl<D: Disk> Observed for Observer<D> {
    fn refresh(&self) {
        let status = self.window.status();
        self.metrics.refresh(&Seen {
            now: self.window.clock.now(),
            ready: readiness(&status).is_ok(),
            status: &status,
            quota: match self.window.config.quota {
                Quota::Bytes(bytes) => Some(bytes),
                Quota::Off => None,
            },
            peers: &self.peers.borrow(),
            received: &self.peer_server.received(),
            refused_batches: self.peer_server.refused(),
            sockets: &self.sockets,
        });
        self.watch_metrics.refresh(&self.hub.figures());
    }

    fn ready(&self) -> Result<(), String> {
        readiness(&self.window.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterConfig, ClusterName, Timings};

    #[test]
    fn leases_are_off_unless_their_bound_is_declared() {
        let name: ClusterName = "x".parse().unwrap();
        let mut cluster = ClusterConfig::new(name, 3);
        let lease = |cluster: &ClusterConfig| {
            let mut node = node_config();
            cluster.tuned(node.node).apply_to(&mut node);
            options(&node).consensus.lease
        };
        assert_eq!(lease(&cluster), None);
        cluster.timings = Timings { lease_clock_error_millis: Some(7), ..Timings::default() };
        assert_eq!(lease(&cluster), Some(Lease { clock_error: Duration::from_millis(7) }));
    }

    fn node_config() -> NodeConfig {
        let text = "cluster_name = \"x\"\ncluster = 9\nnode = 2\ndirectory = \"/d\"\n\
                    peer = \"unix:/d/peer\"\nclient = \"unix:/d/client\"\n\
                    control = \"unix:/d/control\"\nhttp = \"127.0.0.1:1\"\n";
        toml::from_str(text).unwrap()
    }
}
