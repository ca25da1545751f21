//! Lives a record again, step by step, and compares.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::digest;
use super::format::{Record, State};
use super::reader::{Damage, Reader};
use crate::consensus::{Checkpoint, Consensus, Effect, Input};
use crate::types::Instant;

/// What became of a file's replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Steps that were lived again and came to the same.
    pub steps: u64,
    /// How many states were compared, the checkpoint's among them.
    pub states: u64,
    /// The last state that was reached and is the one recorded; none before the checkpoint.
    pub reached: Option<State>,
    /// When the first step is, and the last one that was lived again, in nanoseconds of Unix time.
    pub span: Option<(u64, u64)>,
    pub ending: Ending,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the record, which ends in good order.
    Whole,
    /// With the record, which has no end: it is being written, or its node was killed.
    Open,
    /// In the step in which the node's own life ended: the core finds an invariant broken.
    Died { why: String },
    /// Before the record ends: the rest cannot be read.
    Damaged(Damage),
    /// In the step after those that came to the same: it comes to something else.
    Diverged(Divergence),
}

/// The first thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    #[error("its effects have the digest {replayed:016x}, and {recorded:016x} was recorded")]
    Effects { recorded: u64, replayed: u64 },
    #[error("the state before it has the digest {replayed:016x}, and {recorded:016x} was recorded")]
    State { recorded: u64, replayed: u64 },
    #[error("the core finds an invariant broken, and did not when it was recorded: {why}")]
    Panicked { why: String },
    #[error("the core lives on, and ended its node when it was recorded")]
    Survived,
    /// A step without a checkpoint before it, effects without a step.
    #[error("the record makes no sense there")]
    Nonsense,
}

/// A step that was lived again.
#[derive(Debug)]
pub struct Seen<'a, C: Consensus> {
    /// When, in nanoseconds of Unix time.
    pub unix: u64,
    pub before: &'a Checkpoint,
    pub input: &'a Input<C>,
    pub effects: &'a [Effect<C>],
    /// The core after it.
    pub core: &'a C,
}

/// Lives again what `records` hold, and shows each step to `see`: all whose effects are those
/// recorded, and the one that differs, if one does.
pub fn replay<C: Consensus>(
    mut records: Reader<'_, C>,
    see: &mut dyn FnMut(&Seen<'_, C>),
) -> Replayed {
    let none = Replayed { steps: 0, states: 0, reached: None, span: None, ending: Ending::Open };
    let mut life = match records.next() {
        None => return none,
        Some(Err(damage)) => return Replayed { ending: Ending::Damaged(damage), ..none },
        Some(Ok(Record::Checkpoint { state, core })) => {
            Life { core, asked: None, noted: state, replayed: none }
        }
        Some(Ok(_)) => {
            return Replayed { ending: Ending::Diverged(Divergence::Nonsense), ..none };
        }
    };
    let ending = life.compare(life.noted).and_then(|()| {
        records.try_for_each(|record| life.go_on(record.map_err(Ending::Damaged)?, see))?;
        life.last_words(see)
    });
    Replayed { ending: ending.err().unwrap_or(Ending::Open), ..life.replayed }
}

/// A core that lives again.
struct Life<C: Consensus> {
    core: C,
    /// What it is told next, once it is known what must come of it.
    asked: Option<(Instant, Input<C>)>,
    /// The last state that was recorded.
    noted: State,
    replayed: Replayed,
}

impl<C: Consensus> Life<C> {
    fn go_on(
        &mut self,
        record: Record<Input<C>, C>,
        see: &mut dyn FnMut(&Seen<'_, C>),
    ) -> Result<(), Ending> {
        match (record, self.asked.take()) {
            (Record::Step { now, input }, None) => {
                self.asked = Some((now, input));
                Ok(())
            }
            (Record::Effects { digest }, Some((now, input))) => self.step(now, input, digest, see),
            (Record::State(state), None) => self.compare(state),
            (Record::End(state), None) => {
                self.compare(state)?;
                Err(Ending::Whole)
            }
            _ => Err(Ending::Diverged(Divergence::Nonsense)),
        }
    }

    /// The core must stand where it stood.
    fn compare(&mut self, state: State) -> Result<(), Ending> {
        self.noted = state;
        let (recorded, replayed) = (state.digest, digest::of(&self.core));
        if recorded != replayed {
            return Err(Ending::Diverged(Divergence::State { recorded, replayed }));
        }
        self.replayed.states += 1;
        self.replayed.reached = Some(state);
        Ok(())
    }

    fn step(
        &mut self,
        now: Instant,
        input: Input<C>,
        recorded: u64,
        see: &mut dyn FnMut(&Seen<'_, C>),
    ) -> Result<(), Ending> {
        let panicked = |why| Ending::Diverged(Divergence::Panicked { why });
        let replayed = self.live(now, input, see).map_err(panicked)?;
        if recorded != replayed {
            return Err(Ending::Diverged(Divergence::Effects { recorded, replayed }));
        }
        let unix = self.noted.unix_at(now);
        let from = self.replayed.span.map_or(unix, |(from, _)| from);
        self.replayed.span = Some((from, unix));
        self.replayed.steps += 1;
        Ok(())
    }

    /// A step that nothing came of must have been the node's end.
    fn last_words(&mut self, see: &mut dyn FnMut(&Seen<'_, C>)) -> Result<(), Ending> {
        let Some((now, input)) = self.asked.take() else { return Ok(()) };
        Err(match self.live(now, input, see) {
            Err(why) => Ending::Died { why },
            Ok(_) => Ending::Diverged(Divergence::Survived),
        })
    }

    /// Tells the core what it was told; the digest of what it wants done, or why it cannot go on.
    fn live(
        &mut self,
        now: Instant,
        input: Input<C>,
        see: &mut dyn FnMut(&Seen<'_, C>),
    ) -> Result<u64, String> {
        let before = self.core.checkpoint();
        let core = &mut self.core;
        let told = input.clone();
        // As a replica does. A core that panicked is not used any more.
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let effects = core.step(now, told);
            core.assert_invariants(&before);
            effects
        }));
        let effects = stepped.map_err(|panic| words(panic.as_ref()))?;
        let (unix, core) = (self.noted.unix_at(now), &self.core);
        see(&Seen { unix, before: &before, input: &input, effects: &effects, core });
        Ok(digest::of(&effects))
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "without a word".to_owned(),
    }
}
