//! Where clients wait for their answers.
//!
//! A request goes to the replica under a ticket, and its answer comes back some turns later. The
//! desk keeps the slot in between. It also is the door: so many requests may be under way on one
//! connection, so many in all, so many bytes; beyond that a client is told "busy, retry after …" at
//! once, before anything is kept for it.
//!
//! A client that goes away (its connection breaks, and the library drops the call) is forgotten:
//! the replica is told that nobody waits, and the slot is free again.
//!
//! Slots are reused, with a generation in the ticket: a late answer to a ticket that was forgotten
//! finds nobody, never the wrong client.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::inbox::Inbox;
use crate::observe::trace;
use crate::replica::{Event, Refused, Request, Response};
use crate::rpc::client::request_size;
use crate::types::Ticket;

/// What may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct DeskLimits {
    pub requests: usize,
    pub requests_of_one_connection: usize,
    pub bytes: usize,
}

impl Default for DeskLimits {
    fn default() -> DeskLimits {
        DeskLimits { requests: 16_384, requests_of_one_connection: 4096, bytes: 64 << 20 }
    }
}

/// What a client is told to wait when too much is under way.
const RETRY_AFTER_MILLIS: u32 = 20;

#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Option<Waker>),
    Answered(Response),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Desk {
    inbox: Rc<Inbox>,
    limits: DeskLimits,
    slots: RefCell<Vec<(u32, Slot)>>,
    free: RefCell<Vec<u32>>,
    waiting: Cell<usize>,
    bytes: Cell<usize>,
    closed: Cell<bool>,
}

/// One connection's share of the desk.
#[derive(Debug, Default)]
pub struct Share {
    waiting: Cell<usize>,
}

impl Desk {
    /// A desk that hands requests to `inbox`.
    pub fn new(inbox: Rc<Inbox>, limits: DeskLimits) -> Desk {
        Desk {
            inbox,
            limits,
            slots: RefCell::default(),
            free: RefCell::default(),
            waiting: Cell::new(0),
            bytes: Cell::new(0),
            closed: Cell::new(false),
        }
    }

    /// Requests under way.
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Whether no request is taken any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Takes no request from now on.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Hands in a request; the future is its answer. Dropped, it is forgotten.
    pub fn ask(
        self: &Rc<Desk>,
        share: &Rc<Share>,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, Response> {
        if self.closed.get() {
            return Err(refused(Refused::Stopping, "this node is stopping; ask another"));
        }
        let size = request_size(&request);
        let busy = |text: &str| {
            Err(refused(Refused::Busy { retry_after_millis: RETRY_AFTER_MILLIS }, text))
        };
        if share.waiting.get() >= self.limits.requests_of_one_connection {
            return busy("too many requests are under way on this connection");
        }
        if self.waiting.get() >= self.limits.requests || self.bytes.get() + size > self.limits.bytes
        {
            return busy("too many requests are under way on this node");
        }
        share.waiting.set(share.waiting.get() + 1);
        self.waiting.set(self.waiting.get() + 1);
        self.bytes.set(self.bytes.get() + size);
        let ticket = self.open_slot();
        self.inbox.push(Event::Client { ticket, request, timeout, trace: trace::current() });
        Ok(Answer { desk: self.clone(), share: share.clone(), ticket, size, taken: false })
    }

    /// Hands out an answer. Nobody may be waiting for it any more.
    pub fn answer(&self, ticket: Ticket, response: Response) {
        if let Some((_, slot)) =
            self.slots.borrow_mut().get_mut(index(ticket)).filter(|(generation, slot)| {
                *generation == generation_of(ticket) && matches!(slot, Slot::Waiting(_))
            })
            && let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Answered(response))
        {
            waker.wake();
        }
    }

    fn open_slot(&self) -> Ticket {
        let mut slots = self.slots.borrow_mut();
        let at = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push((0, Slot::Free));
            slots.len() as u32 - 1
        });
        let (generation, slot) = &mut slots[at as usize];
        *generation = generation.wrapping_add(1);
        *slot = Slot::Waiting(None);
        Ticket(u64::from(*generation) << 32 | u64::from(at))
    }
}

fn index(ticket: Ticket) -> usize {
    (ticket.0 & u64::from(u32::MAX)) as usize
}

fn generation_of(ticket: Ticket) -> u32 {
    (ticket.0 >> 32) as u32
}

/// A refusal in words.
pub fn refused(why: Refused, message: &str) -> Response {
    Response::Refused { why, message: message.to_owned() }
}

