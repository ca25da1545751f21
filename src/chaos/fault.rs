//! What is asked for, and what is in force.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::{Table, TableFault};
use super::who::Who;
use super::{Directed, NodeFault, shape};
use crate::link::{MAX_DELAY, Policy};
use crate::types::{LogIndex, NodeId, Term};
use crate::units::parse_positive_duration;

/// The number of a fault; never used twice in a cluster's life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A link between two that are named, or all links between all that are something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkWish {
    pub from: Who,
    pub to: Who,
    /// The way back, too.
    pub both: bool,
}

impl fmt::Display for LinkWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkWish { from, to, both } = self;
        write!(f, "{from}{}{to}", if *both { '-' } else { ':' })
    }
}

/// Which links something is wrong with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Links {
    All,
    These(Vec<LinkWish>),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wish {
    /// Groups that do not reach each other; whoever stands in none forms one more.
    Partition { groups: Vec<Vec<Who>> },
    /// Nodes that reach nobody, and that nobody reaches.
    Isolate { nodes: Vec<Who> },
    /// What `from` sends does not reach `to`; the other direction goes on.
    OneWay { from: Vec<Who>, to: Vec<Who> },
    /// Everybody sees a majority, and no two the same.
    Rings,
    /// Two halves, and one node that sees both.
    Bridge { node: Who },
    /// Something less than a cut, or one of chosen links.
    Link { links: Links, policy: Policy },
    /// Something that is wrong with nodes, not with their links.
    Node { nodes: Vec<Who>, fault: NodeFault },
    /// What is wrong is not told: a drill. It can only be shown, not asked for.
    Hidden,
}

/// What a wish comes to.
#[derive(Default)]
struct Meant {
    links: BTreeSet<Directed>,
    policy: Policy,
    nodes: BTreeSet<NodeId>,
}

/// How far a cluster was: what it did between two such is told in their differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub term: Term,
    pub leader: Option<NodeId>,
    /// The highest that any node knows.
    pub commit_index: LogIndex,
    /// Starts of nodes, in the cluster's life.
    pub starts: u64,
}

/// A fault that comes and goes, from its beginning on: so long in force, so long not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    pub on_millis: u64,
    pub off_millis: u64,
}

impl std::str::FromStr for Flap {
    type Err = String;

    /// Reads `ON/OFF`.
    fn from_str(text: &str) -> Result<Flap, String> {
        let (on, off) = text.split_once('/').ok_or("write two times, as in `2s/500ms`")?;
        let millis = |text| parse_positive_duration(text).map(|time| time.as_millis() as u64);
        Ok(Flap { on_millis: millis(on)?, off_millis: millis(off)? })
    }
}

/// The order to inject a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    pub wish: Wish,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Without one, until `heal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_millis: Option<u64>,
    /// Who wants it: a person, a scenario.
    pub by: String,
    /// Others are not told what it is as long as it is in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blind: bool,
}

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub id: FaultId,
    /// As it was asked for.
    pub wish: Wish,
    /// What that came to: the links concerned, each in one direction.
    pub links: BTreeSet<Directed>,
    pub policy: Policy,
    /// The nodes that something is wrong with.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeId>,
    /// Of those, the ones for which it is over: their disk has failed the one sync that it was to
    /// fail, or a person has stopped them meanwhile and wants them down.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub spent: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Unix time.
    pub since_millis: u64,
    /// Unix time; `None`: until `heal`.
    pub until_millis: Option<u64>,
    pub by: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blind: bool,
    /// How far the cluster was when it began.
    #[serde(default)]
    pub at_begin: Standing,
}

/// A fault that has ended, for the receipt of `heal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Healed {
    pub id: FaultId,
    pub what: String,
    /// How long it was in force.
    pub lasted_millis: u64,
    /// How far the cluster was when it began, and when it ended.
    pub at_begin: Standing,
    pub at_end: Standing,
}

