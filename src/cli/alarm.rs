//! `kvctl alarm`: what keeps the cluster from writing.

use serde::Serialize;

use super::Global;
use super::etcd::{self, EtcdReach};
use super::failure::Outcome;
use super::output::{self, Format};
use crate::etcd_client::pb::{AlarmMember, AlarmType};
use crate::types::NodeId;

/// What can be done with alarms.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl alarm list
  kvctl alarm disarm                        once there is space again")]
pub enum Alarm {
    List(List),
    Disarm(Disarm),
}

/// List the alarms that are on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl alarm list

JSON fields: schema_version, alarms: node, alarm (nospace, corrupt)")]
pub struct List {
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// Take all alarms off
///
/// An alarm goes on by itself again if its reason is still there. When the space was used up, first
/// compact, delete, and defragment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl alarm disarm

JSON fields: schema_version, alarms (that were taken off): node, alarm")]
pub struct Disarm {
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    alarms: Vec<One>,
}

#[derive(Serialize)]
struct One {
    node: NodeId,
    alarm: String,
}

pub async fn run(global: &Global, command: Alarm) -> Outcome {
    let (reach, disarm) = match command {
        Alarm::List(List { reach }) => (reach, false),
        Alarm::Disarm(Disarm { reach }) => (reach, true),
    };
    let etcd = etcd::client(global, &reach)?;
    let on = match etcd.client.alarms().await {
        Ok(on) => on,
        Err(error) => return Err(etcd.explain(error).await),
    };
    let mut alarms: Vec<One> = Vec::new();
    for alarm in &on {
        if !disarm {
            alarms.push(show(alarm));
            continue;
        }
        match etcd.client.disarm(alarm).await {
            Ok(off) => alarms.extend(off.iter().map(show)),
            Err(error) => return Err(etcd.explain(error).await),
        }
    }
    match global.output {
        Format::Json => output::json(&Printed { alarms })?,
        Format::Name => alarms.iter().try_for_each(|it| output::line(&it.alarm))?,
        Format::Table => {
            if alarms.is_empty() {
                output::note("no alarm is on");
            }
            let what = if disarm { " is off" } else { "" };
            alarms
                .iter()
                .try_for_each(|it| output::line(format!("node {}: {}{what}", it.node, it.alarm)))?;
        }
    }
    Ok(0)
}

fn show(alarm: &AlarmMember) -> One {
    let name = match AlarmType::try_from(alarm.alarm) {
        Ok(AlarmType::Nospace) => "nospace".to_owned(),
        Ok(AlarmType::Corrupt) => "corrupt".to_owned(),
        Ok(AlarmType::None) => "none".to_owned(),
        Err(_) => format!("alarm {}", alarm.alarm),
    };
    One { node: NodeId(alarm.member_id), alarm: name }
}
