//! What a step does: a fault, in the words of `kvctl chaos`, or an order, in those of `kvctl`.

use super::ailment;
use super::line::{Line, Reader};
use super::mistake::Mistake;
use super::words::Word;
use crate::chaos::{Links, Who, Wish};
use crate::link::{Distribution, Policy};
use crate::units::{parse_duration, parse_positive_duration, parse_share, parse_size};

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Nothing: it is only a moment, from which something is expected.
    Nothing,
    /// Something goes wrong.
    Fault(Wish),
    /// Everything that goes wrong ends.
    Heal,
    Order(Order),
}

/// What an operator does.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// SIGKILL; the supervisor starts it again.
    Kill {
        nodes: Vec<Who>,
    },
    /// Ends gracefully, and begins again.
    Restart {
        nodes: Vec<Who>,
    },
    /// Ends gracefully, and stays down until it is started.
    Stop {
        nodes: Vec<Who>,
    },
    Start {
        nodes: Vec<Who>,
    },
    /// Another is to lead: this one, or whoever is furthest.
    Transfer {
        to: Option<Who>,
    },
    /// A new node joins; it votes once it has caught up, unless it is to stay a learner.
    Add {
        learner: bool,
    },
    Promote {
        node: Who,
    },
    Remove {
        node: Who,
    },
    /// Everybody takes a snapshot.
    Snapshot,
}

/// Everything that a step can do begins with one of these.
const VERBS: &[&str] = &[
    "partition",
    "isolate",
    "one-way",
    "rings",
    "bridge",
    "cut",
    "stall",
    "delay",
    "loss",
    "dup",
    "reorder",
    "rate",
    "heal",
    "node",
    "leader",
    "member",
    "snapshot",
];

/// Reads what a step does.
pub fn parse(text: Word<'_>, reader: &mut Reader) -> Result<Deed, Mistake> {
    let mut line = Line::new(text);
    let verb = line.expect("what the step does")?;
    let order = |order| Ok(Deed::Order(order));
    match verb.text {
        "heal" => line.finish().map(|()| Deed::Heal),
        "node" => order(node(line, reader)?),
        "leader" => order(leader(line, reader)?),
        "member" => order(member(line, reader)?),
        "snapshot" => order(snapshot(line)?),
        text if ailment::VERBS.contains(&text) => {
            ailment::parse(verb, line, reader).map(Deed::Fault)
        }
        _ => fault(verb, line, reader).map(Deed::Fault),
    }
}

fn fault(verb: Word<'_>, mut line: Line<'_>, reader: &mut Reader) -> Result<Wish, Mistake> {
    let healthy = Policy::default();
    let wish = match verb.text {
        "partition" => Wish::Partition { groups: reader.groups(line.rest("a group of nodes")?)? },
        "isolate" => Wish::Isolate { nodes: reader.nodes(line.rest("a node")?)? },
        "one-way" => {
            let from = reader.nodes(line.expect("whose messages are lost")?)?;
            let to = match line.expect("on their way to whom")? {
                Word { text: "to", .. } => line.expect("on their way to whom")?,
                word => word,
            };
            Wish::OneWay { from, to: reader.nodes(to)? }
        }
        "rings" => Wish::Rings,
        "bridge" => Wish::Bridge { node: reader.who(line.expect("the node in between")?)? },
        "cut" => {
            let links = reader.links(line.rest("a link, as in `1-2` or `1:2`,")?)?;
            Wish::Link { links, policy: Policy::cut() }
        }
        "stall" | "delay" | "loss" | "dup" | "reorder" | "rate" => {
            return on_links(verb, line, reader, healthy);
        }
        unknown => {
            let mistake = verb.wrong(format!("`{unknown}` is nothing that a step can do"));
            let all = || VERBS.iter().chain(ailment::VERBS).copied();
            let guess = mistake.near(unknown, all());
            let list = format!("it is one of {}", all().collect::<Vec<_>>().join(", "));
            return Err(Mistake { help: guess.help.clone().or(Some(list)), ..guess });
        }
    };
    line.finish()?;
    Ok(wish)
}

/// Something less than a cut.
fn on_links(
    verb: Word<'_>,
    mut line: Line<'_>,
    reader: &mut Reader,
    mut policy: Policy,
) -> Result<Wish, Mistake> {
    match verb.text {
        "stall" => policy.stall = true,
        "delay" => {
            policy.delay =
                line.expect("how long a message is on its way")?.parse(parse_duration)?;
            if let Some(word) = line.option("--jitter")? {
                policy.jitter = word.parse(parse_duration)?;
            }
            if let Some(word) = line.option("--distribution")? {
                policy.distribution = word.parse(str::parse::<Distribution>)?;
            }
        }
        "loss" => {
            policy.loss = line.expect("a share, as in `5%`,")?.parse(parse_share)?;
            if let Some(word) = line.option("--burst")? {
                policy.loss_burst = word.parse(parse_number)?;
            }
        }
        "dup" => policy.duplicate = line.expect("a share, as in `5%`,")?.parse(parse_share)?,
        "reorder" => {
            policy.reorder = line.expect("a share, as in `5%`,")?.parse(parse_share)?;
            policy.reorder_hold = match line.option("--hold")? {
                Some(word) => word.parse(parse_positive_duration)?,
                None => std::time::Duration::from_millis(10),
            };
        }
        _ => {
            let rate = line.expect("bytes a second, as in `64KiB`,")?.parse(parse_size)?;
            policy.rate = Some(rate as u64);
        }
    }
    let links = match line.option("--links")? {
        Some(word) => reader.links(word)?,
        None => Links::All,
    };
    line.finish()?;
    Ok(Wish::Link { links, policy })
}

fn parse_number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn node(mut line: Line<'_>, reader: &mut Reader) -> Result<Order, Mistake> {
    if let Some(verb) = line.words.first().filter(|verb| verb.text == "pause") {
        return Err(verb.wrong("a pause here would have no end").help("write `pause NODES`"));
    }
    let verb = line.second("node", &["kill", "restart", "stop", "start"])?;
    let nodes = reader.nodes(line.rest("a node")?)?;
    line.finish()?;
    Ok(match verb.text {
        "kill" => Order::Kill { nodes },
        "restart" => Order::Restart { nodes },
        "stop" => Order::Stop { nodes },
        _ => Order::Start { nodes },
    })
}

fn leader(mut line: Line<'_>, reader: &mut Reader) -> Result<Order, Mistake> {
    line.second("leader", &["transfer"])?;
    let to = match line.next() {
        Some(word) => Some(reader.who(word)?),
        None => None,
    };
    line.finish()?;
    Ok(Order::Transfer { to })
}

fn member(mut line: Line<'_>, reader: &mut Reader) -> Result<Order, Mistake> {
    let verb = line.second("member", &["add", "promote", "remove"])?;
    let order = match verb.text {
        "add" => {
            let learner = line.flag("--learner");
            line.finish()?;
            return Ok(Order::Add { learner });
        }
        "promote" => Order::Promote { node: reader.who(line.expect("a node")?)? },
        _ => Order::Remove { node: reader.who(line.expect("a node")?)? },
    };
    line.finish()?;
    Ok(order)
}

fn snapshot(mut line: Line<'_>) -> Result<Order, Mistake> {
    line.second("snapshot", &["now"])?;
    line.finish()?;
    Ok(Order::Snapshot)
}
