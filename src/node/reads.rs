//! Reads that are answered here: one question for all that wait.
//!
//! # The problem
//!
//! A linearizable read needs to hear that this replica is far enough: a round of messages, which
//! the core already shares among all reads. But each of them cost a ticket, two deadlines and a
//! place in five maps, and its query and answer were turned into bytes and back, although neither
//! left the node.
//!
//! # The rule
//!
//! Reads gather here. One question, the store's revision, is put to the replica for all that have
//! gathered; once it is answered, each of them looks at the state itself. While a question is under
//! way, the next ones gather for the next, as in the core.
//!
//! That is linearizable: each read began before its question was put, and looks at the state after
//! the answer, which is then no older than what the answer was about.
//!
//! What waits here is bounded by who lets calls in (`GrpcLimits`).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::desk::{Desk, Share, refused};
use crate::kv::Query;
use crate::replica::{Consistency, Refused, Request, Response};

/// Whether the state may be looked at.
type Confirmed = Result<(), Response>;

/// See the [module](self).
#[derive(Debug)]
pub struct Reads {
    desk: Rc<Desk>,
    share: Rc<Share>,
    waiting: RefCell<Vec<Reader>>,
    bell: Notify,
}

#[derive(Debug)]
struct Reader {
    patience: Duration,
    answer: oneshot::Sender<Confirmed>,
}

impl Reads {
    /// Reads whose questions go over `desk`. Nobody is answered unless [`Reads::run`] runs.
    pub fn new(desk: Rc<Desk>) -> Reads {
        let (share, waiting, bell) = Default::default();
        Reads { desk, share, waiting, bell }
    }

    /// Waits until the state here holds all that was acknowledged before this call.
    ///
    /// # Errors
    /// The replica's refusal, or its own when it took longer than `patience`.
    pub async fn confirm(&self, patience: Duration) -> Result<(), Response> {
        let (answer, confirmed) = oneshot::channel();
        self.waiting.borrow_mut().push(Reader { patience, answer });
        self.bell.notify_one();
        match tokio::time::timeout(patience, confirmed).await {
            Ok(Ok(confirmed)) => confirmed,
            Ok(Err(_)) => Err(refused(Refused::Stopping, "this node is stopping; ask another")),
            Err(_) => Err(refused(Refused::TimedOut, "nobody confirmed the read in time")),
        }
    }

    /// Asks for all that wait, again and again.
    pub async fn run(self: Rc<Reads>) {
        let query = Query::Revision.encode();
        loop {
            let mut readers = self.waiting.take();
            readers.retain(|reader| !reader.answer.is_closed());
            let Some(patience) = readers.iter().map(|reader| reader.patience).max() else {
                self.bell.notified().await;
                continue;
            };
            let consistency = Consistency::Linearizable;
            let request = Request::Read { query: query.clone(), consistency };
            let response = match self.desk.ask(&self.share, request, patience) {
                Ok(answer) => answer.await,
                Err(response) => response,
            };
            let confirmed = match response {
                Response::Answer(_) => Ok(()),
                other => Err(other),
            };
            for reader in readers {
                let _ = reader.answer.send(confirmed.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::node::desk::DeskLimits;
    use crate::node::inbox::Inbox;
    use crate::replica::Event;
    use crate::types::Ticket;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A desk without a replica behind it: the test answers.
    struct World {
        inbox: Rc<Inbox>,
        desk: Rc<Desk>,
        reads: Rc<Reads>,
    }

    impl World {
        fn new() -> World {
            let inbox = Rc::new(Inbox::default());
            let desk = Rc::new(Desk::new(inbox.clone(), DeskLimits::default()));
            let reads = Rc::new(Reads::new(desk.clone()));
            tokio::task::spawn_local(reads.clone().run());
            World { inbox, desk, reads }
        }

        fn read(&self) -> tokio::task::JoinHandle<Confirmed> {
            let reads = self.reads.clone();
            tokio::task::spawn_local(async move { reads.confirm(PATIENCE).await })
        }

        /// The questions that have come to the replica by now.
        async fn questions(&self) -> Vec<Ticket> {
            // Each task that can go on does so.
            for _ in 0..10 {
                yield_now().await;
            }
            let asked = |event| match event {
                Event::Client { ticket, .. } => ticket,
                other => panic!("{other:?}"),
            };
            std::iter::from_fn(|| self.inbox.pop()).map(asked).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_serves_all_that_began_before_it_and_nobody_else() {
        let within = LocalSet::new();
        let test = async {
            let world = World::new();
            let early = [world.read(), world.read(), world.read()];
            let questions = world.questions().await;
            assert_eq!(questions.len(), 1);
            // It began after the question was put: the answer says nothing about it.
            let late = world.read();
            assert!(world.questions().await.is_empty(), "one at a time");
            world.desk.answer(questions[0], Response::Answer(Bytes::new()));
            for read in early {
                assert_eq!(read.await.unwrap(), Ok(()));
            }
            assert!(!late.is_finished());
            let questions = world.questions().await;
            let why = Response::Unknown("no".to_owned());
            world.desk.answer(questions[0], why.clone());
            assert_eq!(late.await.unwrap(), Err(why));
        };
        within.run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_in_its_time_and_one_that_went_away_is_not_asked_for() {
        let within = LocalSet::new();
        let test = async {
            let world = World::new();
            let first = world.read();
            assert_eq!(world.questions().await.len(), 1);
            let gone = world.read();
            gone.abort();
            let refusal = first.await.unwrap().unwrap_err();
            assert!(matches!(refusal, Response::Refused { why: Refused::TimedOut, .. }));
            assert!(world.questions().await.is_empty());
        };
        within.run_until(test).await;
    }
}
