//! What the page costs: `cargo test --release --test console measured -- --ignored --nocapture`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::kvctl_home::Home;

/// Times that the page is opened.
const OPENINGS: usize = 7;

/// How long it is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// What the browser counts, by name.
fn counted(page: &mut Browser) -> impl Fn(&str) -> f64 + use<> {
    let metrics = page.command("Performance.getMetrics", json!({}));
    move |name| {
        let metrics = metrics["metrics"].as_array().unwrap();
        let metric = metrics.iter().find(|metric| metric["name"] == name);
        metric.and_then(|metric| metric["value"].as_f64()).unwrap()
    }
}

#[test]
#[ignore = "it measures, which wants a quiet machine"]
fn measured() {
    let home = Home::with(5);
    let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
    let shown = "document.querySelectorAll('[data-role=leader]').length === 1";
    let mut paints = Vec::new();
    for _ in 1..OPENINGS {
        let mut page = Browser::open(&url, (1400, 900));
        page.until(shown);
        page.until(&format!("({paint}) !== null"));
        paints.push(page.evaluate(paint).as_f64().unwrap());
    }
    paints.sort_by(f64::total_cmp);
    println!("first paint, milliseconds: {paints:.0?}");

    let mut load = home.command(&["bench", "--op", "mixed", "--clients", "4", "--duration", "90s"]);
    let mut load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut page = Browser::open(&url, (1400, 900));
    page.until(shown);
    page.command("Performance.enable", json!({}));
    // Frames that were drawn, and what the longest of them kept the page from anything else.
    page.evaluate(
        "window.frames_ = 0; window.long_ = 0;
         (function frame() { window.frames_ += 1; requestAnimationFrame(frame); })();
         new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
           window.long_ = Math.max(window.long_, entry.duration);
         })).observe({ type: 'longtask' });",
    );
    let before = counted(&mut page);
    let frames: Value = page.evaluate("window.frames_");
    std::thread::sleep(LOOK);
    let after = counted(&mut page);
    let frames = page.evaluate("window.frames_").as_f64().unwrap() - frames.as_f64().unwrap();
    let a_frame = |name: &str| (after(name) - before(name)) * 1e3 / frames;
    println!(
        "{frames} frames in {LOOK:?}; of each, script {:.3} ms, style {:.3} ms, layout {:.3} ms, \
         all tasks {:.3} ms; the longest task over 50 ms: {} ms; heap {:.1} MiB",
        a_frame("ScriptDuration"),
        a_frame("RecalcStyleDuration"),
        a_frame("LayoutDuration"),
        a_frame("TaskDuration"),
        page.evaluate("window.long_"),
        after("JSHeapUsedSize") / f64::from(1 << 20),
    );
    load.kill().unwrap();
    load.wait().unwrap();
}
