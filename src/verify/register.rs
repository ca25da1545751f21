//! The model of one key: a register with compare-and-swap.

use bytes::Bytes;

use super::linearizable::{Model, Operation};

/// One key of the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Get,
    Put(Bytes),
    Delete,
    /// Sets the value if the present one is `expected`.
    CompareAndSwap {
        expected: Option<Bytes>,
        value: Bytes,
    },
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The value that was read, or that compare-and-swap found instead of what it wanted.
    Found(Option<Bytes>),
    /// The write took effect; whether there was a value before.
    Written { existed: bool },
    /// Compare-and-swap found what it wanted.
    Swapped,
}

/// A history of one key.
pub type History = Vec<Operation<Action, Told>>;

impl Model for Register {
    type State = Option<Bytes>;
    type Action = Action;
    type Result = Told;

    fn initial(&self) -> Option<Bytes> {
        None
    }

    fn step(
        &self,
        state: &Option<Bytes>,
        action: &Action,
        told: Option<&Told>,
    ) -> Option<Option<Bytes>> {
        let written = Told::Written { existed: state.is_some() };
        let (after, answer) = match action {
            Action::Get => (state.clone(), Told::Found(state.clone())),
            Action::Put(value) => (Some(value.clone()), written),
            Action::Delete => (None, written),
            Action::CompareAndSwap { expected, value } if expected == state => {
                (Some(value.clone()), Told::Swapped)
            }
            Action::CompareAndSwap { .. } => (state.clone(), Told::Found(state.clone())),
        };
        told.is_none_or(|told| *told == answer).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::linearizable::{Verdict, check};
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
        check(&Register, &history(operations), 10_000)
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
            let action = Action::CompareAndSwap { expected: None, value: value("s") };
            (at, end, action, told)
        };
        let two = judge(vec![swap(1, 5, Told::Swapped), swap(2, 6, Told::Swapped)]);
        assert!(matches!(two, Verdict::Violated { .. }));
        let one = judge(vec![swap(1, 5, Told::Swapped), swap(2, 6, found("s"))]);
        assert_eq!(one, Verdict::Linearizable);
    }

    #[test]
    fn a_search_that_gives_up_says_so() {
        // Thirty puts in any order, and none of them explains the read: too many orders to try.
        let put = |i: u64| (10 + i, 100 + i, Action::Put(Bytes::from(format!("v{i}"))), OLD);
        let mut puts = vec![(1, 2, Action::Put(value("first")), NEW)];
        puts.extend((0..30).map(put));
        puts.push((200, 201, Action::Get, found("never written")));
        assert_eq!(judge(puts), Verdict::Undecided);
    }
}
