//! `kvctl lock`: a command under a lock.

use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;

use super::bytes::Encoding;
use super::etcd::{self, Etcd, EtcdReach, parse_ttl};
use super::failure::{Failure, Outcome};
use super::hold::{self, Hold};
use super::interrupt::Interrupt;
use super::{Global, child, output};
use crate::etcd_client::pb;
use crate::types::Revision;

/// How long a command that must end has for it. A lock counts as lost this long before anybody else
/// can have it, or a quarter of a lease that is shorter than four times this.
const GRACE: Duration = Duration::from_secs(2);

/// Run a command while holding a lock
///
/// Waits for its turn, without limit, then runs the command and returns its exit code. The lock is
/// held by a lease that is renewed meanwhile: if kvctl dies, it is free after --ttl. If the lease
/// is lost, the command is sent SIGTERM, 2 s later SIGKILL (sooner, for a --ttl below 8 s), and
/// kvctl exits with 1; its children are its own affair.
///
/// No lock holds back a process that was asleep when it was lost. What must not happen twice should
/// be guarded by the fencing token, a number that grows from holder to holder: let whoever is
/// written to refuse a smaller one than it has seen.
///
/// The command finds in its environment KVRAFT_LOCK_KEY (the key that stands for the lock) and
/// KVRAFT_FENCING_TOKEN. Without a command, the lock is held until Ctrl-C. It is etcd's lock:
/// `etcdctl lock` waits for it, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lock deploy -- ./deploy.sh
  kvctl lock nightly --ttl 60s -- sh -c 'backup --token $KVRAFT_FENCING_TOKEN'
  kvctl lock deploy                         hold it until Ctrl-C

JSON fields (without a command): schema_version, key (or key_b64), fencing_token, lease")]
pub struct Lock {
    /// Its name
    #[arg(value_name = "NAME")]
    pub lock: OsString,
    /// How long it outlives kvctl: `10s`, or a number of seconds
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// The lock is ours.
struct Locked {
    key: Bytes,
    /// The key's create revision.
    token: Revision,
}

pub async fn run(global: &Global, command: Lock) -> Outcome {
    let name = command.encoding.parse_key(&command.lock)?;
    let mut interrupt = Interrupt::new()?;
    let etcd = etcd::client(global, &command.reach)?;
    let attempt = async |lease| etcd.client.lock(name.clone(), lease).await;
    let (hold, key) = hold::take(&etcd, command.ttl, &mut interrupt, attempt).await?;
    let ended = match token(&etcd, &key).await {
        Ok(token) => {
            let locked = Locked { key, token };
            match command.command.is_empty() {
                true => until_interrupted(global, &command, &hold, &locked, &mut interrupt).await,
                false => around(&command, &hold, &locked).await,
            }
        }
        Err(failure) => Err(failure),
    };
    hold.release().await;
    ended
}

/// The fencing token that goes with the key; and whether the key is there at all.
async fn token(etcd: &Etcd<'_>, key: &Bytes) -> Result<Revision, Failure> {
    let request = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let answer = match etcd.client.range(request).await {
        Ok(answer) => answer,
        Err(error) => return Err(etcd.explain(error).await),
    };
    let item = answer.kvs.into_iter().next().map(etcd::key_value);
    match item {
        Some(item) => Ok(item.create_revision),
        None => Err(Failure::failed("the lock was lost before it could be used").next("try again")),
    }
}

async fn around(command: &Lock, hold: &Hold<'_>, locked: &Locked) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let mut spawned = child::command(&command.command)?;
    spawned
        .env("KVRAFT_LOCK_KEY", std::ffi::OsStr::from_bytes(&locked.key))
        .env("KVRAFT_FENCING_TOKEN", locked.token.to_string());
    let mut spawned = child::spawn(spawned)?;
    tokio::select! {
        code = child::wait(&mut spawned) => return code,
        lost = hold.lost() => {
            let shown = command.lock.display();
            output::warn(format!("the lock `{shown}` is lost: {lost}; ending the command"));
        }
    }
    child::end(&mut spawned, GRACE.min(command.ttl / 4)).await;
    Err(lost(command))
}

fn lost(command: &Lock) -> Failure {
    let shown = command.lock.display();
    Failure::failed(format!("the lock `{shown}` was lost, and the command was ended"))
        .next("see what it had done; whoever holds the lock now has a higher fencing token")
}

async fn until_interrupted(
    global: &Global,
    command: &Lock,
    hold: &Hold<'_>,
    locked: &Locked,
    interrupt: &mut Interrupt,
) -> Outcome {
    hold.print(global, command.encoding, "locked as", &locked.key, locked.token)?;
    let lost = format!("the lock `{}` is lost", command.lock.display());
    hold.until_interrupted(interrupt, &lost).await
}
