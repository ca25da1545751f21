//! `kvctl lease`: keys that go by themselves.

mod keep_alive;

use std::time::Duration;

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonKey, parse_lease, show_lease};
use super::etcd::{self, EtcdReach, parse_ttl};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use crate::types::LeaseId;

/// What can be done with leases.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl lease grant 60s
  kvctl put node/7 up --lease 694d77aa9e38260f
  kvctl lease keep-alive 694d77aa9e38260f
  kvctl lease ttl 694d77aa9e38260f --keys
  kvctl lease revoke 694d77aa9e38260f       node/7 goes with it")]
pub enum Lease {
    Grant(Grant),
    Revoke(Revoke),
    KeepAlive(keep_alive::KeepAlive),
    Ttl(Ttl),
    List(List),
}

/// Begin a lease: keys that are put under it go when it ends
///
/// It ends when it was not renewed for its time, or when it is revoked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lease grant 60s
  lease=$(kvctl lease grant 60s -o name) && kvctl put node/7 up --lease $lease

JSON fields: schema_version, id (hexadecimal), ttl_seconds (that holds: the cluster has a least one)")]
pub struct Grant {
    /// For how long: `60s`, `2m`, or a number of seconds
    #[arg(value_name = "TIME", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// Its id, in hexadecimal [default: the cluster draws one]
    #[arg(long, value_name = "ID", value_parser = parse_lease)]
    pub id: Option<LeaseId>,
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// End a lease, and delete the keys that it holds
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lease revoke 694d77aa9e38260f

JSON fields: schema_version, id")]
pub struct Revoke {
    /// Which one, in hexadecimal
    #[arg(value_name = "ID", value_parser = parse_lease)]
    pub id: LeaseId,
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// Show how long a lease still lasts
///
/// Exits with 1 if there is no such lease.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lease ttl 694d77aa9e38260f
  kvctl lease ttl 694d77aa9e38260f --keys

JSON fields: schema_version, id, ttl_seconds (what is left), granted_seconds, keys (with --keys):
key (or key_b64)")]
pub struct Ttl {
    /// Which one, in hexadecimal
    #[arg(value_name = "ID", value_parser = parse_lease)]
    pub id: LeaseId,
    /// And the keys that it holds
    #[arg(long)]
    pub keys: bool,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// List the leases, the first to end first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lease list

JSON fields: schema_version, leases (their ids)")]
pub struct List {
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// What `-o json` prints of a lease that was granted or renewed.
#[derive(Serialize)]
struct Lasting {
    id: String,
    ttl_seconds: u64,
}

#[derive(Serialize)]
struct Revoked {
    id: String,
}

#[derive(Serialize)]
struct PrintedTtl<'a> {
    id: String,
    ttl_seconds: u64,
    granted_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<JsonKey<'a>>>,
}

#[derive(Serialize)]
struct Listed {
    leases: Vec<String>,
}

pub async fn run(global: &Global, command: Lease) -> Outcome {
    match command {
        Lease::Grant(command) => grant(global, command).await,
        Lease::Revoke(command) => revoke(global, command).await,
        Lease::KeepAlive(command) => keep_alive::run(global, command).await,
        Lease::Ttl(command) => ttl(global, command).await,
        Lease::List(command) => list(global, command).await,
    }
}

/// There is no such lease.
fn no_lease(id: LeaseId) -> Failure {
    Failure::failed(format!("there is no lease {}: it has ended or was revoked", show_lease(id)))
}

async fn grant(global: &Global, command: Grant) -> Outcome {
    let etcd = etcd::client(global, &command.reach)?;
    let lease = match etcd.client.lease_grant(command.ttl, command.id.unwrap_or_default()).await {
        Ok(lease) => lease,
        Err(error) => return Err(etcd.explain(error).await),
    };
    let (id, ttl_seconds) = (show_lease(lease.id), lease.ttl.as_secs());
    match global.output {
        Format::Json => output::json(&Lasting { id, ttl_seconds })?,
        Format::Name => output::line(id)?,
        Format::Table => output::line(format!("lease {id} granted for {ttl_seconds} s"))?,
    }
    Ok(0)
}

async fn revoke(global: &Global, command: Revoke) -> Outcome {
    let etcd = etcd::client(global, &command.reach)?;
    if let Err(error) = etcd.client.lease_revoke(command.id).await {
        return Err(etcd.explain(error).await);
    }
    let id = show_lease(command.id);
    match global.output {
        Format::Json => output::json(&Revoked { id })?,
        Format::Name => output::line(id)?,
        Format::Table => output::line(format!("lease {id} revoked"))?,
    }
    Ok(0)
}

async fn ttl(global: &Global, command: Ttl) -> Outcome {
    let etcd = etcd::client(global, &command.reach)?;
    let left = match etcd.client.lease_ttl(command.id, command.keys).await {
        Ok(left) => left.ok_or_else(|| no_lease(command.id))?,
        Err(error) => return Err(etcd.explain(error).await),
    };
    let id = show_lease(command.id);
    let (ttl_seconds, granted_seconds) = (left.ttl.as_secs(), left.granted.as_secs());
    match global.output {
        Format::Json => {
            let keys = || left.keys.iter().map(|key| JsonKey(key)).collect();
            let keys = command.keys.then(keys);
            output::json(&PrintedTtl { id, ttl_seconds, granted_seconds, keys })?;
        }
        Format::Name => output::line(ttl_seconds.to_string())?,
        Format::Table => {
            let of = format!("{ttl_seconds} s of {granted_seconds} s left");
            output::line(format!("lease {id}: {of}"))?;
            left.keys.iter().try_for_each(|key| output::line(command.encoding.show(key)))?;
        }
    }
    Ok(0)
}

async fn list(global: &Global, command: List) -> Outcome {
    let etcd = etcd::client(global, &command.reach)?;
    let leases = match etcd.client.leases().await {
        Ok(leases) => leases,
        Err(error) => return Err(etcd.explain(error).await),
    };
    let leases: Vec<String> = leases.into_iter().map(show_lease).collect();
    match global.output {
        Format::Json => output::json(&Listed { leases })?,
        Format::Name | Format::Table => leases.iter().try_for_each(output::line)?,
    }
    Ok(0)
}
