//! `kvctl lease keep-alive`: renews a lease.

use super::{Lasting, no_lease};
use crate::cli::Global;
use crate::cli::bytes::{parse_lease, show_lease};
use crate::cli::etcd::{self, EtcdReach};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, Format};
use crate::etcd_client::Granted;
use crate::types::LeaseId;

/// Renew a lease, again and again
///
/// Ends with Ctrl-C (exit code 0; the lease then lasts for its time and ends), or with 1 when the
/// lease is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl lease keep-alive 694d77aa9e38260f
  kvctl lease keep-alive 694d77aa9e38260f --once

JSON fields, a renewal a line: schema_version, id, ttl_seconds (for which it lasts now)")]
pub struct KeepAlive {
    /// Which one, in hexadecimal
    #[arg(value_name = "ID", value_parser = parse_lease)]
    pub id: LeaseId,
    /// Renew it once, and end
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub reach: EtcdReach,
}

pub async fn run(global: &Global, command: KeepAlive) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    let etcd = etcd::client(global, &command.reach)?;
    let asked_at = tokio::time::Instant::now();
    let ttl = match etcd.client.lease_keep_alive_once(command.id).await {
        Ok(ttl) => ttl.ok_or_else(|| no_lease(command.id))?,
        Err(error) => return Err(etcd.explain(error).await),
    };
    print(global, command.id, ttl.as_secs())?;
    if command.once {
        return Ok(0);
    }
    let mut kept = etcd.client.lease_keep_alive(&Granted { id: command.id, ttl, asked_at });
    loop {
        let renewed = tokio::select! {
            renewed = kept.renewed() => renewed,
            () = interrupt.signalled() => return Ok(0),
        };
        match renewed {
            Ok(ttl) => print(global, command.id, ttl.as_secs())?,
            Err(lost) => {
                let id = show_lease(command.id);
                return Err(Failure::failed(format!("lease {id} is lost: {lost}")));
            }
        }
    }
}

fn print(global: &Global, id: LeaseId, ttl_seconds: u64) -> Result<(), Failure> {
    let id = show_lease(id);
    match global.output {
        Format::Json => output::json_line(&Lasting { id, ttl_seconds }),
        Format::Name => output::line(id),
        Format::Table => output::line(format!("lease {id} renewed for {ttl_seconds} s")),
    }
}
