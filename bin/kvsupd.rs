//! The supervisor of one cluster. All it does is in [`kvraft::supervisor`].

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kvraft::config::{ClusterConfig, ClusterDirectory, ClusterName, Home};
use kvraft::observe::log;
use kvraft::supervisor::{Ended, Options, guard, launch, run};

const EXAMPLES: &str = "\
`kvctl cluster up` starts it for you. By hand:
  kvsupd                                the cluster `default`; its nodes outlive it
  kvsupd --name lab --foreground        another one; Ctrl-C takes the whole cluster down
  kvsupd --directory /srv/kvraft/lab    one that is in no usual place

Signals:
  SIGTERM, SIGINT   without --foreground: it ends, the nodes run on, and the next supervisor adopts
                    them; with --foreground: the cluster is taken down

Exit codes: 0 ended as asked, 1 failed, 2 wrong usage";

/// Keeps the nodes of one kvraft cluster running.
///
/// The cluster must have been created (`kvctl cluster up` does).
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// The cluster's name; its directory is in $KVRAFT_HOME, $XDG_STATE_HOME/kvraft, or
    /// ~/.local/state/kvraft
    #[arg(long, default_value = ClusterName::DEFAULT)]
    name: ClusterName,
    /// The cluster's directory, wherever it is
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    directory: Option<PathBuf>,
    /// Take the cluster down on SIGINT and SIGTERM
    #[arg(long)]
    foreground: bool,
    /// Take the cluster down and end when the process PID ends
    #[arg(long, value_name = "PID")]
    until_exit_of: Option<u32>,
    /// When the cluster is down, remove its directory with all its data
    #[arg(long, requires = "until_exit_of")]
    throw_away: bool,
    /// Guard a node that is stopped on purpose: let this process go on…
    #[arg(long, hide = true, value_name = "IDENTITY")]
    guard: Option<String>,
    /// …at this time…
    #[arg(long, hide = true, value_name = "UNIX_MILLIS", requires = "guard")]
    until: Option<u64>,
    /// …and until then for this part of the time
    #[arg(long, hide = true, value_name = "SHARE", requires = "guard")]
    share: Option<f64>,
    /// What to log, for example `debug` or `kvraft::supervisor=trace`
    #[arg(long, env = "KVRAFT_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match supervise(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Debug, for `anyhow` then shows what caused it.
            eprintln!("kvsupd: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(process) = &arguments.guard {
        return Ok(guard(process, arguments.until, arguments.share)?);
    }
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)?;
    // Files and sockets of a cluster are its owner's alone, those that nodes create too.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let directory = match arguments.directory {
        Some(path) => ClusterDirectory::at(path)?,
        None => Home::from_environment()?.cluster(&arguments.name),
    };
    // What is wrong with the configuration is said by whoever works with it, in a moment.
    let config = ClusterConfig::read(&directory.cluster_toml());
    let format = config.map(|config| config.log_format).unwrap_or_default();
    let (standing, colours) = (log::Standing::nowhere(), std::io::stderr().is_terminal());
    let subscriber = log::subscriber(format, filter, standing, std::io::stderr, colours);
    tracing::subscriber::set_global_default(subscriber)?;
    let options = Options {
        directory: directory.clone(),
        foreground: arguments.foreground,
        until_exit_of: arguments.until_exit_of,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, run(options))?;
    tracing::info!(
        "{}",
        match ended {
            Ended::Down => "the cluster is down",
            Ended::NodesRunOn => "the nodes run on",
        }
    );
    if arguments.throw_away && ended == Ended::Down {
        launch::purge(&directory)?;
        // A home that was made for it alone goes with it; one that holds anything else stays.
        if let Some(home) = directory.path().parent() {
            let _ = std::fs::remove_dir(home);
        }
    }
    Ok(())
}