/// What the cluster did meanwhile: `12 entries committed, 1 new term (2 to 3), leader 1 to 2, no
/// start of a node`.
impl fmt::Display for Healed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Healed { at_begin: before, at_end: after, .. } = self;
        let committed = after.commit_index.0.saturating_sub(before.commit_index.0);
        let many = |count: u64, one: &str, more: &str| match count {
            0 => format!("no {one}"),
            1 => format!("1 {one}"),
            _ => format!("{count} {more}"),
        };
        write!(f, "{} committed", many(committed, "entry", "entries"))?;
        match after.term.0.saturating_sub(before.term.0) {
            0 => write!(f, ", no new term")?,
            terms => {
                let terms = many(terms, "new term", "new terms");
                write!(f, ", {terms} ({} to {})", before.term, after.term)?;
            }
        }
        let who = |leader: Option<NodeId>| leader.map_or("none".to_owned(), |id| id.to_string());
        if before.leader != after.leader {
            write!(f, ", leader {} to {}", who(before.leader), who(after.leader))?;
        }
        let starts = after.starts.saturating_sub(before.starts);
        write!(f, ", {}", many(starts, "start of a node", "starts of nodes"))
    }
}

/// Who is there, and who leads, when a fault begins.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub all: BTreeSet<NodeId>,
    pub voters: BTreeSet<NodeId>,
    pub leader: Option<NodeId>,
    pub standing: Standing,
}

/// The longest that a fault can be given: a year.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);
const MAX_BY: usize = 200;

impl View {
    /// Who is meant.
    fn resolve(&self, who: Who) -> Result<BTreeSet<NodeId>, String> {
        let leader = || self.leader.ok_or_else(|| format!("no leader is known: who is `{who}`?"));
        let majority = || -> Result<BTreeSet<NodeId>, String> {
            let leader = leader()?;
            let others = self.voters.iter().copied().filter(|id| *id != leader);
            Ok(std::iter::once(leader).chain(others).take(self.voters.len() / 2 + 1).collect())
        };
        Ok(match who {
            Who::Node(id) if self.all.contains(&id) => BTreeSet::from([id]),
            Who::Node(id) => {
                let known: Vec<_> = self.all.iter().map(NodeId::to_string).collect();
                return Err(format!("there is no node {id}; there are {}", known.join(", ")));
            }
            Who::Leader => BTreeSet::from([leader()?]),
            Who::Followers => self.without(&[leader()?].into()),
            Who::Majority => majority()?,
            Who::Minority => self.without(&majority()?),
            Who::All => self.all.clone(),
        })
    }

    fn without(&self, some: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        self.all.difference(some).copied().collect()
    }

    /// Who all of these are, as things stand.
    pub fn resolve_all(&self, whos: &[Who]) -> Result<BTreeSet<NodeId>, String> {
        let mut nodes = BTreeSet::new();
        for who in whos {
            nodes.extend(self.resolve(*who)?);
        }
        match nodes.is_empty() {
            true => Err("nobody is meant".to_owned()),
            false => Ok(nodes),
        }
    }

    fn resolve_links(&self, links: &Links) -> Result<BTreeSet<Directed>, String> {
        let Links::These(wishes) = links else { return Ok(shape::one_way(&self.all, &self.all)) };
        let mut found = BTreeSet::new();
        for LinkWish { from, to, both } in wishes {
            let (from, to) = (self.resolve(*from)?, self.resolve(*to)?);
            found.extend(shape::one_way(&from, &to));
            if *both {
                found.extend(shape::one_way(&to, &from));
            }
        }
        Ok(found)
    }

    /// Whether a majority of the voters that `runs` still reach each other in both directions,
    /// with `cut` in force: without one, no write can be acknowledged.
    pub fn has_quorum(&self, runs: &BTreeSet<NodeId>, cut: &BTreeSet<Directed>) -> bool {
        let up: Vec<NodeId> = self.voters.intersection(runs).copied().collect();
        let sees = |a: &NodeId, b: &NodeId| !cut.contains(&(*a, *b)) && !cut.contains(&(*b, *a));
        up.iter().any(|center| {
            up.iter().filter(|other| sees(center, other)).count() > self.voters.len() / 2
        })
    }
}

