//! The supervisor and its processes, with a shell script in the place of `kvnode`: it does on
//! request what a node does only on a bad day.
//!
//! The script never answers on a control socket, so its nodes stay `starting`; what is tested here
//! is who lives, who is started again, and what is left.
//!
//! Why this file is long: one stand-in, and every bad day that it plays.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use kvraft::config::{ClusterConfig, ClusterDirectory};
use kvraft::control::{
    Action, ClusterStatus, ControlError, Event, NodeState, Retired, Standing, State, Stopped,
    SupervisorClient,
};
use kvraft::supervisor::process::{self, Identity};
use kvraft::supervisor::receipt;
use kvraft::supervisor::state::{Retirement, StateFile};
use kvraft::types::NodeId;

const PATIENCE: Duration = Duration::from_secs(20);

/// It obeys files in its node's directory: `exit` (with what code to end at once), `stubborn` (do
/// not end on SIGTERM), `no-init` (refuse to be initialised).
const STAND_IN: &str = r#"#!/bin/sh
directory=$(dirname "$3")
if [ "$1" = init ]; then
    [ -e "$directory/no-init" ] && { echo "the disk is full of eels" >&2; exit 78; }
    [ -e "$directory/initialised" ] && { echo "initialised twice" >&2; exit 78; }
    echo "$@" >"$directory/initialised"
    exit 0
fi
if [ -e "$directory/exit" ]; then
    echo "log/7.seg is corrupt" >&2
    exit "$(cat "$directory/exit")"
fi
trap 'exit 0' TERM
[ -e "$directory/stubborn" ] && trap '' TERM
touch "$directory/up"
while :; do sleep 0.02; done
"#;

struct Cluster {
    directory: ClusterDirectory,
    programs: PathBuf,
    supervisor: Option<Child>,
    _temporary: tempfile::TempDir,
}

impl Cluster {
    /// Creates a cluster and starts nothing.
    fn create(nodes: u32) -> Cluster {
        let temporary = tempfile::tempdir().unwrap();
        let programs = temporary.path().join("bin");
        fs::create_dir(&programs).unwrap();
        fs::write(programs.join("kvnode"), STAND_IN).unwrap();
        fs::set_permissions(programs.join("kvnode"), fs::Permissions::from_mode(0o755)).unwrap();
        let directory = ClusterDirectory::at(temporary.path().join("cluster")).unwrap();
        directory.create().unwrap();
        let mut config = ClusterConfig::new("cluster".parse().unwrap(), nodes);
        config.supervisor.stop_grace_millis = 300;
        config.supervisor.backoff_min_millis = 10;
        fs::write(directory.cluster_toml(), config.to_commented_toml()).unwrap();
        Cluster { directory, programs, supervisor: None, _temporary: temporary }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvsupd"));
        command.arg("--directory").arg(self.directory.path()).stdin(Stdio::null());
        command.env("KVRAFT_BIN_DIR", &self.programs).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&mut self) {
        self.start_with(&[]);
    }

    fn start_with(&mut self, arguments: &[&str]) {
        assert!(self.supervisor.is_none());
        self.supervisor = Some(self.command().args(arguments).spawn().unwrap());
        wait_for("the supervisor's socket", || self.directory.supervisor_socket().exists());
    }

    fn up(nodes: u32) -> Cluster {
        let mut cluster = Cluster::create(nodes);
        cluster.start();
        cluster.wait("every node to run", |status| {
            status.nodes.iter().all(|node| cluster.is_up(node))
        });
        cluster
    }

    /// The process is past its traps.
    fn is_up(&self, node: &NodeState) -> bool {
        node.pid.is_some() && self.directory.node(node.node).path().join("up").exists()
    }

