//! `kvctl elect`: one of many, and who it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytes::Bytes;

use super::Global;
use super::bytes::{Encoding, JsonItem, printable};
use super::etcd::{self, EtcdReach, key_value, parse_ttl};
use super::failure::{Failure, Outcome};
use super::hold;
use super::interrupt::Interrupt;
use super::output::{self, Format};
use crate::etcd_client::{KeyValue, Observed};

/// Stand for election and lead until Ctrl-C, or see who leads
///
/// Waits for its turn, without limit; says so when it leads, and goes on leading until Ctrl-C (exit
/// code 0) or until its lease is lost (1). With --listen, prints each leader and each value that it
/// announces.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl elect scheduler \"$HOSTNAME\"
  kvctl elect scheduler --listen

JSON fields, when it leads: schema_version, key (or key_b64), fencing_token (grows from leader to
leader), lease; with --listen, a leader a line: schema_version, key (or key_b64), value (or
value_b64), create_revision, mod_revision, version, lease")]
pub struct Elect {
    /// The election's name
    #[arg(value_name = "NAME")]
    pub election: OsString,
    /// What to announce when leading
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    pub value: Option<OsString>,
    /// Stand for nothing: print who leads, again and again, until Ctrl-C
    #[arg(long)]
    pub listen: bool,
    /// How long a leadership outlives kvctl: `10s`, or a number of seconds
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_ttl)]
    pub ttl: Duration,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: EtcdReach,
}

pub async fn run(global: &Global, command: Elect) -> Outcome {
    let name = command.encoding.parse_key(&command.election)?;
    match &command.value {
        Some(value) => {
            let value = Bytes::copy_from_slice(value.as_bytes());
            stand(global, &command, name, value).await
        }
        None => listen(global, &command, name).await,
    }
}

async fn stand(global: &Global, command: &Elect, name: Bytes, value: Bytes) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    let etcd = etcd::client(global, &command.reach)?;
    let attempt = async |lease| etcd.client.campaign(name.clone(), lease, value.clone()).await;
    let (hold, leadership) = hold::take(&etcd, command.ttl, &mut interrupt, attempt).await?;
    let (key, token) = (leadership.key(), leadership.revision());
    let ended = match hold.print(global, command.encoding, "leads as", key, token) {
        Ok(()) => {
            let lost = format!("it leads `{}` no more", command.election.display());
            hold.until_interrupted(&mut interrupt, &lost).await
        }
        Err(failure) => Err(failure),
    };
    hold.release().await;
    ended
}

async fn listen(global: &Global, command: &Elect, name: Bytes) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    let etcd = etcd::client(global, &command.reach)?;
    let mut observer = etcd.client.observe(name);
    loop {
        let observed = tokio::select! {
            observed = observer.next() => observed,
            () = interrupt.signalled() => return Ok(0),
        };
        match observed {
            Ok(Observed::Leader(leader)) => print(global, command, leader)?,
            Ok(Observed::Interrupted { endpoint, why }) => {
                output::warn(format!("{endpoint} is lost: {why}; looking for another"));
            }
            Err(error) => return Err(etcd.explain(error).await),
        }
    }
}

fn print(global: &Global, command: &Elect, leader: KeyValue) -> Result<(), Failure> {
    let item = key_value(leader);
    let shown = command.encoding.show(&item.key);
    match global.output {
        Format::Json => output::json_line(&JsonItem { item: &item, key_only: false }),
        Format::Name => output::line(shown),
        Format::Table => output::line(format!("{shown}\t{}", printable(&item.value))),
    }
}