/// An answer to come.
#[derive(Debug)]
pub struct Answer {
    desk: Rc<Desk>,
    share: Rc<Share>,
    ticket: Ticket,
    size: usize,
    taken: bool,
}

impl Future for Answer {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let this = self.get_mut();
        let mut slots = this.desk.slots.borrow_mut();
        let (_, slot) = &mut slots[index(this.ticket)];
        match std::mem::replace(slot, Slot::Free) {
            Slot::Answered(response) => {
                this.taken = true;
                Poll::Ready(response)
            }
            Slot::Waiting(_) | Slot::Free => {
                *slot = Slot::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let desk = &self.desk;
        let mut slots = desk.slots.borrow_mut();
        let (_, slot) = &mut slots[index(self.ticket)];
        let unanswered = matches!(slot, Slot::Waiting(_));
        *slot = Slot::Free;
        desk.free.borrow_mut().push(index(self.ticket) as u32);
        self.share.waiting.set(self.share.waiting.get() - 1);
        desk.waiting.set(desk.waiting.get() - 1);
        desk.bytes.set(desk.bytes.get() - self.size);
        if unanswered && !self.taken {
            desk.inbox.push(Event::Forget { ticket: self.ticket });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;

    fn desk(limits: DeskLimits) -> (Rc<Inbox>, Rc<Desk>, Rc<Share>) {
        let inbox = Rc::new(Inbox::default());
        (inbox.clone(), Rc::new(Desk::new(inbox, limits)), Rc::default())
    }

    fn write() -> Request {
        Request::Write { command: Bytes::from_static(b"12345678") }
    }

    fn ask(desk: &Rc<Desk>, share: &Rc<Share>) -> Result<Answer, Response> {
        desk.ask(share, write(), Duration::from_secs(1))
    }

    fn is_busy(result: Result<Answer, Response>) -> bool {
        matches!(result, Err(Response::Refused { why: Refused::Busy { .. }, .. }))
    }

    #[test]
    fn an_answer_reaches_who_asked() {
        let (inbox, desk, share) = desk(DeskLimits::default());
        let mut first = ask(&desk, &share).unwrap();
        let mut second = ask(&desk, &share).unwrap();
        assert!((&mut first).now_or_never().is_none());
        desk.answer(second.ticket, Response::Unknown("b".into()));
        desk.answer(first.ticket, Response::Unknown("a".into()));
        assert_eq!((&mut first).now_or_never(), Some(Response::Unknown("a".into())));
        assert_eq!((&mut second).now_or_never(), Some(Response::Unknown("b".into())));
        drop((first, second));
        assert_eq!(desk.waiting(), 0);
        let events: Vec<_> = std::iter::from_fn(|| inbox.pop()).collect();
        assert!(matches!(events[..], [Event::Client { .. }, Event::Client { .. }]), "{events:?}");
    }

    #[test]
    fn whoever_goes_away_is_forgotten_and_its_answer_reaches_nobody_else() {
        let (inbox, desk, share) = desk(DeskLimits::default());
        let gone = ask(&desk, &share).unwrap();
        let ticket = gone.ticket;
        drop(gone);
        let mut next = ask(&desk, &share).unwrap();
        assert_eq!(index(next.ticket), index(ticket), "the slot is used again");
        desk.answer(ticket, Response::Unknown("late".into()));
        assert!((&mut next).now_or_never().is_none());
        let events: Vec<_> = std::iter::from_fn(|| inbox.pop()).collect();
        assert_eq!(events[1], Event::Forget { ticket });
    }

    #[test]
    fn beyond_each_limit_a_client_hears_busy() {
        let limits = DeskLimits { requests: 3, requests_of_one_connection: 2, bytes: 20 };
        let (_inbox, desk, share) = desk(limits);
        let kept = [ask(&desk, &share).unwrap(), ask(&desk, &share).unwrap()];
        assert!(is_busy(ask(&desk, &share)), "two of one connection");
        let other = Rc::default();
        assert!(is_busy(ask(&desk, &other)), "twenty bytes");
        drop(kept);
        assert!(ask(&desk, &share).is_ok());
    }

    #[test]
    fn a_closed_desk_says_so() {
        let (_inbox, desk, share) = desk(DeskLimits::default());
        desk.close();
        let response = ask(&desk, &share).unwrap_err();
        assert!(matches!(response, Response::Refused { why: Refused::Stopping, .. }));
    }
}