impl Wish {
    /// Whether it is over once it was done: it ends without being told to.
    pub fn is_momentary(&self) -> bool {
        self.natural_millis().is_some()
    }

    /// For how long it is in force then.
    pub fn natural_millis(&self) -> Option<u64> {
        match self {
            Wish::Node { fault: NodeFault::Clock(clock), .. } => clock.natural_millis(),
            _ => None,
        }
    }

    /// What it comes to, as things stand.
    fn resolve(&self, view: &View) -> Result<Meant, String> {
        let cut = |links| Ok(Meant { links, policy: Policy::cut(), ..Meant::default() });
        match self {
            Wish::Partition { groups } => {
                let sets: Vec<_> =
                    groups.iter().map(|group| view.resolve_all(group)).collect::<Result<_, _>>()?;
                let mut seen = BTreeSet::new();
                let twice = sets.iter().flatten().find(|id| !seen.insert(**id));
                if let Some(id) = twice {
                    return Err(format!("node {id} would stand in two groups"));
                }
                cut(shape::partition(&sets, &view.all))
            }
            Wish::Isolate { nodes } => cut(shape::isolate(&view.resolve_all(nodes)?, &view.all)),
            Wish::OneWay { from, to } => {
                cut(shape::one_way(&view.resolve_all(from)?, &view.resolve_all(to)?))
            }
            Wish::Rings => cut(shape::rings(&view.all)?),
            Wish::Bridge { node } => {
                let nodes = view.resolve(*node)?;
                let mut nodes = nodes.into_iter();
                match (nodes.next(), nodes.next()) {
                    (Some(node), None) => cut(shape::bridge(node, &view.all)?),
                    _ => Err(format!("a bridge is one node; `{node}` are several")),
                }
            }
            Wish::Link { links, policy } => {
                policy.validate().map_err(|error| error.to_string())?;
                match policy.is_empty() {
                    true => Err("nothing is wrong with links of this policy".to_owned()),
                    false => {
                        let (links, policy) = (view.resolve_links(links)?, policy.clone());
                        Ok(Meant { links, policy, ..Meant::default() })
                    }
                }
            }
            Wish::Hidden => Err("nothing is asked for".to_owned()),
            Wish::Node { nodes, fault } => {
                fault.validate()?;
                let nodes = view.resolve_all(nodes)?;
                match (fault, nodes.len()) {
                    (NodeFault::Corrupt { .. }, 2..) => {
                        Err("the log of one node at a time: what is damaged on several may be lost"
                            .to_owned())
                    }
                    _ => Ok(Meant { nodes, ..Meant::default() }),
                }
            }
        }
    }
}

impl Injection {
    /// The fault that it becomes, now. The error says why it cannot.
    pub fn begin(self, id: FaultId, view: &View, now_millis: u64) -> Result<Fault, String> {
        let Injection { wish, flap, duration_millis, by, blind } = self;
        if by.len() > MAX_BY {
            return Err(format!("who wants it is said in at most {MAX_BY} bytes"));
        }
        if let Some(Flap { on_millis, off_millis }) = flap {
            let longest = MAX_DELAY.as_millis() as u64;
            if ![on_millis, off_millis].iter().all(|millis| (1..=longest).contains(millis)) {
                return Err("a flapping fault is on and off for 1 ms to 1 h at a time".to_owned());
            }
        }
        match duration_millis {
            Some(0) => return Err("a fault that lasts 0 ms is none".to_owned()),
            Some(millis) if Duration::from_millis(millis) > MAX_DURATION => {
                return Err("a fault lasts a year at most; without a duration, until heal".into());
            }
            _ => {}
        }
        let Meant { links, policy, nodes } = wish.resolve(view)?;
        if links.is_empty() && nodes.is_empty() {
            return Err("no link is concerned: nothing would happen".to_owned());
        }
        if let Wish::Node { fault, .. } = &wish
            && flap.is_some()
            && !matches!(fault, NodeFault::Disk(_))
        {
            return Err(format!("a {fault} does not flap"));
        }
        let duration_millis = duration_millis.or(wish.natural_millis());
        let until_millis = duration_millis.map(|millis| now_millis.saturating_add(millis));
        Ok(Fault {
            id,
            wish,
            links,
            policy,
            nodes,
            spent: BTreeSet::new(),
            flap,
            since_millis: now_millis,
            until_millis,
            by,
            blind,
            at_begin: view.standing,
        })
    }
}

