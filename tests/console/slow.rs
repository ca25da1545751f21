//! Slow motion: a cluster whose every step is told.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::kvctl_home::Home;

/// A cluster in slow motion, and its page once somebody leads.
pub fn slow_page(nodes: u32) -> (Home, Browser) {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", &nodes.to_string(), "--slow", "20x"]);
    let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
    let mut page = Browser::open(&url, (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    (home, page)
}

/// Waits until these steps stand in the list in this order, whatever stands between them.
fn told(page: &mut Browser, steps: &[&str]) {
    page.until(&format!(
        "(() => {{ const wanted = {}; \
         for (const it of [...document.querySelectorAll('#steps li')].reverse()) \
         if (it.dataset.step === wanted[0]) wanted.shift(); \
         return wanted.length === 0; }})()",
        json!(steps)
    ));
}

fn chapters(page: &mut Browser, step: &str) -> Value {
    page.evaluate(&format!(
        "[...document.querySelectorAll('#steps [data-step={step}] .chapter')] \
         .map((it) => it.title)"
    ))
}

#[test]
fn an_election_and_a_write_are_told_step_by_step() {
    let (home, mut page) = slow_page(3);
    page.until("document.querySelector('#slow').textContent === 'slow motion 20x'");
    // A message is drawn for as long as it takes: a fifth of a heartbeat's second, and a little.
    page.until(
        "document.getAnimations().some(({ effect }) => effect.target.matches('.message') && \
         effect.getTiming().duration > 150 && effect.getTiming().duration < 600)",
    );
    home.ok(&["put", "k", "v"]);
    told(&mut page, &["appends", "stores", "stores", "answers", "commits", "applies", "learns"]);
    let replication = "kvraft::consensus::raft::replication, in cargo doc";
    assert_eq!(chapters(&mut page, "appends")[0], replication);

    let old = home.leader();
    home.ok(&["node", "pause", &old.to_string()]);
    let election = ["node-paused", "asks-would", "asks-votes", "votes", "leads", "follows"];
    let first_entry = ["stores", "answers", "commits", "learns"];
    told(&mut page, &[&election[..], &first_entry[..]].concat());
    let words = page.evaluate("document.querySelector('#steps [data-step=leads]').textContent");
    let new = home.leader();
    assert!(words.as_str().unwrap().contains(&format!("Node {new} has the votes")), "{words}");
    assert_ne!(old, new);
    home.ok(&["node", "resume", &old.to_string()]);
    told(&mut page, &["leads", "node-resumed", "steps-down"]);
    // By a newer term that it hears of, or because its own clock says first how long it has not
    // heard a majority.
    let chapter = chapters(&mut page, "steps-down")[0].as_str().unwrap().to_owned();
    let may_be = ["state", "election"].map(|it| format!("::raft::{it}, in cargo doc"));
    assert!(may_be.iter().any(|it| chapter.ends_with(it)), "{chapter}");
}

#[test]
fn real_time_has_one_caption_and_no_list_of_steps() {
    let home = Home::with(1);
    let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
    let mut page = Browser::open(&url, (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    page.until("document.querySelector('#teach .chapter').title.includes('::raft::')");
    assert_eq!(page.evaluate("document.querySelector('#steps-box').hidden"), true);
    assert_eq!(page.evaluate("document.querySelector('#slow').hidden"), true);

    // What a short life seldom has: told of states that are made for it.
    page.evaluate("import('/console/story.js').then((story) => window.story = story)");
    page.until("window.story");
    let report = |role: &str, more: Value| {
        let mut report = json!({
            "pid": 1, "role": role, "term": 2, "voted_for": null, "leader": 1, "last_index": 9,
            "durable_index": 9, "commit_index": 7, "applied_index": 7, "snapshot_index": null,
            "snapshots_installed": 0, "transfer_target": null, "voters": [1, 2, 3],
            "learners": [], "outgoing": [], "peers": [], "served": { "reads": 0 },
        });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    };
    let mut steps = |was: Value, is: Value| {
        let cluster = |report| json!({ "nodes": [{ "node": 1, "report": report }] });
        let (was, is) = (cluster(was), cluster(is));
        page.evaluate(&format!("story.stepsBetween({was}, {is}).map((step) => step.kind).join()"))
    };
    let leader = |more| report("leader", more);
    let follower = |more| report("follower", more);
    let none = || json!({});
    let peer = |state: &str| json!({ "peers": [{ "node": 2, "match_index": 3, "state": state }] });
    assert_eq!(steps(leader(none()), leader(none())), "");
    assert_eq!(steps(leader(none()), follower(none())), "steps-down");
    assert_eq!(steps(follower(none()), follower(json!({ "last_index": 7 }))), "removes");
    assert_eq!(steps(leader(none()), leader(json!({ "served": { "reads": 1 } }))), "reads");
    assert_eq!(steps(leader(none()), leader(json!({ "snapshot_index": 7 }))), "snapshot");
    let installed = json!({ "snapshot_index": 7, "snapshots_installed": 1 });
    assert_eq!(steps(follower(none()), follower(installed)), "installs");
    assert_eq!(steps(leader(none()), leader(json!({ "transfer_target": 2 }))), "transfers");
    assert_eq!(steps(leader(none()), leader(json!({ "outgoing": [1, 2] }))), "joint");
    assert_eq!(steps(leader(json!({ "outgoing": [1] })), leader(none())), "new-members");
    assert_eq!(steps(leader(none()), leader(json!({ "learners": [4] }))), "learner");
    // Of another node, the leader says how far it knows it to be.
    let two = |leader: Value| {
        json!({ "nodes": [{ "node": 1, "report": leader },
                          { "node": 2, "report": follower(none()) }] })
    };
    let (was, is) = (two(leader(peer("replicate"))), two(leader(peer("snapshot"))));
    let told = page.evaluate(&format!("story.stepsBetween({was}, {is})[0].kind"));
    assert_eq!(told, "progress-snapshot");
}
