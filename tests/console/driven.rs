//! The page in a real browser, on a living cluster.

use std::time::Instant;

use crate::browser::Browser;
use crate::kvctl_home::Home;

fn url(home: &Home) -> String {
    home.json(&["console"])["url"].as_str().unwrap().to_owned()
}

#[test]
fn the_leader_is_paused_by_a_click_and_another_one_leads() {
    let home = Home::with(5);
    let mut page = Browser::open(&url(&home), (1400, 900));
    page.until("document.querySelectorAll('[id^=node-]').length === 5");
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    let shows = home.leader();
    page.until(&format!("document.querySelector('#leader').textContent.includes('{shows}')"));
    // The token is not left where others may see it.
    assert_eq!(page.evaluate("location.hash"), "");

    page.click(&format!("#node-{shows}"));
    page.click("[data-act=pause]");
    let paused = Instant::now();
    page.until(&format!("document.querySelector('#node-{shows}').dataset.state === 'paused'"));
    page.until(&format!("document.querySelector('#node-{shows}').dataset.unknown === 'true'"));
    page.until(&format!(
        "(() => {{ const leader = document.querySelector('[data-role=leader]'); \
         return leader && leader.id !== 'node-{shows}' && leader.dataset.unknown === 'false'; }})()"
    ));
    println!("another one leads in the picture after {:?}", paused.elapsed());
    page.click(&format!("#node-{shows}"));
    page.click("[data-act=resume]");
    page.until(&format!("document.querySelector('#node-{shows}').dataset.state === 'running'"));
}

#[test]
fn a_fault_is_drawn_and_its_end_comes_with_a_receipt() {
    let home = Home::with(3);
    let mut page = Browser::open(&url(&home), (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    home.ok(&["chaos", "cut", "1-2"]);
    page.until("document.querySelector('#link-1-2').dataset.fault === 'cut'");
    page.until("document.querySelector('#faults [data-fault-id]')");
    home.ok(&["chaos", "delay", "30ms", "--links", "2-3"]);
    page.until("document.querySelector('#link-2-3').dataset.fault === 'delay'");
    page.until("document.querySelector('#timeline').textContent.includes('delay 30ms on 2-3')");
    page.click("#heal-all");
    page.until("document.querySelector('#receipt').textContent.includes('committed')");
    page.until("document.querySelector('#link-1-2').dataset.fault === 'none'");
    assert_eq!(home.json(&["chaos", "status"])["faults"], serde_json::json!([]));

    // So does one whose time is over.
    home.ok(&["chaos", "cut", "1-3", "--for", "300ms"]);
    page.until("document.querySelector('#receipt').textContent.includes('its time was over')");
    page.until("document.querySelector('#receipt').textContent.includes('cut on 1-3')");
    page.until("document.querySelector('#receipt').textContent.includes('committed')");
}

#[test]
fn a_fault_that_comes_and_goes_is_drawn_as_it_is_at_the_moment() {
    let home = Home::with(3);
    let mut page = Browser::open(&url(&home), (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    assert_eq!(page.evaluate("document.querySelector('#flaps').hidden"), true);
    home.ok(&["chaos", "cut", "1-2", "--flap", "700ms/700ms"]);
    let link = "document.querySelector('#link-1-2').dataset";
    let chip = "document.querySelector('#faults [data-fault-id]').textContent";
    for _ in 0..2 {
        page.until(&format!("{link}.flaps === 'true' && {link}.fault === 'cut'"));
        page.until(&format!("{link}.fault === 'cut' && {chip}.includes('on now')"));
        page.until(&format!("{link}.fault === 'none' && {chip}.includes('off now')"));
    }
    assert_eq!(page.evaluate("document.querySelector('#flaps').hidden"), false);
    home.ok(&["chaos", "heal"]);
    page.until(&format!("{link}.flaps === 'false'"));
    // Too fast to be followed, and so it does not blink.
    home.ok(&["chaos", "cut", "1-2", "--flap", "50ms/50ms"]);
    page.until(&format!("{link}.flaps === 'true' && {link}.fault === 'cut'"));
}

#[test]
fn what_a_guard_refuses_can_be_done_anyway_and_nothing_else() {
    let home = Home::new();
    home.up_with(1, &["protected = true"]);
    let mut page = Browser::open(&url(&home), (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    // Offered while it ran, wanted when it does not: that cannot be done, whoever insists.
    page.click("#node-1");
    page.until("document.querySelector('[data-act=pause]')");
    home.ok(&["node", "stop", "1", "--yes"]);
    page.click("[data-act=pause]");
    page.until("document.querySelector('.notice.failed')");
    assert_eq!(page.evaluate("document.querySelector('#refused').open"), false);
    home.ok(&["node", "start", "1"]);
    page.until("document.querySelector('#node-1').dataset.role === 'leader'");

    page.click("#node-1");
    page.click("[data-act=stop]");
    page.until("document.querySelector('#refused').open");
    page.until("document.querySelector('#refused-words').textContent.includes('protected')");
    page.click("#refused-no");
    assert_eq!(page.evaluate("document.querySelector('#node-1').dataset.state"), "running");
    page.click("#node-1");
    page.click("[data-act=stop]");
    page.click("#refused[open] #refused-yes");
    page.until("document.querySelector('#node-1').dataset.state === 'stopped'");
}

#[test]
fn without_its_token_or_its_supervisor_nothing_looks_healthy() {
    let home = Home::with(1);
    let url = url(&home);
    let (bare, _) = url.split_once('#').unwrap();
    let mut page = Browser::open(bare, (400, 800));
    page.until("document.body?.innerText.includes('kvctl console')");
    assert_eq!(page.evaluate("document.querySelectorAll('[data-role=leader]').length"), 0);
    drop(page);

    let mut page = Browser::open(&url, (400, 800));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    // Nothing is wider than a telephone.
    assert_eq!(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
    home.ok(&["cluster", "down"]);
    page.until("document.querySelector('#node-1').dataset.unknown === 'true'");
    home.ok(&["cluster", "up"]);
    page.until("document.querySelector('#node-1').dataset.unknown === 'false'");
}
