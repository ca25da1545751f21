//! Whatever strangers send: nothing panics, and what is read means the same when written again.

use super::catalog::catalog;
use super::reading::read;
use super::writing::Writer;
use crate::types::Random;

const SAMPLES: &[(&str, &str)] = &[
    (
        "/etcdserverpb.KV/Range",
        concat!(
            r#"{"key":"Zm9v","rangeEnd":"Zm9w","limit":"5","revision":-1,"sort_order":"DESCEND","#,
            r#""sort_target":3,"serializable":true,"min_mod_revision":null}"#
        ),
    ),
    (
        "/etcdserverpb.KV/Txn",
        concat!(
            r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"1"},null],"success":"#,
            r#"[{"requestPut":{"key":"Zm9v","value":"YmFy"}},{"request_txn":{"failure":[{}]}}],"#,
            r#""x":[{"\u0041\"":1e5}]}"#
        ),
    ),
    (
        "/etcdserverpb.Watch/Watch",
        r#"{"create_request":{"key":"dw==","filters":["NOPUT",1,0],"watch_id":"-7"}} {}"#,
    ),
    (
        "/etcdserverpb.Cluster/MemberAdd",
        "{\"peerURLs\":[\"http://a\\n\",\"ü\"],\"isLearner\":true}",
    ),
];

/// A sample with a few changes: other samples' bytes, cuts, and what JSON is made of.
fn changed(random: &mut Random, sample: &str) -> Vec<u8> {
    const PARTS: &[u8] = b"{}[]:,\"\\ 019-.eE+=/ntu\xff\x00\xc3";
    let mut text = sample.as_bytes().to_vec();
    for _ in 0..random.below(6) {
        let place = random.below(text.len() as u64 + 1) as usize;
        match random.below(4) {
            0 => text.truncate(place),
            1 => text.insert(place, PARTS[random.below(PARTS.len() as u64) as usize]),
            2 => drop(text.get(place).is_some().then(|| text.remove(place))),
            _ => {
                let end = (place + random.below(20) as usize).min(text.len());
                text.extend_from_within(place..end);
            }
        }
    }
    text
}

#[test]
fn what_strangers_send_is_refused_or_keeps_its_meaning() {
    let mut random = Random::from_seed(7);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..20_000 {
        let (method, sample) = SAMPLES[round % SAMPLES.len()];
        let message = catalog().method(method).unwrap().input;
        let text = changed(&mut random, sample);
        let Ok(wire) = read(catalog(), message, &text) else {
            refused += 1;
            continue;
        };
        taken += 1;
        let mut again = String::new();
        let mut writer = Writer::new(catalog(), message, wire.clone().into()).unwrap();
        assert_eq!(writer.write(&mut again, usize::MAX), Ok(true));
        let meaning = read(catalog(), message, again.as_bytes());
        assert_eq!(meaning, Ok(wire), "{} is written {again}", text.escape_ascii());
    }
    assert!(taken > 2000 && refused > 2000, "{taken} were taken, {refused} refused");
}

/// The same for what comes from the services: a message that is cut or bent is no text, or some.
#[test]
fn bytes_of_any_kind_are_written_or_refused() {
    let mut random = Random::from_seed(8);
    let (mut written, mut refused) = (0, 0);
    for round in 0..20_000 {
        let (method, sample) = SAMPLES[round % SAMPLES.len()];
        let message = catalog().method(method).unwrap().input;
        let mut wire = read(catalog(), message, sample.as_bytes()).unwrap();
        for _ in 0..random.below(3) {
            let place = random.below(wire.len() as u64) as usize;
            wire[place] = random.below(256) as u8;
        }
        let writer = Writer::new(catalog(), message, wire.into());
        let text = writer.and_then(|mut writer| {
            let mut text = String::new();
            writer.write(&mut text, usize::MAX).map(|_| text)
        });
        match text {
            Ok(text) => {
                serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
                written += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(written > 2000 && refused > 2000, "{written} were written, {refused} refused");
}
