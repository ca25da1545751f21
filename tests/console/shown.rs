//! What is shown, and what can be done.

use serde_json::{Value, json};

use crate::http::{Console, Stream};
use crate::kvctl_home::Home;

fn leader(stream: &Stream) -> Option<u64> {
    stream.state["cluster"]["leader"].as_u64()
}

fn happened(stream: &Stream, kind: &str, node: u64) -> bool {
    stream.history.iter().any(|event| event["kind"] == kind && event["node"] == node)
}

#[test]
fn a_leader_is_paused_and_healed_from_the_page() {
    let home = Home::with(3);
    let console = Console::of(&home);
    let mut page = console.stream();
    page.until("nobody leads", |it| leader(it).is_some());
    let old = leader(&page).unwrap();
    page.until("the beginning is missing", |it| happened(it, "leader-changed", old));
    home.ok(&["put", "k", "v"]);
    page.until("nothing was written", |it| {
        it.node(old)["report"]["served"]["writes"].as_u64() == Some(1)
    });
    let links = page.node(old)["report"]["links"].as_array().unwrap().clone();
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|it| it["connected"] == true && it["deliveries"].as_u64() > Some(0)));

    let fault = json!({ "wish": { "kind": "node", "nodes": [old.to_string()], "fault": "pause" },
                        "by": "anybody" });
    let (status, begun) = console.post("/fault", &json!({ "injection": fault }));
    assert_eq!(status, 200, "{begun}");
    assert_eq!(begun["fault"]["by"], "console");
    assert_eq!(begun["fault"]["text"], format!("pause {old}"));
    page.until("it is not paused", |it| it.node(old)["state"] == "paused");
    page.until("nobody else leads", |it| leader(it).is_some_and(|id| id != old));
    assert_eq!(page.state["faults"][0]["text"], format!("pause {old}"));
    let (status, healed) = console.post("/heal", &json!({ "faults": [] }));
    assert_eq!(status, 200, "{healed}");
    let words = healed["healed"][0]["text"].as_str().unwrap();
    assert!(words.contains(&format!("leader {old} to ")), "{words}");
    page.until("it does not go on", |it| it.node(old)["state"] == "running");
    page.until("the end is not told", |it| {
        it.history.iter().any(|event| event["kind"] == "fault-ended")
    });
    assert_eq!(page.state["faults"], json!([]));
}

#[test]
fn nodes_are_acted_upon_and_what_cannot_be_done_is_told() {
    let home = Home::with(3);
    let console = Console::of(&home);
    let mut page = console.stream();
    page.until("nobody leads", |it| leader(it).is_some());
    let (status, _) = console.post("/act", &json!({ "node": 2, "action": "stop" }));
    assert_eq!(status, 200);
    page.until("it is not stopped", |it| it.node(2)["state"] == "stopped");
    let (status, _) = console.post("/act", &json!({ "node": 2, "action": "start" }));
    assert_eq!(status, 200);
    page.until("it does not run", |it| it.node(2)["state"] == "running");
    let refused = |path: &str, body: &Value| {
        let (status, answer) = console.post(path, body);
        assert_eq!(status, 409, "{answer}");
        assert_eq!(answer["may_insist"], false, "{answer}");
        answer["refused"].as_str().unwrap().to_owned()
    };
    let why = refused("/act", &json!({ "node": 9, "action": "kill" }));
    assert!(why.contains("there is no node 9"), "{why}");
    let why = refused("/heal", &json!({ "faults": [7] }));
    assert!(why.contains("there is no fault 7"), "{why}");
    let nobody = json!({ "wish": { "kind": "isolate", "nodes": ["9"] }, "by": "" });
    refused("/fault", &json!({ "injection": nobody }));
}

#[test]
fn a_guard_can_be_overruled_and_says_so() {
    let home = Home::new();
    home.up_with(3, &["protected = true"]);
    let console = Console::of(&home);
    let mut page = console.stream();
    page.until("nobody leads", |it| leader(it).is_some());
    let both = json!({ "kind": "isolate", "nodes": ["1", "2"] });
    let act = |yes| json!({ "injection": { "wish": both, "by": "" }, "yes": yes });
    let (status, answer) = console.post("/fault", &act(false));
    assert_eq!((status, &answer["may_insist"]), (409, &json!(true)), "{answer}");
    let (status, answer) = console.post("/fault", &act(true));
    assert_eq!(status, 200, "{answer}");
    let warning = answer["warning"].as_str().unwrap();
    assert!(warning.contains("no majority"), "{warning}");
}

#[test]
fn history_can_be_read_back_to_its_beginning() {
    let home = Home::with(1);
    let console = Console::of(&home);
    let mut page = console.stream();
    page.until("nothing has happened", |it| it.history.len() >= 4);
    let newest = page.history.last().unwrap()["sequence"].as_u64().unwrap();
    let (status, before) = console.get(&format!("/history?before={newest}"));
    assert_eq!(status, 200);
    let sequences: Vec<_> =
        before.as_array().unwrap().iter().map(|it| it["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.iter().copied().eq(1..newest), "{sequences:?}");
    assert_eq!(console.get("/history?before=1").1, json!([]));
}

#[test]
fn a_state_is_the_same_for_all_pages() {
    let home = Home::with(1);
    let console = Console::of(&home);
    let (mut one, mut other) = (console.stream(), console.stream());
    let made = |page: &Stream| page.state["now"].as_u64().unwrap_or(0);
    // Each is read on until both are at the same one; were there two of each, that would not be.
    for _ in 0..50 {
        let before = made(&one);
        one.until("no state comes", |it| made(it) > before);
        let wanted = made(&one);
        other.until("no state comes", |it| made(it) >= wanted);
        if made(&other) == wanted {
            return;
        }
    }
    panic!("each page has its own");
}

#[test]
fn pages_that_do_not_read_harm_nobody() {
    let home = Home::with(1);
    let console = Console::of(&home);
    // As many as there is room for, and none of them reads on.
    let deaf: Vec<_> = (0..64).map(|_| console.stream()).collect();
    let host = [("Host", console.address.as_str())];
    let (status, why) = console.ask("GET /console", &host, "");
    assert_eq!(status, 429, "{why}");
    // Metrics have room of their own.
    assert_eq!(console.ask("GET /metrics", &host, "").0, 200);
    assert!(home.json(&["cluster", "status"])["ready"].as_bool().unwrap());
    drop(deaf);
    let mut page = console.stream();
    page.until("there is no room again", |it| leader(it).is_some());
}