    fn ask<T, F: Future<Output = T>>(&self, ask: impl FnOnce(SupervisorClient) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = self.directory.supervisor_address();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let end = Instant::now() + PATIENCE;
            loop {
                // A stale socket of a supervisor that was killed is there before the new one's.
                match SupervisorClient::connect(&address).await {
                    Ok(client) => return ask(client).await,
                    Err(error) => assert!(Instant::now() < end, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn status(&self) -> ClusterStatus {
        self.ask(|client| async move { client.status().await.unwrap() })
    }

    fn events(&self) -> Vec<Event> {
        let ask = |client: SupervisorClient| async move {
            client.events(0, 1000, Duration::ZERO).await.unwrap()
        };
        self.ask(ask)
    }

    fn act(&self, node: u64, action: Action) -> Result<NodeId, String> {
        self.ask(|client| async move { client.act(Some(NodeId(node)), action, true).await })
            .map_err(|error| error.to_string())
    }

    fn down(&mut self) -> Vec<Stopped> {
        let stopped = self.ask(|client| async move { client.down(None).await.unwrap() });
        assert!(self.supervisor.take().unwrap().wait().unwrap().success());
        assert!(receipt::look(&self.directory).unwrap().is_clean());
        stopped
    }

    /// SIGKILL, as a bad day has it.
    fn kill_supervisor(&mut self) {
        let mut supervisor = self.supervisor.take().unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
    }

    fn wait(&self, what: &str, test: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if test(&status) {
                return status;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {status:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn node(&self, id: u64) -> NodeState {
        self.status().node(NodeId(id)).unwrap().clone()
    }

    fn file(&self, node: u64, name: &str) -> PathBuf {
        self.directory.node(NodeId(node)).path().join(name)
    }

    fn processes(&self) -> Vec<Identity> {
        let mut found = process::running("kvsupd", self.directory.path()).unwrap();
        for node in 1..=9 {
            let toml = self.directory.node(NodeId(node)).node_toml();
            found.extend(process::running("kvnode", &toml).unwrap());
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
        for process in self.processes() {
            send(process.pid, nix::sys::signal::SIGKILL);
        }
    }
}

fn send(pid: u32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal);
}

fn wait_for(what: &str, test: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn pids(status: &ClusterStatus) -> Vec<u32> {
    status.nodes.iter().filter_map(|node| node.pid).collect()
}

#[test]
fn a_new_supervisor_adopts_the_nodes_of_one_that_was_killed() {
    let mut cluster = Cluster::up(3);
    let before = pids(&cluster.status());
    assert_eq!(before.len(), 3);
    cluster.kill_supervisor();
    cluster.start();
    let status = cluster.status();
    assert_eq!(pids(&status), before, "nobody was interrupted");
    assert!(status.nodes.iter().all(|node| node.adopted));
    // An adopted node is watched like one's own, except that nobody says how it ended.
    send(before[0], nix::sys::signal::SIGKILL);
    let status = cluster.wait("node 1 to be back", |status| {
        status.nodes[0].pid.is_some_and(|pid| pid != before[0])
    });
    assert_eq!(status.nodes[0].last_exit.as_deref(), Some("unknown"));
    assert_eq!(status.nodes[0].restarts, 1);
    assert!(!status.nodes[0].adopted);
    let stopped = cluster.down();
    assert!(stopped.iter().all(|it| it.how == "stopped"), "{stopped:?}");
    assert!(cluster.processes().is_empty());
}

#[test]
fn a_node_that_no_file_knows_is_found_and_adopted() {
    let mut cluster = Cluster::up(2);
    let before = pids(&cluster.status());
    cluster.kill_supervisor();
    // As if it had died between the start of a node and writing that down.
    let path = cluster.directory.supervisor_json();
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["nodes"]["2"]["process"] = serde_json::Value::Null;
    fs::write(&path, json.to_string()).unwrap();
    cluster.start();
    assert_eq!(pids(&cluster.status()), before);
    cluster.down();
}

#[test]
fn deaths_are_counted_and_kills_on_purpose_are_not() {
    let mut cluster = Cluster::up(1);
    for _ in 0..6 {
        let before = cluster.node(1).pid;
        assert_eq!(cluster.act(1, Action::Kill), Ok(NodeId(1)));
        cluster.wait("its successor", |status| {
            status.nodes[0].pid.is_some() && status.nodes[0].pid != before
        });
    }
    let node = cluster.node(1);
    assert_eq!((node.restarts, node.state), (0, State::Starting));
    assert_eq!(node.last_exit.as_deref(), Some("signal 9 (SIGKILL)"));
    fs::write(cluster.file(1, "exit"), "1").unwrap();
    send(node.pid.unwrap(), nix::sys::signal::SIGKILL);
    let status = cluster.wait("its being given up", |it| it.nodes[0].state == State::CrashLooping);
    let problem = status.nodes[0].problem.clone().unwrap();
    assert!(problem.starts_with("5 deaths within 30s"), "{problem}");
    assert!(problem.ends_with("log/7.seg is corrupt"), "{problem}");
    // It waits for a person, whoever is its supervisor.
    let state = || fs::read_to_string(cluster.directory.supervisor_json()).unwrap();
    wait_for("its being given up to be written down", || state().contains("5 deaths within"));
    cluster.kill_supervisor();
    cluster.start();
    assert_eq!(cluster.node(1).state, State::CrashLooping);
    assert!(cluster.node(1).problem.is_some_and(|again| again == problem));
    cluster.down();
}

#[test]
fn a_refusal_to_run_is_final_and_says_why() {
    let mut cluster = Cluster::up(1);
    fs::write(cluster.file(1, "exit"), "78").unwrap();
    send(cluster.node(1).pid.unwrap(), nix::sys::signal::SIGKILL);
    let status = cluster.wait("its being given up", |it| it.nodes[0].state == State::CrashLooping);
    assert_eq!(status.nodes[0].problem.as_deref(), Some("it refuses to run: log/7.seg is corrupt"));
    let error = cluster.act(1, Action::Start).unwrap_err();
    assert!(error.contains("is crash-looping: it refuses to run"), "{error}");
    cluster.down();
}

#[test]
fn a_node_that_cannot_be_initialised_says_why_and_is_initialised_once() {
    let mut cluster = Cluster::create(1);
    cluster.directory.node(NodeId(1)).create().unwrap();
    fs::write(cluster.file(1, "no-init"), "").unwrap();
    // `nodes/` without `supervisor.json` is no new cluster: nothing is started.
    let output = cluster.command().stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is missing although"), "{said}");

    let config = ClusterConfig::read(&cluster.directory.cluster_toml()).unwrap();
    let state = StateFile::new(&config, &cluster.directory).unwrap();
    state.write(&cluster.directory.supervisor_json()).unwrap();
    cluster.start();
    let status = cluster.wait("its being given up", |it| it.nodes[0].state == State::CrashLooping);
    let problem = status.nodes[0].problem.clone().unwrap();
    assert!(problem.ends_with("the disk is full of eels"), "{problem}");
    cluster.down();

    fs::remove_file(cluster.file(1, "no-init")).unwrap();
    for _ in 0..2 {
        // The second time it is not initialised again: the stand-in would refuse.
        cluster.start();
        cluster.wait("the node", |status| cluster.is_up(&status.nodes[0]));
        cluster.down();
    }
}

#[test]
fn a_stopped_node_stays_down_until_started_or_the_next_up() {
    let mut cluster = Cluster::up(2);
    assert_eq!(cluster.act(2, Action::Stop), Ok(NodeId(2)));
    assert_eq!(cluster.node(2).state, State::Stopped);
    assert!(cluster.act(2, Action::Kill).unwrap_err().contains("it is stopped"));
    assert!(cluster.act(3, Action::Kill).unwrap_err().contains("the nodes are 1 to 2"));
    cluster.kill_supervisor();
    cluster.start();
    assert_eq!(cluster.node(2).state, State::Stopped);
    let stopped = cluster.down();
    assert_eq!(stopped[1].how, "was not running");
    cluster.start();
    cluster.wait("node 2", |status| status.nodes[1].pid.is_some());
    cluster.down();
}

#[test]
fn a_paused_node_is_known_as_paused_and_ends_with_the_others() {
    let mut cluster = Cluster::up(2);
    assert_eq!(cluster.act(1, Action::Pause), Ok(NodeId(1)));
    assert_eq!(cluster.node(1).state, State::Paused);
    cluster.kill_supervisor();
    cluster.start();
    assert_eq!(cluster.node(1).state, State::Paused);
    assert_eq!(cluster.act(1, Action::Resume), Ok(NodeId(1)));
    assert_eq!(cluster.node(1).state, State::Running);
    assert_eq!(cluster.act(1, Action::Pause), Ok(NodeId(1)));
    assert_eq!(cluster.down()[0].how, "stopped");
}

#[test]
fn who_lives_and_does_not_answer_is_reported_and_not_killed() {
    let mut cluster = Cluster::create(1);
    let mut config = ClusterConfig::read(&cluster.directory.cluster_toml()).unwrap();
    config.supervisor.unresponsive_after_millis = 100;
    fs::write(cluster.directory.cluster_toml(), config.to_commented_toml()).unwrap();
    cluster.start();
    let before = cluster.wait("the node", |status| cluster.is_up(&status.nodes[0]));
    // An adopted node is taken to be well until it shows otherwise.
    cluster.kill_supervisor();
    cluster.start();
    let silent = cluster.wait("the report", |status| status.nodes[0].state == State::Unresponsive);
    assert_eq!(pids(&silent), pids(&before));
    assert_eq!(
        silent.nodes[0].problem.as_deref(),
        Some("alive, but without an answer for over 100ms")
    );
    // Stopped by somebody else it is paused, and that is why it does not answer.
    send(cluster.node(1).pid.unwrap(), nix::sys::signal::SIGSTOP);
    cluster.wait("the pause", |status| status.nodes[0].state == State::Paused);
    cluster.down();
}

#[test]
fn who_ignores_sigterm_is_killed_after_the_grace() {
    let mut cluster = Cluster::create(2);
    cluster.start();
    // Its first life may be without the file.
    wait_for("node 2's directory", || cluster.directory.node(NodeId(2)).path().exists());
    fs::write(cluster.file(2, "stubborn"), "").unwrap();
    cluster.wait("nodes", |status| status.nodes.iter().all(|node| cluster.is_up(node)));
    fs::remove_file(cluster.file(2, "up")).unwrap();
    cluster.act(2, Action::Kill).unwrap();
    cluster.wait("node 2", |status| cluster.is_up(&status.nodes[1]));
    let stopped = cluster.down();
    let how: Vec<&str> = stopped.iter().map(|stopped| stopped.how.as_str()).collect();
    assert_eq!(how, ["stopped", "killed after 300ms"]);
}

#[test]
fn a_second_supervisor_is_refused_and_harms_nothing() {
    let mut cluster = Cluster::up(1);
    let before = pids(&cluster.status());
    let output = cluster.command().stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another supervisor keeps"), "{said}");
    assert_eq!(pids(&cluster.status()), before);
    cluster.down();
}

#[test]
fn what_a_power_cut_left_is_recognised_and_nobody_else_is_harmed() {
    let mut cluster = Cluster::up(2);
    cluster.down();
    // The file of a machine that lost power: processes of an earlier boot, with numbers that
    // belong to somebody else by now, and sockets of nobody.
    let path = cluster.directory.supervisor_json();
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut stale = Identity::of(bystander.id()).unwrap().unwrap();
    stale.boot = "00000000-0000-0000-0000-000000000000".into();
    json["mode"] = "up".into();
    json["supervisor"] = serde_json::to_value(&stale).unwrap();
    json["nodes"]["1"]["process"] = serde_json::to_value(&stale).unwrap();
    fs::write(&path, json.to_string()).unwrap();
    let socket = cluster.directory.node(NodeId(1)).socket("peer");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    cluster.start();
    let status = cluster.wait("nodes", |status| pids(status).len() == 2);
    assert!(!pids(&status).contains(&bystander.id()));
    assert!(!socket.exists(), "the stale socket is gone");
    assert!(cluster.events().iter().any(|event| event.kind == "stale-state"));
    cluster.down();
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn sigterm_leaves_the_nodes_and_in_the_foreground_takes_them_along() {
    let mut cluster = Cluster::up(2);
    let before = pids(&cluster.status());
    send(cluster.supervisor.as_ref().unwrap().id(), nix::sys::signal::SIGTERM);
    assert!(cluster.supervisor.take().unwrap().wait().unwrap().success());
    // The list of processes may show a moment of the past.
    wait_for("the two nodes alone", || cluster.processes().len() == 2);
    cluster.start_with(&["--foreground"]);
    assert_eq!(pids(&cluster.status()), before);
    send(cluster.supervisor.as_ref().unwrap().id(), nix::sys::signal::SIGINT);
    assert!(cluster.supervisor.take().unwrap().wait().unwrap().success());
    assert!(receipt::look(&cluster.directory).unwrap().is_clean());
}

#[test]
fn a_throw_away_cluster_ends_with_its_owner() {
    let mut cluster = Cluster::create(2);
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    cluster.start_with(&["--until-exit-of", &owner.id().to_string(), "--throw-away"]);
    cluster.wait("nodes", |status| pids(status).len() == 2);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(cluster.supervisor.take().unwrap().wait().unwrap().success());
    assert!(!cluster.directory.path().exists());
    assert!(cluster.processes().is_empty());
}

#[test]
fn the_history_tells_what_happened_and_can_be_waited_for() {
    let mut cluster = Cluster::up(1);
    let last = cluster.events().last().unwrap().sequence;
    let news = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cluster.ask(|client| async move {
                client.events(last, 1, Duration::from_secs(20)).await.unwrap()
            })
        });
        cluster.act(1, Action::Kill).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!((news[0].sequence, news[0].kind.as_str()), (last + 1, "node-killed"));
    cluster.down();
    cluster.start();
    cluster.wait("the node", |status| cluster.is_up(&status.nodes[0]));
    let events = cluster.events();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = [
        "supervisor-started",
        "node-started",
        "node-killed",
        "node-exited",
        "node-started",
        "cluster-going-down",
        "node-stopped",
        "cluster-down",
        "supervisor-started",
        "node-started",
    ];
    assert_eq!(kinds, expected);
    assert!(events.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence));
    cluster.down();
}

#[test]
fn without_a_leader_nothing_is_created_for_a_node_that_is_to_join() {
    let mut cluster = Cluster::up(2);
    let patience = Duration::from_millis(200);
    let added = cluster.ask(|client| async move { client.member_add(None, false, patience).await });
    assert!(matches!(&added, Err(ControlError::Unfinished(why)) if why == "there is no leader"));
    assert_eq!(cluster.status().nodes.len(), 2);
    assert!(!cluster.directory.node(NodeId(3)).path().exists());
    let finish = |client: SupervisorClient| async move {
        client.member_add(Some(NodeId(2)), true, patience).await
    };
    let why = cluster.ask(finish).unwrap_err().to_string();
    assert_eq!(why, "node 2 was added already");
    cluster.down();
}

#[test]
fn who_joins_is_started_again_and_who_was_removed_never() {
    let mut cluster = Cluster::up(2);
    cluster.down();
    // As a supervisor left it that ended in the middle of adding node 4, after node 3 was removed.
    let mut state = StateFile::read(&cluster.directory).unwrap().unwrap();
    assert_eq!(state.reserve(&cluster.directory, NodeId(0)).unwrap(), NodeId(3));
    state.nodes.get_mut(&NodeId(3)).unwrap().retired =
        Some(Retirement { since_millis: 7, purged: true });
    assert_eq!(state.reserve(&cluster.directory, NodeId(0)).unwrap(), NodeId(4));
    state.write(&cluster.directory.supervisor_json()).unwrap();
    cluster.start();
    let status = cluster.wait("all but node 3", |status| {
        status.nodes.len() == 3 && status.nodes.iter().all(|node| cluster.is_up(node))
    });
    let joining: Vec<_> = status.nodes.iter().map(|node| node.standing).collect();
    assert_eq!(joining, [Standing::Member, Standing::Member, Standing::Joining]);
    assert_eq!(status.retired, [Retired { node: NodeId(3), since_millis: 7, purged: true }]);
    let arguments = fs::read_to_string(cluster.file(4, "initialised")).unwrap();
    assert!(arguments.ends_with("--join\n"), "{arguments}");
    let toml = fs::read_to_string(cluster.file(4, "node.toml")).unwrap();
    assert!(toml.contains("[join]") && !toml.contains("nodes/3/"), "{toml}");
    let why = cluster.act(3, Action::Start).unwrap_err();
    assert!(why.contains("node 3 was removed") && why.ends_with("are 1, 2, 4"), "{why}");
    assert_eq!(cluster.down().len(), 3);
}
