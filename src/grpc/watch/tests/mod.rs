//! Watches of a state machine without a node.

mod hub;
mod model;
mod socket;
mod stream;

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::hub::Source;
use crate::kv::{
    Change, Command, DeleteRangeRequest, Effect, Machine, Operation, RequestOp, Transaction,
};
use crate::types::{LogIndex, Revision};

/// A state machine, and everything that it ever did.
struct World {
    machine: RefCell<Machine>,
    changes: RefCell<Vec<Change>>,
}

impl Source for World {
    fn look(&self, look: &mut dyn FnMut(&Machine)) {
        look(&self.machine.borrow());
    }
}

impl World {
    fn new() -> Rc<World> {
        let world = World { machine: RefCell::default(), changes: RefCell::default() };
        world.apply(Operation::RaiseVersion { to: 2 });
        world.apply(Operation::RaiseVersion { to: 3 });
        Rc::new(world)
    }

    fn apply(&self, operation: Operation) -> Effect {
        let mut machine = self.machine.borrow_mut();
        let coming = Revision(machine.revision().0 + 1);
        let index = LogIndex(machine.applied_index().0 + 1);
        let command = Command { session: None, operation };
        let effect = machine.apply(index, &command.encode()).effect;
        if let Ok(made) = machine.changes(coming) {
            self.changes.borrow_mut().extend(made);
        }
        effect
    }

    fn revision(&self) -> Revision {
        self.machine.borrow().revision()
    }

    fn put(&self, number: usize, bytes: usize) {
        let (key, value) = (name(number), Bytes::from(vec![7; bytes]));
        assert!(matches!(self.apply(Operation::Put { key, value }), Effect::Put { .. }));
    }

    fn transaction(&self, success: Vec<RequestOp>) {
        let transaction = Transaction { success, ..Transaction::default() };
        let effect = self.apply(Operation::Transaction(transaction));
        assert!(matches!(effect, Effect::Transaction(_)), "{effect:?}");
    }

    fn delete_from(&self, number: usize) {
        let all = DeleteRangeRequest { start: name(number), end: Bytes::new(), prev_kv: false };
        self.transaction(vec![RequestOp::DeleteRange(all)]);
    }
}

const KEYS: usize = 600;

fn name(number: usize) -> Bytes {
    format!("{:03}", number % KEYS).into()
}