impl Fault {
    /// Whether its time is over.
    pub fn is_over(&self, now_millis: u64) -> bool {
        self.until_millis.is_some_and(|until| until <= now_millis)
    }

    /// As others may see it.
    pub fn shown(&self) -> Fault {
        match self.blind {
            false => self.clone(),
            true => Fault {
                wish: Wish::Hidden,
                links: BTreeSet::new(),
                policy: Policy::default(),
                nodes: BTreeSet::new(),
                ..self.clone()
            },
        }
    }

    /// What is wrong with `node` itself.
    pub fn on(&self, node: NodeId) -> Option<&NodeFault> {
        match &self.wish {
            Wish::Node { fault, .. } if self.nodes.contains(&node) => Some(fault),
            _ => None,
        }
    }

    /// The nodes that take no part while this is in force.
    pub fn taken_away(&self) -> BTreeSet<NodeId> {
        match &self.wish {
            Wish::Node { fault, .. } if fault.takes_away() => self.nodes.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// That it ended now, and how far the cluster is.
    pub fn healed(&self, now_millis: u64, at_end: Standing) -> Healed {
        let end = self.until_millis.map_or(now_millis, |until| until.min(now_millis));
        let lasted_millis = end.saturating_sub(self.since_millis);
        let (what, at_begin) = (self.to_string(), self.at_begin);
        Healed { id: self.id, what, lasted_millis, at_begin, at_end }
    }

    /// What node `of` must know of all `faults`.
    pub fn table<'f>(
        version: u64,
        faults: impl IntoIterator<Item = &'f Fault>,
        of: NodeId,
    ) -> Table {
        let part = |fault: &Fault| {
            let here = fault.links.iter().filter(|(from, _)| *from == of);
            let to: BTreeSet<NodeId> = here.map(|(_, to)| *to).collect();
            let own = fault.on(of).filter(|own| own.is_the_nodes()).cloned();
            let own = own.filter(|_| !fault.spent.contains(&of));
            let Fault { id, policy, flap, since_millis, until_millis, .. } = fault.clone();
            let concerned = !to.is_empty() || own.is_some();
            let part = TableFault { id, to, policy, own, flap, since_millis, until_millis };
            concerned.then_some(part)
        };
        Table { version, faults: faults.into_iter().filter_map(part).collect() }
    }
}

/// As in `partition 1,2 | 3,4,5`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wish)?;
        match self.flap {
            Some(Flap { on_millis, off_millis }) => {
                write!(f, ", {on_millis} ms on and {off_millis} ms off")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |whos: &[Who]| whos.iter().map(Who::to_string).collect::<Vec<_>>().join(",");
        match self {
            Wish::Partition { groups } => {
                let groups: Vec<_> = groups.iter().map(|group| list(group)).collect();
                let rest = if groups.len() == 1 { " | the rest" } else { "" };
                write!(f, "partition {}{rest}", groups.join(" | "))
            }
            Wish::Isolate { nodes } => write!(f, "isolate {}", list(nodes)),
            Wish::OneWay { from, to } => write!(f, "one-way {} to {}", list(from), list(to)),
            Wish::Rings => write!(f, "rings"),
            Wish::Hidden => write!(f, "something"),
            Wish::Node { nodes, fault } => {
                let (nodes, details) = (list(nodes), fault.details());
                write!(f, "{fault} {nodes}{}{details}", if details.is_empty() { "" } else { ": " })
            }
            Wish::Bridge { node } => write!(f, "bridge {node}"),
            Wish::Link { links, policy } => {
                write!(f, "{policy}")?;
                match links {
                    Links::All => write!(f, " on all links"),
                    Links::These(links) => {
                        let links: Vec<_> = links.iter().map(LinkWish::to_string).collect();
                        write!(f, " on {}", links.join(","))
                    }
                }
            }
        }
    }
}
