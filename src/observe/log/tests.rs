use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use super::*;

/// A place that many may write to, and that can be looked at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

struct Pen<'p>(MutexGuard<'p, Vec<u8>>);

impl Write for Pen<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'p> MakeWriter<'p> for Paper {
    type Writer = Pen<'p>;

    fn make_writer(&'p self) -> Pen<'p> {
        Pen(self.0.lock().unwrap())
    }
}

/// What is written while `say` speaks.
fn written(format: LogFormat, standing: Standing, say: impl FnOnce()) -> Vec<String> {
    let paper = Paper::default();
    let filter = EnvFilter::new("debug");
    let subscriber = subscriber(format, filter, standing, paper.clone(), false);
    tracing::subscriber::with_default(subscriber, say);
    let bytes = paper.0.lock().unwrap();
    std::str::from_utf8(&bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_says_whose_it_is_and_where_in_the_history() {
    let standing = Standing::of(NodeId(2));
    let lines = written(LogFormat::Text, standing.clone(), || {
        tracing::info!("starts");
        standing.set(Term(3), LogIndex(17));
        tracing::warn!(peer = %NodeId(1), "not connected");
        tracing::info!(term = %Term(4), "stands for election");
    });
    let ends: Vec<&str> = lines.iter().map(|line| &line[27..]).collect();
    assert_eq!(
        ends,
        [
            "  INFO starts node=2",
            "  WARN not connected peer=1 node=2 term=3 commit=17",
            "  INFO stands for election term=4 node=2 commit=17",
        ]
    );
    assert!(lines.iter().all(|line| line.as_bytes()[26] == b'Z'), "{lines:?}");
}

#[test]
fn a_program_that_is_no_node_says_only_what_it_says() {
    let lines = written(LogFormat::Text, Standing::nowhere(), || tracing::info!("here"));
    assert!(lines[0].ends_with("INFO here"), "{lines:?}");
}

#[test]
fn json_has_the_same_fields_and_numbers_are_numbers() {
    let standing = Standing::of(NodeId(2));
    standing.set(Term(3), LogIndex(17));
    let lines = written(LogFormat::Json, standing, || {
        let peer = NodeId(1);
        tracing::warn!(%peer, held_back = 5, why = "a \"quoted\"\nword", ok = true, "lost");
        tracing::info!("12");
    });
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&first["level"], &first["message"]), (&"WARN".into(), &"lost".into()));
    assert_eq!((&first["node"], &first["term"]), (&2.into(), &3.into()));
    assert_eq!((&first["commit"], &first["peer"]), (&17.into(), &1.into()));
    assert_eq!((&first["held_back"], &first["ok"]), (&5.into(), &true.into()));
    assert_eq!(first["why"], "a \"quoted\"\nword");
    assert!(first["target"].as_str().unwrap().starts_with("kvraft::observe"), "{first}");
    assert!(lines[0].starts_with("{\"timestamp\":\"20"), "{}", lines[0]);
    let second: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(second["message"], "12");
}

#[test]
fn who_shouts_is_held_back_and_who_debugs_is_not() {
    let shout = || (0..1000).for_each(|_| tracing::warn!("again"));
    let node = || Standing::of(NodeId(1));
    let lines = written(LogFormat::Text, node(), shout);
    assert!((BURST as usize..500).contains(&lines.len()), "{}", lines.len());
    let debug = || (0..1000).for_each(|_| tracing::debug!("again"));
    assert_eq!(written(LogFormat::Text, node(), debug).len(), 1000);
    assert_eq!(written(LogFormat::Text, Standing::nowhere(), shout).len(), 1000);
}
