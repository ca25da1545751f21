//! The model of one key: a register with compare-and-swap, to which one can append.
//!
//! Its states are those of [`values`](super::values).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::linearizable::{self, Budget, Model, Operation, Verdict};
use super::values::{State, Values};

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Get,
    Put(Bytes),
    Delete,
    /// Adds to the end of the value; an absent one is as good as an empty one.
    Append(Bytes),
    /// Sets the value if the present one is `expected`; `None` is absent, in both.
    CompareAndSwap {
        expected: Option<Bytes>,
        value: Option<Bytes>,
    },
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The value that was read, or that compare-and-swap found instead of what it wanted.
    Found(Option<Bytes>),
    /// The write took effect; whether there was a value before.
    Written { existed: bool },
    /// The write took effect, and no more was said.
    Done,
    /// Compare-and-swap found what it wanted.
    Swapped,
    /// It did not, and what it found instead was not said.
    Mismatch,
}

/// A history of one key.
pub type History = Vec<Operation<Action, Told>>;

/// Judges the history of one key, giving up after `steps`.
pub fn check(history: &[Operation<Action, Told>], steps: u64) -> Verdict {
    check_within(history, &mut Budget { steps, go_on: &mut |_| true })
}

/// Judges the history of one key, giving up as `budget` says.
pub fn check_within(history: &[Operation<Action, Told>], budget: &mut Budget<'_>) -> Verdict {
    let register = Register::of(history);
    let compiled: Vec<_> = history.iter().map(|operation| register.compile(operation)).collect();
    linearizable::check_within(&register, &compiled, budget)
}

/// One key of the store, as far as one history can tell.
struct Register {
    values: Values,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Get,
    Set(State),
    Append(Bytes),
    Swap { expected: State, value: State },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Found(State),
    Written { existed: bool },
    Done,
    Swapped,
    Mismatch,
}

impl Register {
    fn of(history: &[Operation<Action, Told>]) -> Register {
        let mut mentioned = Vec::new();
        let mut pieces = BTreeSet::new();
        for Operation { action, returned, .. } in history {
            if let Some((_, Told::Found(Some(value)))) = returned {
                mentioned.push(value.clone());
            }
            if let Action::CompareAndSwap { expected: Some(value), .. } = action {
                mentioned.push(value.clone());
            }
            if let Action::Append(more) = action {
                pieces.insert(more.clone());
            }
        }
        Register { values: Values::new(mentioned, pieces) }
    }

    fn compile(&self, operation: &Operation<Action, Told>) -> Operation<Step, Answer> {
        let action = match &operation.action {
            Action::Get => Step::Get,
            Action::Put(value) => Step::Set(self.values.state(Some(value))),
            Action::Delete => Step::Set(State::Absent),
            Action::Append(more) => Step::Append(more.clone()),
            Action::CompareAndSwap { expected, value } => {
                let (expected, value) =
                    (self.values.state(expected.as_ref()), self.values.state(value.as_ref()));
                Step::Swap { expected, value }
            }
        };
        let answer = |told: &Told| match told {
            Told::Found(value) => Answer::Found(self.values.state(value.as_ref())),
            Told::Written { existed } => Answer::Written { existed: *existed },
            Told::Done => Answer::Done,
            Told::Swapped => Answer::Swapped,
            Told::Mismatch => Answer::Mismatch,
        };
        let returned = operation.returned.as_ref().map(|(at, told)| (*at, answer(told)));
        Operation { called: operation.called, returned, action, witness: operation.witness }
    }
}

impl Model for Register {
    type State = State;
    type Action = Step;
    type Result = Answer;
    /// There is but one key.
    type Facet = ();

    fn initial(&self) -> State {
        State::Absent
    }

    fn step(&self, state: State, action: &Step, answer: Option<&Answer>) -> Option<State> {
        let (after, fits) = match (action, answer) {
            (_, Some(Answer::Found(found))) => (state, *found == state),
            (Step::Get, _) => (state, true),
            (Step::Set(value), _) => (*value, true),
            (Step::Append(more), _) => (self.values.longer(state, more), true),
            (Step::Swap { expected, value }, Some(Answer::Swapped)) => (*value, *expected == state),
            (Step::Swap { expected, .. }, Some(_)) => (state, *expected != state),
            (Step::Swap { expected, value }, None) => {
                (if *expected == state { *value } else { state }, true)
            }
        };
        let fits = match (action, answer) {
            // What it found is not what it asked for.
            (Step::Swap { expected, .. }, Some(Answer::Found(found))) => fits && found != expected,
            (_, Some(Answer::Written { existed })) => *existed == (state != State::Absent),
            _ => fits,
        };
        fits.then_some(after)
    }

    fn only_looks(&self, action: &Step, answer: Option<&Answer>) -> bool {
        match (action, answer) {
            (Step::Get, _) | (_, Some(Answer::Found(_) | Answer::Mismatch)) => true,
            // A delete of nothing.
            (Step::Set(State::Absent), Some(Answer::Written { existed })) => !existed,
            _ => false,
        }
    }

