//! One onlooker, from its first watch to its last.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Seen;
use super::line::{Aim, Lines};
use crate::client::prefix_end;
use crate::etcd_client::{Client, Options, Told, WatchError, WatchOptions, Watcher};
use crate::trial::generator::Keys;
use crate::trial::site::Site;
use crate::trial::tape::Tape;
use crate::types::{Random, Revision};

/// How long a fickle one watches the same.
const STAY: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(12);
/// Between two requests for progress, while the watch stands.
const BEAT: Duration = Duration::from_millis(250);
/// Between two looks while it does not: longer than a node is given to open a watch.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before another watch takes the place of one that could not stand.
const PAUSE: Duration = Duration::from_millis(250);

pub struct Onlooker {
    /// Its node's place.
    pub home: usize,
    pub is_steady: bool,
    pub lane: u64,
    pub random: Random,
    /// Of all keys of the trial.
    pub prefix: String,
    pub keys: Rc<RefCell<Keys>>,
    pub nodes: Vec<Site>,
    pub tape: Tape,
    pub seen: Rc<RefCell<Seen>>,
    /// The last revision, and until when it is to be there.
    pub end: watch::Receiver<Option<(Revision, Instant)>>,
    /// When it was told something last.
    pub heard: Instant,
}

/// One watch under way.
struct Sight {
    watcher: Watcher,
    lines: Lines,
    /// The connection is there.
    stands: bool,
    /// The place of what is noted of that.
    stand: Option<usize>,
    /// It has seen enough of that then.
    enough: Instant,
}

/// How a watch ended by its own will.
enum Over {
    /// It has seen enough of that.
    Enough,
    /// It has come to the last revision.
    Reached,
    /// It should have come there by now.
    Late,
}

impl Onlooker {
    /// Returns when it has come to the last revision; the error says why it has not.
    pub async fn run(mut self) -> Result<(), String> {
        let mut compacted = false;
        loop {
            let aim = self.aim(compacted);
            let mut sight = self.sight(&aim)?;
            let over = self.watch(&mut sight).await;
            sight.lines.close(sight.watcher.position());
            self.seen.borrow_mut().falls(sight.stand.take(), self.tape.now());
            match over {
                Ok(Over::Enough) => compacted = false,
                Ok(Over::Reached) => return Ok(()),
                Ok(Over::Late) => {
                    let at = sight.watcher.position().map_or(0, |next| next.0.saturating_sub(1));
                    let node = self.nodes[self.home].node;
                    return Err(format!(
                        "the watch of {} that began at node {node} came to revision {at}",
                        aim.name
                    ));
                }
                Err(error) => {
                    compacted = matches!(error, WatchError::Compacted { .. });
                    self.ended(&aim, &error)?;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn aim(&mut self, from_now: bool) -> Aim {
        if self.is_steady {
            return Aim { name: self.prefix.clone(), is_prefix: true, start: None };
        }
        let (name, is_prefix) = self.keys.borrow().aim(&mut self.random);
        let past = self.seen.borrow().past.filter(|_| self.random.chance(0.5) && !from_now);
        let draw = |(first, last): (u64, u64)| first + self.random.below(last - first + 1);
        Aim { name, is_prefix, start: past.map(draw).map(Revision) }
    }

    /// A watch at its own node; at the others when that fails.
    fn sight(&mut self, aim: &Aim) -> Result<Sight, String> {
        let (before, after) = self.nodes.split_at(self.home);
        let all = after.iter().chain(before).filter_map(|site| Some(site.grpc?.to_string()));
        let client = Client::new(all, Options::default())?;
        let key = Bytes::from(aim.name.clone());
        let range_end = if aim.is_prefix { prefix_end(&key) } else { Bytes::new() };
        let options = WatchOptions { key, range_end, start: aim.start, ..WatchOptions::default() };
        self.seen.borrow_mut().watches += 1;
        Ok(Sight {
            watcher: client.watch(options),
            lines: Lines::new(&self.tape, self.tape.process(self.lane), aim),
            stands: false,
            stand: None,
            enough: Instant::now() + self.random.duration(STAY),
        })
    }

    async fn watch(&mut self, sight: &mut Sight) -> Result<Over, WatchError> {
        loop {
            let beat = Instant::now() + if sight.stands { BEAT } else { PATIENCE };
            let end = *self.end.borrow_and_update();
            let beat = end.map_or(beat, |(_, until)| until.min(beat));
            let told = tokio::select! {
                told = sight.watcher.next() => Some(told?),
                () = sleep_until(beat) => None,
                Ok(()) = self.end.changed() => None,
            };
            match told {
                Some(told) => self.hear(sight, told),
                None => sight.watcher.ask_progress(),
            }
            let position = sight.watcher.position();
            if let Some(next) = position {
                self.reach(next);
                sight.lines.came_to(next);
            }
            let is_over = |(last, _): (Revision, _)| position.is_some_and(|next| next > last);
            let is_late = |(_, until): (_, Instant)| Instant::now() >= until;
            match end {
                Some(end) if is_over(end) => return Ok(Over::Reached),
                Some(end) if is_late(end) => return Ok(Over::Late),
                None if !self.is_steady && sight.stands && Instant::now() >= sight.enough => {
                    return Ok(Over::Enough);
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, sight: &mut Sight, told: Told) {
        let mut seen = self.seen.borrow_mut();
        let silence = std::mem::replace(&mut self.heard, Instant::now()).elapsed();
        if self.is_steady {
            let longest = &mut seen.longest_silence_seconds;
            *longest = longest.max(silence.as_secs_f64());
        }
        match told {
            Told::Standing { from, endpoint } => {
                sight.stands = true;
                let at = |site: &&Site| site.grpc.is_some_and(|it| it.to_string() == endpoint);
                let node = self.nodes.iter().find(at).map(|site| site.node);
                sight.lines.stands(from, node);
                sight.stand = node.map(|node| seen.stands(node, self.tape.now()));
            }
            Told::Events { events, .. } => {
                seen.events += events.len() as u64;
                sight.lines.told(&events);
            }
            Told::Progress(_) => {}
            Told::Interrupted { .. } => {
                sight.stands = false;
                seen.falls(sight.stand.take(), self.tape.now());
                seen.interruptions += 1;
            }
        }
    }

    /// Everything before `next` has been told to somebody.
    fn reach(&self, next: Revision) {
        let past = &mut self.seen.borrow_mut().past;
        let (first, last) = past.unwrap_or((next.0, next.0));
        *past = Some((first, last.max(next.0)));
    }

    /// A watch has ended; the error says that it is too late for another.
    fn ended(&mut self, aim: &Aim, error: &WatchError) -> Result<(), String> {
        let mut seen = self.seen.borrow_mut();
        match error {
            WatchError::Compacted { .. } => seen.compactions += 1,
            WatchError::Canceled { .. } => seen.ended.push(format!("{}: {error}", aim.name)),
            WatchError::Failed(_) => {}
        }
        match *self.end.borrow() {
            Some((_, until)) if Instant::now() >= until => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}
