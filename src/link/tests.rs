//! The faults together, as a node meets them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn link(policy: Policy) -> Link<u64> {
    let mut link = Link::new(Random::from_seed(1));
    link.set_policy(policy, at(0)).unwrap();
    link
}

/// Hands in one bulk message of 100 bytes at each millisecond from 1 on, and takes out whatever
/// leaves whenever it does: (millisecond, message), until nothing waits.
fn deliveries(link: &mut Link<u64>, messages: u64) -> Vec<(u64, u64)> {
    let mut delivered = Vec::new();
    for message in 1..=messages {
        take(link, at(message), &mut delivered);
        let leaving = link.admit(message, Class::Bulk, 100, at(message));
        delivered.extend(leaving.map(|leaving| (message, leaving)));
    }
    take(link, Instant(Duration::MAX), &mut delivered);
    delivered
}

fn take(link: &mut Link<u64>, until: Instant, delivered: &mut Vec<(u64, u64)>) {
    while let Some(next) = link.next_deadline().filter(|next| *next <= until) {
        let before = delivered.len();
        delivered.extend(link.due(next).map(|message| (next.0.as_millis() as u64, message)));
        assert!(delivered.len() > before, "a deadline at which nothing was due");
    }
}

fn messages(delivered: &[(u64, u64)]) -> Vec<u64> {
    delivered.iter().map(|(_, message)| *message).collect()
}

#[test]
fn without_a_policy_everything_leaves_at_once_and_nothing_is_counted() {
    let mut link = link(Policy::default());
    let delivered = deliveries(&mut link, 100);
    assert_eq!(delivered, (1..=100).map(|message| (message, message)).collect::<Vec<_>>());
    assert_eq!(link.counters(), Counters::default());
    assert!(link.clear);
}

#[test]
fn a_delay_shifts_everything_by_the_same() {
    let mut link = link(Policy { delay: millis(30), ..Policy::default() });
    let delivered = deliveries(&mut link, 100);
    assert_eq!(delivered, (1..=100).map(|message| (message + 30, message)).collect::<Vec<_>>());
    assert_eq!(link.counters(), Counters { delayed: 100, ..Counters::default() });
    assert_eq!(link.waiting(), Room::default());
}

#[test]
fn jitter_spreads_and_keeps_the_order() {
    for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::LongTail] {
        let (delay, jitter) = (millis(30), millis(20));
        let mut link = link(Policy { delay, jitter, distribution, ..Policy::default() });
        let delivered = deliveries(&mut link, 500);
        assert_eq!(messages(&delivered), (1..=500).collect::<Vec<_>>());
        let delays: std::collections::BTreeSet<_> =
            delivered.iter().map(|(when, message)| when - message).collect();
        assert!(delays.len() > 10, "{distribution:?}: {delays:?}");
    }
}

#[test]
fn reordering_lets_later_ones_overtake_and_loses_nothing() {
    let hold = millis(5);
    let mut link = link(Policy { reorder: 0.2, reorder_hold: hold, ..Policy::default() });
    let delivered = messages(&deliveries(&mut link, 500));
    let mut sorted = delivered.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=500).collect::<Vec<_>>());
    let overtaken = delivered.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!((40..=130).contains(&overtaken), "{overtaken}");
    assert!((70..=130).contains(&link.counters().reordered), "{:?}", link.counters());
    // Those who are not held back keep their order.
    let displaced = delivered.iter().zip(1..).filter(|(found, wanted)| **found > wanted + 5);
    assert_eq!(displaced.count(), 0);
}

#[test]
fn duplicates_follow_their_originals() {
    let mut link = link(Policy { duplicate: 1.0, delay: millis(3), ..Policy::default() });
    let delivered = messages(&deliveries(&mut link, 50));
    assert_eq!(delivered, (1..=50).flat_map(|message| [message, message]).collect::<Vec<_>>());
    // Without a delay the first leaves at once, and its copy when asked for.
    link.set_policy(Policy { duplicate: 1.0, ..Policy::default() }, at(100)).unwrap();
    assert_eq!(link.admit(7, Class::Bulk, 1, at(100)), Some(7));
    assert_eq!(link.next_deadline(), Some(at(100)));
    assert_eq!(link.admit(8, Class::Bulk, 1, at(100)), None, "it must not overtake the copy");
    assert_eq!(link.due(at(100)).collect::<Vec<_>>(), [7, 8, 8]);
    assert_eq!(link.counters().duplicated, 52);
}

#[test]
fn loss_takes_its_share() {
    let mut link = link(Policy { loss: 0.1, ..Policy::default() });
    let delivered = deliveries(&mut link, 2000);
    assert_eq!(delivered.len() as u64 + link.counters().lost, 2000);
    assert!((146..=254).contains(&link.counters().lost), "{:?}", link.counters());
}

