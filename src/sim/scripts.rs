//! Faults in an order that chance would hardly find, over and over, with what matters of each
//! moment still drawn from the seed.

use std::time::Duration;

use super::schedule::{Fault, Loss, Setting, Target, What, When};
use crate::link::Policy;
use crate::types::{NodeId, Random};

/// What happens, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Two nodes take turns at being elected, and each is cut off within milliseconds.
    Rivals,
    /// A leader is far away when it can send no more, and another is elected at once.
    FarLeader,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Script {
    /// The faults of a life of `nodes` nodes. What they need of its circumstances is set.
    pub fn faults(
        self,
        random: &mut Random,
        duration: Duration,
        nodes: u64,
        setting: &mut Setting,
    ) -> Vec<Fault> {
        match self {
            Script::Rivals => {
                // Each entry travels alone, so that a leader may get an old one across and no more.
                let delay = ms(2);
                setting.network = Policy { delay, jitter: delay / 2, ..Policy::default() };
                setting.disk = Duration::from_micros(50)..Duration::from_micros(500);
                (setting.max_message_bytes, setting.max_in_flight) = (1, 1);
                setting.lease = false;
                rivals(random, duration, nodes, delay)
            }
            Script::FarLeader => {
                let delay = ms(1);
                setting.network = Policy { delay, jitter: delay / 2, ..Policy::default() };
                setting.disk = Duration::from_micros(50)..Duration::from_micros(500);
                // Whoever reads, reads what somebody is writing.
                (setting.keys, setting.lease) = (1, true);
                far_leader(random, duration)
            }
        }
    }
}

/// The first node and the last are elected in turn, sooner than anybody else's time-out, twice
/// each; then all get time to agree. Each is cut off and crashes: the first time when it has got
/// something across, or nothing, the first node's second time when it has got more across, and
/// knows. It is back for its next turn.
fn rivals(random: &mut Random, duration: Duration, nodes: u64, delay: Duration) -> Vec<Fault> {
    const TURN: Duration = ms(100);
    let mut faults = Vec::new();
    let mut begin = ms(300);
    while begin + TURN * 12 < duration {
        for turn in 0..4 {
            let target = Target::Node(NodeId(if turn % 2 == 0 { 1 } else { nodes }));
            let at = begin + TURN * turn;
            // Who was away does not know the newest term: it takes a second try.
            let tries = if turn < 2 { 1 } else { 2 };
            for n in 0..tries {
                let (when, what) = (When::At(at + ms(1) * n), What::Campaign { target });
                faults.push(Fault { when, lasts: Duration::ZERO, what });
            }
            // An election takes about two delays, and a write to the disk a part of one; what an
            // old entry needs to get across is six more.
            let wait = match turn {
                0 => random.duration(delay * 14 / 5..delay * 33 / 10),
                1 => random.duration(delay * 13 / 5..delay * 31 / 10),
                2 => random.duration(delay * 8..delay * 10),
                _ => continue,
            };
            // What is on its way is lost, and who led has forgotten that when it is back.
            let crash = What::Crash { target, loss: Loss::Nothing };
            for what in [What::Isolate { target }, crash] {
                let lasts = TURN * 2 - wait - ms(5);
                faults.push(Fault { when: When::At(at + wait), lasts, what });
            }
        }
        begin += TURN * 12;
    }
    faults
}

/// The links of a leader become slow; when all know it again, nothing leaves it any more, though
/// answers still arrive for as long as they take. Another stands as soon as the others' loyalty
/// has ended.
fn far_leader(random: &mut Random, duration: Duration) -> Vec<Fault> {
    const ROUND: Duration = ms(1_500);
    let target = Target::Leader;
    let mut faults = Vec::new();
    let mut begin = ms(500);
    while begin + ROUND < duration {
        let delay = random.duration(ms(60)..ms(130));
        let policy = Policy { delay, jitter: ms(2), ..Policy::default() };
        let mute = begin + random.duration(ms(500)..ms(600));
        let mut fault = |at, lasts, what| faults.push(Fault { when: When::At(at), lasts, what });
        fault(begin, mute + ms(450) - begin, What::NoiseAround { target, policy });
        fault(mute, ms(450), What::Mute { target });
        let stand = mute + random.duration(ms(145)..ms(170));
        fault(stand, Duration::ZERO, What::Campaign { target: Target::Follower(random.below(9)) });
        begin += ROUND;
    }
    faults
}
