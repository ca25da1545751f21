//! Answers over HTTP/2, on their way to a client that may not take them.
//!
//! # The problem
//! The library asks an answer's body for a frame, and keeps it until the client has room for one
//! byte. Then it queues all of it, however large, asks for the end, and drops the body: the answer
//! still is here, and nobody knows. Nor does a client that makes no room hold up the socket, where
//! somebody could see it.
//!
//! # The rule
//! So what a call holds goes with the bytes themselves: it is given back when the library has
//! written the last of them to the socket, or throws them away since the client has. And they know
//! when some of them were taken. Where nothing of an answer is taken for long, the connection ends;
//! a stream may stand still for as long as its client likes, as what waits for it has its bounds.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::bounds::Claim;

/// How the client of one connection takes its answers.
///
/// Time is cut into periods. If nothing of an answer was taken in the whole of one, it ends the
/// connection: so all answers that wait moved last in this period or in the one before.
#[derive(Default)]
pub struct Taking {
    /// Now, and in turns.
    period: Cell<Period>,
    /// Answers that wait, by the period in which they moved last.
    waiting: [Cell<usize>; 2],
}

type Period = bool;

impl Taking {
    /// Ends when nothing of some answer was taken for `stall`, and at the latest after twice that.
    pub async fn stalls(&self, stall: Duration) {
        loop {
            tokio::time::sleep(stall).await;
            let before = !self.period.get();
            if self.in_period(before).get() > 0 {
                return;
            }
            self.period.set(before);
        }
    }

    fn in_period(&self, period: Period) -> &Cell<usize> {
        let [even, odd] = &self.waiting;
        if period { odd } else { even }
    }
}

/// One answer among those that wait.
struct Waiting {
    among: Rc<Taking>,
    moved: Period,
}

impl Waiting {
    fn begin(among: &Rc<Taking>) -> Waiting {
        let moved = among.period.get();
        let count = among.in_period(moved);
        count.set(count.get() + 1);
        Waiting { among: Rc::clone(among), moved }
    }

    fn moves(&mut self) {
        if self.moved != self.among.period.get() {
            *self = Waiting::begin(&self.among);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let count = self.among.in_period(self.moved);
        count.set(count.get() - 1);
    }
}

/// A response's body. Its bytes hold what their call does.
pub struct Answer {
    body: Body,
    /// None of a refusal, which is a head and has no bytes.
    claim: Option<Arc<Claim>>,
    taking: Rc<Taking>,
}

impl Answer {
    pub fn new(body: Body, claim: Option<Arc<Claim>>, taking: &Rc<Taking>) -> Answer {
        Answer { body, claim, taking: Rc::clone(taking) }
    }

    fn piece(&self, bytes: Bytes) -> Piece {
        let is_whole = self.claim.as_ref().is_some_and(|claim| claim.is_of_one_answer());
        let waiting = is_whole.then(|| Waiting::begin(&self.taking));
        Piece { bytes, waiting, _claim: self.claim.clone() }
    }
}

impl hyper::body::Body for Answer {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let piece = |frame: Frame<Bytes>| frame.map_data(|bytes| self.piece(bytes));
        Poll::Ready(frame.map(|frame| frame.map(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer that were not taken yet.
pub struct Piece {
    bytes: Bytes,
    waiting: Option<Waiting>,
    _claim: Option<Arc<Claim>>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(waiting) = &mut self.waiting {
            waiting.moves();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_move_slowly_but_not_stand_still() {
        let taking = Rc::new(Taking::default());
        let mut stalls = Box::pin(taking.stalls(STALL));
        let mut answers = [Waiting::begin(&taking), Waiting::begin(&taking)];
        for _ in 0..100 {
            tokio::time::advance(STALL * 9 / 10).await;
            assert!((&mut stalls).now_or_never().is_none());
            answers.iter_mut().for_each(Waiting::moves);
        }
        let [mut moving, standing] = answers;
        for _ in 0..3 {
            tokio::time::advance(STALL * 9 / 10).await;
            if (&mut stalls).now_or_never().is_some() {
                return;
            }
            moving.moves();
        }
        drop(standing);
        panic!("one stands still");
    }
}