#[test]
fn a_cut_stops_what_is_on_its_way_too() {
    let mut link = link(Policy { delay: millis(10), ..Policy::default() });
    assert_eq!(link.admit(1, Class::Bulk, 1, at(1)), None);
    link.set_policy(Policy::cut(), at(2)).unwrap();
    assert_eq!(link.admit(2, Class::Control, 1, at(3)), None);
    assert_eq!((link.next_deadline(), link.due(at(100)).count()), (None, 0));
    assert_eq!(link.counters().cut, 2);
    link.set_policy(Policy::default(), at(200)).unwrap();
    assert_eq!(link.admit(3, Class::Bulk, 1, at(200)), Some(3));
    assert!(link.clear);
}

#[test]
fn healing_lets_what_waits_arrive_first() {
    let mut link = link(Policy { delay: millis(1000), ..Policy::default() });
    for message in [1, 2] {
        link.admit(message, Class::Bulk, 1, at(message));
    }
    // The same policy again is no change.
    link.set_policy(link.policy().clone(), at(3)).unwrap();
    assert_eq!(link.next_deadline(), Some(at(1001)));
    link.set_policy(Policy::default(), at(4)).unwrap();
    assert_eq!(link.admit(3, Class::Bulk, 1, at(5)), None);
    assert_eq!(link.due(at(5)).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(link.admit(4, Class::Bulk, 1, at(5)), Some(4));
}

#[test]
fn a_policy_that_makes_no_sense_changes_nothing() {
    let mut link = link(Policy { delay: millis(10), ..Policy::default() });
    let before = link.policy().clone();
    assert!(link.set_policy(Policy { loss: 2.0, ..Policy::default() }, at(1)).is_err());
    assert_eq!(*link.policy(), before);
}

/// However much is handed in, the rate is kept; and what was dropped for want of room does not make
/// the line any slower for what comes after.
#[test]
fn an_overloaded_link_carries_its_rate_and_no_less() {
    let bounds = Bounds { bulk: Room { messages: 50, bytes: 1 << 20 }, ..Bounds::default() };
    let mut link = Link::with_bounds(Random::from_seed(1), bounds);
    // Ten messages of a hundred bytes in each hundred milliseconds; a hundred are handed in.
    link.set_policy(Policy { rate: Some(10_000), ..Policy::default() }, at(0)).unwrap();
    let delivered = deliveries(&mut link, 10_000);
    let within = delivered.iter().filter(|(when, _)| *when <= 10_000).count();
    assert!((995..=1000).contains(&within), "{within}");
    let longest = delivered.iter().map(|(when, message)| when - message).max();
    assert!(longest <= Some(510), "the backlog must stay what the queue holds: {longest:?}");
    assert_eq!(delivered.len() as u64 + link.counters().overflowed, 10_000);
    assert!(messages(&delivered).is_sorted());
}

#[test]
fn heartbeats_pass_bulk_on_a_slow_and_full_link() {
    let mut link = link(Policy { rate: Some(100_000), delay: millis(10), ..Policy::default() });
    let mut bulk = 0;
    while link.counters().overflowed == 0 {
        link.admit(bulk, Class::Bulk, 100_000, at(1));
        bulk += 1;
    }
    assert_eq!(bulk, 168, "16 MiB of bulk wait");
    for heartbeat in 0..20u64 {
        let sent = at(1 + 50 * heartbeat);
        assert_eq!(link.admit(1000 + heartbeat, Class::Control, 100, sent), None);
        let arrived = link.due(sent + millis(11)).filter(|message| *message >= 1000);
        assert_eq!(arrived.collect::<Vec<_>>(), [1000 + heartbeat]);
    }
}

#[test]
fn the_newest_is_dropped_when_there_is_no_room_and_one_always_fits() {
    let room = Room { messages: 3, bytes: 100 };
    let mut link = Link::with_bounds(Random::from_seed(1), Bounds { control: room, bulk: room });
    link.set_policy(Policy { delay: millis(1), ..Policy::default() }, at(0)).unwrap();
    for message in 1..=5 {
        link.admit(message, Class::Bulk, 10, at(0));
        link.admit(message + 10, Class::Control, 10, at(0));
    }
    assert_eq!(link.waiting(), Room { messages: 6, bytes: 60 });
    assert_eq!(link.due(at(1)).collect::<Vec<_>>(), [1, 11, 2, 12, 3, 13]);
    assert_eq!(link.counters().overflowed, 4);
    link.admit(6, Class::Bulk, 5000, at(1));
    link.admit(7, Class::Bulk, 1, at(1));
    assert_eq!(link.due(at(2)).collect::<Vec<_>>(), [6]);
}

fn everything() -> Policy {
    Policy {
        loss: 0.1,
        duplicate: 0.1,
        rate: Some(200_000),
        delay: millis(10),
        jitter: millis(5),
        distribution: Distribution::LongTail,
        reorder: 0.1,
        reorder_hold: millis(8),
        ..Policy::default()
    }
}

#[test]
fn a_seed_determines_every_delivery() {
    let run = |seed| {
        let mut link = Link::new(Random::from_seed(seed));
        link.set_policy(everything(), at(0)).unwrap();
        (deliveries(&mut link, 1000), link.counters())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// Taking a fault out of a scenario leaves what those before it did as it was.
#[test]
fn a_fault_does_not_disturb_those_before_it() {
    let lost = |policy| {
        let mut delivered = messages(&deliveries(&mut link(policy), 1000));
        delivered.sort_unstable();
        delivered.dedup();
        delivered
    };
    let loss_alone = lost(Policy { loss: 0.1, ..Policy::default() });
    assert_eq!(lost(everything()), loss_alone);
    assert!(loss_alone.len() < 1000);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let probability = || prop_oneof![2 => Just(0.0), 1 => 0.0..=1.0];
    let duration = || prop_oneof![2 => Just(0u64), 1 => 0..50u64].prop_map(millis);
    let distribution = prop::sample::select(vec![
        Distribution::Uniform,
        Distribution::Normal,
        Distribution::LongTail,
    ]);
    let rate = prop::option::weighted(0.3, 1000..1_000_000u64);
    let cut = prop::bool::weighted(0.1);
    let stall = prop::bool::weighted(0.1);
    let burst = prop_oneof![2 => Just(0.0), 1 => 1.0..20.0f64];
    (
        (cut, stall, burst),
        [probability(), probability(), probability()],
        rate,
        [duration(), duration()],
        distribution,
    )
        .prop_map(
            |(harder, [loss, duplicate, reorder], rate, [delay, jitter], distribution)| {
                let (cut, stall, loss_burst) = harder;
                Policy {
                    cut,
                    stall,
                    loss,
                    loss_burst,
                    duplicate,
                    rate,
                    delay,
                    jitter,
                    distribution,
                    reorder,
                    reorder_hold: millis(7),
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Under any changing policy, every message and every copy is delivered or counted as dropped,
    /// none early and none late; and each class keeps its order unless reordering is in force.
    #[test]
    fn nothing_vanishes_unaccounted(
        phases in prop::collection::vec((any_policy(), 1..80u64), 1..6),
        seed in any::<u64>(),
    ) {
        let room = Room { messages: 20, bytes: 4000 };
        let bounds = Bounds { control: room, bulk: room };
        let mut link = Link::with_bounds(Random::from_seed(seed), bounds);
        let ordered = phases.iter().all(|(policy, _)| policy.reorder == 0.0);
        let (mut now, mut sent) = (at(0), 0u64);
        let mut delivered: Vec<u64> = Vec::new();
        for (policy, messages) in phases {
            link.set_policy(policy, now).unwrap();
            for _ in 0..messages {
                now = now + Duration::from_micros(sent % 7 * 500);
                if let Some(deadline) = link.next_deadline().filter(|deadline| *deadline > now) {
                    prop_assert_eq!(link.due(now).count(), 0, "early, before {}", deadline);
                }
                delivered.extend(link.due(now));
                prop_assert!(link.next_deadline().is_none_or(|deadline| deadline > now));
                sent += 1;
                let class = if sent % 3 == 0 { Class::Control } else { Class::Bulk };
                delivered.extend(link.admit(sent, class, sent as usize * 37 % 900, now));
                prop_assert!(link.waiting().messages <= 40);
            }
        }
        if link.policy().stall {
            link.set_policy(Policy::default(), now).unwrap();
        }
        delivered.extend(link.due(Instant(Duration::MAX)));
        prop_assert_eq!(link.waiting(), Room::default());
        let Counters { cut, lost, overflowed, duplicated, .. } = link.counters();
        prop_assert_eq!(delivered.len() as u64 + cut + lost + overflowed, sent + duplicated);
        if ordered {
            let (control, bulk): (Vec<u64>, Vec<u64>) =
                delivered.iter().partition(|message| **message % 3 == 0);
            prop_assert!(control.is_sorted() && bulk.is_sorted(), "{:?}", delivered);
        }
    }
}

#[test]
fn a_stall_holds_everything_and_lets_it_come_in_order_when_it_is_over() {
    let mut link = Link::new(Random::from_seed(1));
    let stall = Policy { stall: true, ..Policy::default() };
    link.set_policy(stall, at(0)).unwrap();
    for message in 0..5 {
        assert_eq!(link.admit(message, Class::Bulk, 10, at(message)), None);
    }
    assert_eq!((link.next_deadline(), link.due(at(9_000_000)).count()), (None, 0));
    assert_eq!((link.waiting().messages, link.counters().delayed), (5, 5));
    link.set_policy(Policy::default(), at(10)).unwrap();
    assert_eq!(link.next_deadline(), Some(at(10)));
    assert_eq!(link.due(at(10)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(link.admit(6, Class::Bulk, 10, at(11)), Some(6), "clear again");
}
