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
    /// Something that can be looked for: a part of a state.
    type Facet: Ord;

    /// Whether it says what is looked for, what is shown and what must precede what.
    const HAS_FACETS: bool = false;

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

    /// What it looks for: if none of this is shown anew, it cannot tell the difference.
    fn seeks(&self, _: &Self::Action, _: Option<&Self::Result>) -> Vec<Self::Facet> {
        Vec::new()
    }

    /// What it must find to be answered so. Whatever shows that says so.
    fn must_find(&self, _: &Self::Action, _: &Self::Result) -> Vec<Self::Facet> {
        Vec::new()
    }

    /// What was there before an operation, and is not any more.
    fn gone(&self, _: Self::State, _: Self::State, _: &Self::Action) -> Vec<Self::Facet> {
        Vec::new()
    }

    /// What it may leave for others to see.
    fn shows(&self, _: &Self::Action) -> Vec<Self::Facet> {
        Vec::new()
    }

    /// What it must not come after, or it might do another thing, besides what others look for.
    fn fears(&self, _: &Self::Action) -> Vec<Self::Facet> {
        Vec::new()
    }

    /// What of that it is itself.
    fn spoils(&self, _: &Self::Action) -> Vec<Self::Facet> {
        Vec::new()
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
