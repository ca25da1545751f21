//! The page for those who do not see it, do not use a mouse, or have a small screen.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::kvctl_home::Home;

fn open(home: &Home, size: (u32, u32)) -> Browser {
    let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
    let mut page = Browser::open(&url, size);
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    page
}

/// The names of everything of a role, as a screen reader has them.
fn named(page: &mut Browser, role: &str) -> Vec<String> {
    let tree = page.command("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap().iter();
    let nodes = nodes.filter(|it| it["ignored"] == false && it["role"]["value"] == role);
    nodes.map(|it| it["name"]["value"].as_str().unwrap_or_default().to_owned()).collect()
}

fn press(page: &mut Browser, key: &str, code: u32) {
    for kind in ["rawKeyDown", "keyUp"] {
        let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
        page.command("Input.dispatchKeyEvent", event);
    }
}

/// What has the focus, and whether one can see that.
fn focused(page: &mut Browser) -> (String, bool) {
    let found = page.evaluate(
        "(() => { const it = document.activeElement; const style = getComputedStyle(it); \
         const wide = (name) => it.querySelector(name) && \
           parseFloat(getComputedStyle(it.querySelector(name)).strokeWidth); \
         const ringed = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; \
         return [it.id || it.textContent.trim(), \
           ringed || wide('.frame') === 4 || wide('.wire') === 6]; })()",
    );
    (found[0].as_str().unwrap().to_owned(), found[1] == true)
}

#[test]
fn a_screen_reader_is_told_roles_states_and_who_leads() {
    let home = Home::with(3);
    let mut page = open(&home, (1400, 900));
    page.command("Accessibility.enable", json!({}));
    let old = home.leader();
    let term = home.json(&["cluster", "status"])["term"].clone();
    let buttons = named(&mut page, "button");
    let one = |start: &str| buttons.iter().filter(|name| name.starts_with(start)).count();
    let leads = format!("node {old}, leader, term {term}, running, committed ");
    assert_eq!(one(&leads), 1, "{buttons:?}");
    assert_eq!((one("node "), one("link between node ")), (3, 3), "{buttons:?}");
    assert_eq!(one("link between node 1 and 2: no fault"), 1, "{buttons:?}");
    assert!(buttons.iter().all(|name| !name.is_empty()), "{buttons:?}");
    for (role, name) in [
        ("region", "the cluster"),
        ("region", "faults in force"),
        ("group", "which events"),
        ("main", ""),
        ("heading", "What happened"),
        ("table", ""),
    ] {
        assert!(named(&mut page, role).iter().any(|it| it == name), "{role} {name}");
    }

    home.ok(&["chaos", "cut", "1-2"]);
    page.until("document.querySelector('#link-1-2').dataset.fault === 'cut'");
    let buttons = named(&mut page, "button");
    assert!(buttons.contains(&"link between node 1 and 2: cut".to_owned()), "{buttons:?}");
    assert!(buttons.iter().any(|name| name.starts_with("heal fault ")), "{buttons:?}");
    home.ok(&["chaos", "heal"]);

    home.ok(&["chaos", "pause", &old.to_string()]);
    page.until(&format!(
        "/^node [^{old}] leads in term/.test(document.querySelector('#live').textContent)"
    ));
    let told = page.evaluate("document.querySelector('#live').textContent");
    let tree = page.command("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let is_live = |it: &&Value| {
        let properties = it["properties"].as_array().into_iter().flatten();
        let live = properties.clone().any(|it| it["name"] == "live" && it["value"]["value"] != "");
        it["role"]["value"] == "status" && live
    };
    let children = nodes.iter().filter(is_live).flat_map(|it| it["childIds"].as_array().unwrap());
    let spoken = children.filter_map(|id| nodes.iter().find(|it| it["nodeId"] == *id));
    let spoken: Vec<_> = spoken.map(|it| it["name"]["value"].clone()).collect();
    assert!(spoken.contains(&told), "{spoken:?}");
    let buttons = named(&mut page, "button");
    let paused = format!("node {old}, paused, unknown since ");
    assert!(buttons.iter().any(|it| it.starts_with(&paused) && it.ends_with(", paused")));
}

#[test]
fn the_keyboard_reaches_everything_and_shows_where_it_is() {
    let home = Home::with(3);
    let mut page = open(&home, (1400, 900));
    home.ok(&["chaos", "cut", "1-2"]);
    page.until("!document.querySelector('#heal-all').disabled");
    let mut reached = Vec::new();
    for _ in 0..40 {
        press(&mut page, "Tab", 9);
        let (what, is_seen) = focused(&mut page);
        // Around once: the focus leaves the page, and comes back to its first link.
        if reached.contains(&what)
            || page.evaluate("document.activeElement === document.body") == true
        {
            break;
        }
        assert!(is_seen, "{what} has the focus, and nobody sees it");
        reached.push(what);
    }
    let wanted = [
        "To the ring of nodes",
        "heal-all",
        "theme",
        "keys",
        "✕",
        "node-1",
        "all",
        "elections",
        "members",
        "timeline-box",
    ];
    for what in wanted {
        assert!(reached.iter().any(|it| it == what), "{what} is not among {reached:?}");
    }

    // Within the ring, the arrows go on: nodes, then their links; and a menu.
    page.evaluate("document.querySelector('#node-2').focus()");
    for node in ["node-3", "node-1", "node-2"] {
        press(&mut page, "ArrowRight", 39);
        assert_eq!(focused(&mut page), (node.to_owned(), true));
    }
    press(&mut page, "ArrowDown", 40);
    assert_eq!(focused(&mut page), ("link-1-2".to_owned(), true));
    press(&mut page, "ArrowRight", 39);
    assert_eq!(focused(&mut page), ("link-2-3".to_owned(), true));
    press(&mut page, "Enter", 13);
    page.until("!document.querySelector('#menu').hidden");
    assert!(focused(&mut page).1);
    let items = named(&mut page, "menuitem");
    assert!(items.iter().any(|name| name.starts_with("Cut")), "{items:?}");
    press(&mut page, "Escape", 27);
    assert_eq!(focused(&mut page), ("link-2-3".to_owned(), true));
}

/// Text that is smaller than 12 px, and what is to be touched and is smaller than 40 px.
const TOO_SMALL: &str = "(() => { \
    const found = []; \
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
    while (walk.nextNode()) { \
      const text = walk.currentNode.textContent.trim(); \
      const it = walk.currentNode.parentElement; \
      const style = getComputedStyle(it); \
      const scale = it.ownerSVGElement ? it.getScreenCTM().a : 1; \
      if (text === '' || it.closest('.unseen, noscript') || !it.getClientRects().length) continue; \
      if (parseFloat(style.fontSize) * scale < 11.99) found.push(`${text}: ${style.fontSize}`); \
    } \
    for (const it of document.querySelectorAll('button, .node')) { \
      const box = it.getBoundingClientRect(); \
      if (box.width && Math.min(box.width, box.height) < 39.9) \
        found.push(`${it.id || it.textContent}: ${box.width} x ${box.height}`); \
    } \
    for (const it of document.querySelectorAll('.touch')) \
      if (parseFloat(getComputedStyle(it).strokeWidth) * it.getScreenCTM().a < 39.9) \
        found.push(it.parentElement.id); \
    return found; })()";

