//! Asking for a fault.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use super::nodes::OnNodes;
use super::{Chaos, Lease, OnLinks};
use crate::chaos::{Injection, Links, Named, NodeFault, Pointed, Wish, groups, links};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::{Global, cluster};
use crate::control::{ControlError, Injected};
use crate::link::Policy;
use crate::supervisor::launch::{self, Until};
use crate::types::NodeId;

/// For an election to end.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);

/// A wish, read against who there is: a mistake is pointed at where it stands.
struct Reader {
    members: BTreeSet<NodeId>,
}

impl Reader {
    fn groups(&self, text: &str) -> Result<Vec<Vec<crate::chaos::Who>>, Pointed> {
        let groups = groups(text)?;
        self.check(text, groups.iter().flatten())?;
        let whos = |group: &Vec<Named>| group.iter().map(|named| named.who).collect();
        Ok(groups.iter().map(whos).collect())
    }

    /// Nodes, however they are parted.
    fn nodes(&self, text: &str) -> Result<Vec<crate::chaos::Who>, Pointed> {
        Ok(self.groups(text)?.concat())
    }

    fn links(&self, text: &str) -> Result<Links, Pointed> {
        let links = links(text)?;
        self.check(text, links.iter().flat_map(|(_, ends)| ends))?;
        Ok(Links::These(links.into_iter().map(|(link, _)| link).collect()))
    }

    fn check<'n>(
        &self,
        text: &str,
        named: impl IntoIterator<Item = &'n Named>,
    ) -> Result<(), Pointed> {
        named.into_iter().try_for_each(|named| named.check(text, &self.members))
    }

    fn on(&self, on: OnLinks, policy: Policy) -> Result<(Wish, Lease), Pointed> {
        let links = on.links.map_or(Ok(Links::All), |text| self.links(&text))?;
        Ok((Wish::Link { links, policy }, on.lease))
    }

    fn on_nodes(&self, on: OnNodes, fault: NodeFault) -> Result<(Wish, Lease), Pointed> {
        Ok((Wish::Node { nodes: self.nodes(&on.nodes)?, fault }, on.lease))
    }

    fn wish(&self, command: Chaos) -> Result<(Wish, Lease), Pointed> {
        let healthy = Policy::default();
        match command {
            Chaos::Partition(it) => {
                let groups = self.groups(&it.groups.join(" "))?;
                Ok((Wish::Partition { groups }, it.lease))
            }
            Chaos::Isolate(it) => {
                let nodes = self.nodes(&it.nodes.join(" "))?;
                Ok((Wish::Isolate { nodes }, it.lease))
            }
            Chaos::OneWay(it) => {
                let (from, to) = (self.nodes(&it.from)?, self.nodes(&it.to)?);
                Ok((Wish::OneWay { from, to }, it.lease))
            }
            Chaos::Rings(it) => Ok((Wish::Rings, it.lease)),
            Chaos::Bridge(it) => Ok((Wish::Bridge { node: it.node }, it.lease)),
            Chaos::Cut(it) => {
                let on = OnLinks { links: Some(it.links), lease: it.lease };
                self.on(on, Policy::cut())
            }
            Chaos::Stall(it) => self.on(it.on, Policy { stall: true, ..healthy }),
            Chaos::Delay(it) => {
                let (delay, jitter, distribution) = (it.delay, it.jitter, it.distribution);
                self.on(it.on, Policy { delay, jitter, distribution, ..healthy })
            }
            Chaos::Loss(it) => {
                self.on(it.on, Policy { loss: it.share, loss_burst: it.burst, ..healthy })
            }
            Chaos::Dup(it) => self.on(it.on, Policy { duplicate: it.share, ..healthy }),
            Chaos::Reorder(it) => {
                self.on(it.on, Policy { reorder: it.share, reorder_hold: it.hold, ..healthy })
            }
            Chaos::Rate(it) => self.on(it.on, Policy { rate: Some(it.bytes as u64), ..healthy }),
            Chaos::Pause(it) => {
                let nodes = self.nodes(&it.nodes.join(" "))?;
                Ok((Wish::Node { nodes, fault: NodeFault::Pause }, it.lease))
            }
            Chaos::Kill(it) => self.on_nodes(it.on, NodeFault::Kill),
            Chaos::Terminate(it) => self.on_nodes(it.on, NodeFault::Terminate),
            Chaos::CrashLoop(it) => {
                let every_millis = it.every.as_millis() as u64;
                self.on_nodes(it.on, NodeFault::CrashLoop { every_millis })
            }
            Chaos::SlowCpu(it) => self.on_nodes(it.on, NodeFault::SlowCpu { share: it.to }),
            Chaos::Memory(it) => self.on_nodes(it.on, NodeFault::Memory { bytes: it.limit as u64 }),
            Chaos::Clock(it) => {
                let (on, fault) = it.fault();
                self.on_nodes(on, fault)
            }
            Chaos::Disk(it) => {
                let (on, fault) = it.fault();
                self.on_nodes(on, fault)
            }
            Chaos::Corrupt(it) => self.on_nodes(it.on, NodeFault::Corrupt { segment: it.segment }),
            Chaos::Status(_)
            | Chaos::Heal(_)
            | Chaos::Drill(_)
            | Chaos::Lint(_)
            | Chaos::Run(_) => {
                unreachable!("these ask for no fault")
            }
        }
    }
}

pub async fn run(global: &Global, command: Chaos) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let status = supervisor.status().await?;
    let members = status.nodes.iter().map(|node| node.node).collect();
    let (wish, lease) =
        Reader { members }.wish(command).map_err(|mistake| Failure::usage(mistake.to_string()))?;
    let injection = Injection {
        wish,
        flap: lease.flap,
        duration_millis: lease.lasts.map(|lasts| (lasts.as_millis() as u64).max(1)),
        by: lease.by.unwrap_or_else(you),
        blind: false,
    };
    let injected = match supervisor.inject(&injection, lease.yes).await {
        // Perhaps for want of a leader, while an election is under way: as with `node kill leader`,
        // that is waited for. Whatever else it was will be so again.
        Err(ControlError::Refused(_)) => {
            let _ = launch::wait(&supervisor, Until::Leader, LEADER_PATIENCE, |_| {}).await;
            supervisor.inject(&injection, lease.yes).await?
        }
        other => other?,
    };
    report(global, &injected)?;
    Ok(0)
}

/// The name that the system knows whoever runs this by.
fn you() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("user {}", nix::unistd::getuid()))
}

fn report(global: &Global, injected: &Injected) -> Result<(), Failure> {
    let fault = &injected.fault;
    let span = fault.until_millis.map(|until| until.saturating_sub(fault.since_millis));
    let span = span.map_or("until healed".to_owned(), |millis| {
        format!("for {}", crate::cli::units::short_duration(Duration::from_millis(millis)))
    });
    let told = format!("fault {}: {fault}, {span}", fault.id);
    if let Some(warning) = &injected.warning {
        output::warn(warning);
    }
    for node in &injected.unheard {
        output::warn(format!("node {node} does not answer; it hears of this when it does"));
    }
    // `partition 1,2|3,4,5` without quotes: the shell has cut the command at the `|`, and what is
    // written there is nobody's to see. It did what it says all the same.
    let alone = matches!(&fault.wish, Wish::Partition { groups } if groups.len() == 1);
    if alone && !std::io::stdout().is_terminal() {
        output::note(&told);
    }
    match global.output {
        Format::Json => output::json(injected),
        Format::Name => output::line(fault.id.to_string()),
        Format::Table => output::line(told),
    }
}
