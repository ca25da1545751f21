//! Where operators wait for what becomes of their orders.
//!
//! An order goes to the replica under a ticket, and its outcome comes back many turns later, if it
//! comes. Orders are few: so many may be under way at once, and more are refused. Each has its
//! time; one about which the replica says nothing until then, and a little longer, is *unknown*,
//! which is the truth. An operator who goes away is forgotten; the order goes on all the same,
//! because nothing can call back what is in the log.
//!
//! The tickets have their highest bit set, and those of clients never do: a replica that keeps both
//! in one table cannot mix them up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::inbox::Inbox;
use crate::replica::{Event, Order, OrderResult};
use crate::types::Ticket;

/// Orders under way at once.
const MAX_ORDERS: usize = 64;

/// So much later than its time an order is given up here.
const GRACE: Duration = Duration::from_secs(1);

/// What sets an order's ticket apart from a client's.
const OF_ORDERS: u64 = 1 << 63;

/// See the [module](self).
#[derive(Debug)]
pub struct OperatorDesk {
    inbox: Rc<Inbox>,
    waiting: RefCell<BTreeMap<Ticket, oneshot::Sender<OrderResult>>>,
    next: Cell<u64>,
    closed: Cell<bool>,
}

impl OperatorDesk {
    /// A desk that hands orders to `inbox`.
    pub fn new(inbox: Rc<Inbox>) -> OperatorDesk {
        OperatorDesk {
            inbox,
            waiting: RefCell::default(),
            next: Cell::new(0),
            closed: Cell::new(false),
        }
    }

    /// Takes no order from now on.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Hands in an order and waits for what becomes of it.
    pub async fn ask(&self, order: Order, timeout: Duration) -> OrderResult {
        let refused =
            |message: &str| OrderResult::Refused { leader: None, message: message.into() };
        if self.closed.get() {
            return refused("this node is stopping; ask another");
        }
        self.waiting.borrow_mut().retain(|_, waiting| !waiting.is_closed());
        if self.waiting.borrow().len() >= MAX_ORDERS {
            return refused("too many orders are under way on this node; wait for them");
        }
        self.next.set(self.next.get().wrapping_add(1));
        let ticket = Ticket(OF_ORDERS | self.next.get());
        let (answer, waiting) = oneshot::channel();
        self.waiting.borrow_mut().insert(ticket, answer);
        self.inbox.push(Event::Order { ticket, order, timeout });
        match tokio::time::timeout(timeout + GRACE, waiting).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => OrderResult::Unknown("this node stopped meanwhile".into()),
            Err(_) => {
                self.waiting.borrow_mut().remove(&ticket);
                OrderResult::Unknown(format!("nothing was heard of it within {timeout:?}"))
            }
        }
    }

    /// Hands out what became of an order. Nobody may be waiting for it any more.
    pub fn answer(&self, ticket: Ticket, result: OrderResult) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&ticket) {
            let _ = waiting.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn desk() -> (Rc<Inbox>, OperatorDesk) {
        let inbox = Rc::new(Inbox::default());
        (inbox.clone(), OperatorDesk::new(inbox))
    }

    fn ticket(inbox: &Inbox) -> Ticket {
        match inbox.pop() {
            Some(Event::Order { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn an_outcome_reaches_who_asked_and_a_late_one_nobody() {
        run(async {
            let (inbox, desk) = desk();
            let time = Duration::from_secs(1);
            let mut first = Box::pin(desk.ask(Order::TakeSnapshot, time));
            let mut second = Box::pin(desk.ask(Order::Transfer { to: None }, time));
            assert!((&mut first).now_or_never().is_none());
            assert!((&mut second).now_or_never().is_none());
            let (a, b) = (ticket(&inbox), ticket(&inbox));
            assert!(a != b && a.0 & OF_ORDERS != 0);
            desk.answer(b, OrderResult::Done("b".into()));
            assert_eq!(second.await, OrderResult::Done("b".into()));
            assert!(matches!(first.await, OrderResult::Unknown(_)), "its time is over");
            desk.answer(a, OrderResult::Done("late".into()));
            assert!(desk.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn beyond_the_limit_and_at_the_end_orders_are_refused() {
        run(async {
            let (_inbox, desk) = desk();
            let time = Duration::from_secs(1);
            let mut kept: Vec<_> =
                (0..MAX_ORDERS).map(|_| Box::pin(desk.ask(Order::TakeSnapshot, time))).collect();
            kept.iter_mut().for_each(|order| assert!(order.now_or_never().is_none()));
            let refused = desk.ask(Order::TakeSnapshot, time).await;
            assert!(matches!(&refused, OrderResult::Refused { message, .. }
                if message.contains("too many")));
            drop(kept.pop());
            let mut another = Box::pin(desk.ask(Order::TakeSnapshot, time));
            assert!((&mut another).now_or_never().is_none(), "who went away makes room");
            desk.close();
            let refused = desk.ask(Order::TakeSnapshot, time).await;
            assert!(matches!(&refused, OrderResult::Refused { message, .. }
                if message.contains("stopping")));
        });
    }
}