    fn needs(&self, action: &Step, answer: &Answer) -> Option<State> {
        match (action, answer) {
            (_, Answer::Found(found)) => Some(*found),
            (Step::Swap { expected, .. }, Answer::Swapped) => Some(*expected),
            (_, Answer::Written { existed: false }) => Some(State::Absent),
            _ => None,
        }
    }

    fn makes(&self, action: &Step) -> Option<State> {
        match action {
            Step::Set(value) | Step::Swap { value, .. } => Some(*value),
            Step::Get | Step::Append(_) => None,
        }
    }

    fn may_grow(&self, from: State, to: State) -> bool {
        self.values.may_grow(from, to)
    }

    fn is_junk(&self, state: State) -> bool {
        state == State::Junk
    }

    fn refuses(&self, action: &Step, answer: &Answer) -> Option<State> {
        match (action, answer) {
            (Step::Swap { expected, .. }, Answer::Mismatch) => Some(*expected),
            (_, Answer::Written { existed: true }) => Some(State::Absent),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn found(text: &'static str) -> Told {
        Told::Found(Some(value(text)))
    }

    /// called, returned (0: never), action, told.
    fn history(operations: Vec<(u64, u64, Action, Told)>) -> History {
        let operation = |(called, returned, action, told)| Operation {
            called,
            returned: (returned > 0).then_some((returned, told)),
            action,
            witness: None,
        };
        operations.into_iter().map(operation).collect()
    }

    fn judge(operations: Vec<(u64, u64, Action, Told)>) -> Verdict {
        check(&history(operations), 10_000)
    }

    const NEW: Told = Told::Written { existed: false };
    const OLD: Told = Told::Written { existed: true };

    #[test]
    fn concurrent_operations_may_take_effect_in_either_order() {
        let verdict = judge(vec![
            (1, 10, Action::Put(value("a")), OLD),
            (2, 9, Action::Put(value("b")), NEW),
            (11, 12, Action::Get, found("a")),
        ]);
        assert_eq!(verdict, Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_seen() {
        let verdict = judge(vec![
            (1, 2, Action::Put(value("a")), NEW),
            (3, 4, Action::Put(value("b")), OLD),
            (5, 6, Action::Get, found("a")),
        ]);
        assert_eq!(verdict, Verdict::Violated { stuck: 2 });
    }

    #[test]
    fn a_lost_write_is_seen() {
        let verdict = judge(vec![
            (1, 2, Action::Put(value("a")), NEW),
            (3, 4, Action::Get, Told::Found(None)),
        ]);
        assert_eq!(verdict, Verdict::Violated { stuck: 1 });
    }

    #[test]
    fn what_nobody_knows_may_happen_late_or_never_but_not_before_its_call() {
        let unknown = |at| (at, 0, Action::Put(value("u")), NEW);
        let put = |at| (at, at + 1, Action::Put(value("a")), NEW);
        let read = |at, told| (at, at + 1, Action::Get, told);
        assert_eq!(judge(vec![unknown(1), put(2), read(4, found("u"))]), Verdict::Linearizable);
        assert_eq!(judge(vec![unknown(1), put(2), read(4, found("a"))]), Verdict::Linearizable);
        let early = judge(vec![put(2), read(4, found("u")), unknown(6)]);
        assert!(matches!(early, Verdict::Violated { .. }), "{early:?}");
        let twice = judge(vec![
            unknown(1),
            put(2),
            read(4, found("u")),
            (6, 7, Action::Put(value("b")), OLD),
            read(8, found("u")),
        ]);
        assert!(matches!(twice, Verdict::Violated { .. }), "it takes effect once: {twice:?}");
    }

    #[test]
    fn compare_and_swap_lets_one_win() {
        let swap = |at, end, told| {
            let action = Action::CompareAndSwap { expected: None, value: Some(value("s")) };
            (at, end, action, told)
        };
        let two = judge(vec![swap(1, 5, Told::Swapped), swap(2, 6, Told::Swapped)]);
        assert!(matches!(two, Verdict::Violated { .. }));
        let one = judge(vec![swap(1, 5, Told::Swapped), swap(2, 6, found("s"))]);
        assert_eq!(one, Verdict::Linearizable);
    }

    #[test]
    fn a_search_that_gives_up_says_so() {
        // Thirty puts in any order, and then two reads of which each wants its own to be the last:
        // too many orders to try.
        let put = |i: u64| (10 + i, 100 + i, Action::Put(Bytes::from(format!("v{i}"))), OLD);
        let mut puts = vec![(1, 2, Action::Put(value("first")), NEW)];
        puts.extend((0..30).map(put));
        puts.push((200, 201, Action::Get, found("v0")));
        puts.push((202, 203, Action::Get, found("v1")));
        assert_eq!(judge(puts), Verdict::Undecided);
    }
}
