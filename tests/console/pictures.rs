//! The pictures in the README: `cargo test --test console pictures -- --ignored`.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::browser::Browser;
use crate::kvctl_home::Home;
use crate::slow::slow_page;

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/console");

fn shoot(page: &mut Browser, name: &str, theme: &str) {
    let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
    page.command("Emulation.setEmulatedMedia", theme);
    page.evaluate("scrollTo(0, 0)");
    // For what is drawn once a frame, and fades.
    std::thread::sleep(Duration::from_millis(600));
    let shot = page.command("Page.captureScreenshot", json!({ "format": "png" }));
    let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
    std::fs::create_dir_all(PLACE).unwrap();
    std::fs::write(format!("{PLACE}/{name}.png"), bytes).unwrap();
}

#[test]
#[ignore = "it writes files, for people to look at"]
fn pictures() {
    let home = Home::with(5);
    let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
    let mut load = home.command(&["bench", "--op", "mixed", "--clients", "4", "--duration", "60s"]);
    let mut load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut page = Browser::open(&url, (1400, 900));
    page.until("document.querySelectorAll('[data-role=leader]').length === 1");
    std::thread::sleep(Duration::from_secs(6));
    home.ok(&["chaos", "pause", "leader"]);
    home.ok(&["cluster", "wait", "--leader"]);
    std::thread::sleep(Duration::from_secs(4));
    home.ok(&["chaos", "delay", "40ms", "--links", "1-2"]);
    home.ok(&["chaos", "cut", "3-4"]);
    page.until("document.querySelector('#link-3-4').dataset.fault === 'cut'");
    std::thread::sleep(Duration::from_secs(3));
    shoot(&mut page, "wide-dark", "dark");
    shoot(&mut page, "wide-light", "light");
    let narrow = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    page.command("Emulation.setDeviceMetricsOverride", narrow);
    shoot(&mut page, "narrow-light", "light");
    shoot(&mut page, "narrow-dark", "dark");
    load.kill().unwrap();
    load.wait().unwrap();
}

#[test]
#[ignore = "it writes files, for people to look at"]
fn picture_of_slow_motion() {
    let (home, mut page) = slow_page(5);
    home.ok(&["node", "kill", "leader"]);
    page.until("document.querySelector('#steps [data-step=leads]')");
    // What a new leader has to write down for itself is soon over.
    std::thread::sleep(Duration::from_secs(8));
    let mut put = home.command(&["put", "greeting", "hello"]);
    let mut put = put.stdout(Stdio::null()).spawn().unwrap();
    page.until("document.querySelector('#steps li').dataset.step === 'stores'");
    shoot(&mut page, "slow-dark", "dark");
    put.wait().unwrap();
}
