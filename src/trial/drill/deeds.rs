//! What people did meanwhile, as the history of the cluster tells it.

use serde::Serialize;

use super::exercise::Remedy;
use crate::chaos::{Fault, FaultId};
use crate::control::Event;
use crate::types::NodeId;

/// Something that a person did to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// Unix time.
    pub time_millis: u64,
    pub node: Option<NodeId>,
    /// What, in words.
    pub what: String,
    /// It was part of mending.
    pub helped: bool,
}

/// The deed that `event` tells of, if it tells of one. `fault` is what was to be mended.
pub fn deed(event: &Event, fault: &Fault, remedy: Remedy) -> Option<Deed> {
    let detail = event.detail.as_str();
    let by_hand = detail == "on request";
    let concerned = event.node.is_some_and(|node| fault.nodes.contains(&node));
    let (what, mends) = match event.kind.as_str() {
        "node-started" if detail.ends_with("(asked)") => ("started", true),
        "node-resumed" if by_hand => ("resumed", true),
        "node-killed" if by_hand => ("killed", false),
        "node-paused" if by_hand => ("paused", false),
        "member-joining" => ("added", false),
        "member-promoted" => ("promoted", false),
        "member-removed" => ("removed", false),
        // To let another one lead costs nobody anything.
        "leadership-transferred" => return Some(told(event, "leadership transferred", true)),
        "fault-ended" if is_healed(event, fault.id) => {
            // What the cluster's own commands could have mended was not mended by them.
            return Some(told(event, "healed", remedy == Remedy::Heal));
        }
        _ => return None,
    };
    Some(told(event, what, mends && concerned && remedy == Remedy::Node))
}

fn told(event: &Event, what: &str, helped: bool) -> Deed {
    let Event { node, time_millis, .. } = event;
    let what = node.map_or_else(|| what.to_owned(), |node| format!("node {node} {what}"));
    Deed { time_millis: *time_millis, node: *node, what, helped }
}

/// Somebody has healed it.
fn is_healed(event: &Event, id: FaultId) -> bool {
    let ended = event.fault.as_ref().is_some_and(|fault| fault.id == id);
    ended && event.detail.contains(", healed after ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{Injection, NodeFault, View, Who, Wish};

    fn fault() -> Fault {
        let wish = Wish::Node { nodes: vec![Who::Leader], fault: NodeFault::Kill };
        let injection = Injection {
            wish,
            flap: None,
            duration_millis: None,
            by: "a drill".into(),
            blind: true,
        };
        let all = [1, 2, 3].map(NodeId).into();
        let view = View { all, leader: Some(NodeId(2)), ..View::default() };
        injection.begin(FaultId(7), &view, 0).unwrap()
    }

    fn event(node: u64, kind: &str, detail: &str) -> Event {
        let node = Some(NodeId(node)).filter(|node| node.0 > 0);
        let (kind, detail) = (kind.into(), detail.into());
        Event { sequence: 1, time_millis: 5, node, kind, detail, fault: None }
    }

    #[test]
    fn a_deed_helps_if_it_is_done_to_who_needs_it() {
        let of = |event: &Event, remedy| deed(event, &fault(), remedy).map(|deed| deed.helped);
        let start = |node| event(node, "node-started", "pid 12 (asked)");
        assert_eq!(of(&start(2), Remedy::Node), Some(true));
        assert_eq!(of(&start(3), Remedy::Node), Some(false));
        assert_eq!(of(&event(2, "node-started", "pid 12 (killed)"), Remedy::Node), None);
        assert_eq!(of(&event(1, "node-killed", "on request"), Remedy::Node), Some(false));
        assert_eq!(of(&event(2, "node-killed", "to stay dead"), Remedy::Node), None);
        let ended = |id, detail| {
            let fault = Some(Box::new(Fault { id: FaultId(id), ..fault() }));
            Event { fault, ..event(0, "fault-ended", detail) }
        };
        let heal = |id| ended(id, "fault 7: x, healed after 2s: no");
        assert_eq!(of(&heal(7), Remedy::Heal), Some(true));
        assert_eq!(of(&heal(7), Remedy::Node), Some(false));
        assert_eq!(of(&heal(8), Remedy::Heal), None);
        assert_eq!(of(&ended(7, "fault 7: x, its time was over: y"), Remedy::Heal), None);
    }
}
