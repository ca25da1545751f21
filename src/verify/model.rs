//! What the search asks of a model, and what it knows of an operation.
//!
//! A model must say how it starts and what a step does. All else are hints: a model that gives none
//! is searched blindly, and to a hint that is wrong the verdict is, too. Why each is enough stands
//! in [`linearizable`](super::linearizable).

/// One copy of the data, handling one operation at a time.
pub trait Model {
    type State: Copy + Ord;
    type Action: Ord;
    type Result;

    /// Before anything happened.
    fn initial(&self) -> Self::State;

    /// The state after `action`, if it could have been answered by `result`; without one, any
    /// answer will do.
    fn step(
        &self,
        state: Self::State,
        action: &Self::Action,
        result: Option<&Self::Result>,
    ) -> Option<Self::State>;

    /// Whether it leaves every state that it accepts as it is.
    fn only_looks(&self, _: &Self::Action, _: Option<&Self::Result>) -> bool {
        false
    }

    /// The one state in which it can be answered so, if there is but one.
    fn needs(&self, _: &Self::Action, _: &Self::Result) -> Option<Self::State> {
        None
    }

    /// The state it leads to whenever it changes anything. `None`: that depends on the state before
    /// it; the operation *grows* it.
    fn makes(&self, _: &Self::Action) -> Option<Self::State> {
        None
    }

    /// Whether operations that grow a state might lead from one to another.
    fn may_grow(&self, _from: Self::State, _to: Self::State) -> bool {
        true
    }

    /// Whether nothing needs this state, nor one that may grow from it.
    fn is_junk(&self, _: Self::State) -> bool {
        false
    }

    /// The one state in which it cannot be answered so, if there is one. A model with junk says so
    /// of every answer that some state refuses and junk does not.
    fn refuses(&self, _: &Self::Action, _: &Self::Result) -> Option<Self::State> {
        None
    }
}

/// What one client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A, R> {
    /// When it was called; moments of one history are comparable.
    pub called: u64,
    /// When it returned, and with what. `None`: whether it took effect is unknown. An operation
    /// that certainly had no effect does not belong into a history.
    pub returned: Option<(u64, R)>,
    pub action: A,
    /// Where it claims to stand in the order; a hint, and no more.
    pub witness: Option<u64>,
}