#[test]
fn on_a_telephone_nothing_is_too_small_to_read_or_to_touch() {
    let home = Home::with(5);
    let mut page = open(&home, (390, 844));
    let narrow = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    page.command("Emulation.setDeviceMetricsOverride", narrow);
    home.ok(&["chaos", "pause", "1"]);
    home.ok(&["chaos", "delay", "20ms", "--links", "2-3"]);
    page.until("document.querySelectorAll('#faults [data-fault-id]').length === 2");
    page.until("document.querySelector('#node-1').dataset.unknown === 'true'");
    assert_eq!(page.evaluate(TOO_SMALL), json!([]));
    page.click("#node-2");
    page.until("!document.querySelector('#menu').hidden");
    assert_eq!(page.evaluate(TOO_SMALL), json!([]));
    page.click("#menu [data-act=pause]");
    page.until("document.querySelector('#node-2').dataset.state === 'paused'");
    page.click("#heal-all");
    page.until("!document.querySelector('#receipt').hidden");
    assert_eq!(page.evaluate(TOO_SMALL), json!([]));
    page.click("#keys");
    page.until("document.querySelector('#help').open");
    assert_eq!(page.evaluate(TOO_SMALL), json!([]));
    assert_eq!(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
}

#[test]
fn nothing_moves_for_those_who_do_not_want_it() {
    let home = Home::with(3);
    let mut page = open(&home, (1400, 900));
    page.until("document.getAnimations().length > 0");
    let still = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    page.command("Emulation.setEmulatedMedia", still);
    page.until("document.getAnimations().length === 0");
}
