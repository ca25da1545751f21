//! The supervisor's side of `control.capnp`.

use std::rc::Rc;
use std::time::Duration;

use super::daemon::Daemon;
use crate::control::MAX_GRACE;
use crate::schema::control_capnp::supervisor;
use crate::types::NodeId;

/// Events in one answer.
const MAX_EVENTS: usize = 1000;

/// How long one may wait for an event in one call.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What each connection gets.
pub(super) struct Control(pub Rc<Daemon>);

impl supervisor::Server for Control {
    async fn status(
        self: Rc<Self>,
        _: supervisor::StatusParams,
        mut results: supervisor::StatusResults,
    ) -> Result<(), capnp::Error> {
        self.0.status().write(results.get().init_status());
        Ok(())
    }

    async fn act(
        self: Rc<Self>,
        params: supervisor::ActParams,
        mut results: supervisor::ActResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let node = Some(NodeId(params.get_node())).filter(|node| node.0 != 0);
        let action = params.get_action()?.into();
        match self.0.act(node, action).await {
            Ok(node) => results.get().set_node(node.0),
            Err(why) => results.get().set_refused(&why),
        }
        Ok(())
    }

    async fn down(
        self: Rc<Self>,
        params: supervisor::DownParams,
        mut results: supervisor::DownResults,
    ) -> Result<(), capnp::Error> {
        let grace = Some(Duration::from_millis(params.get()?.get_grace_millis().into()))
            .filter(|grace| !grace.is_zero())
            .map(|grace| grace.min(MAX_GRACE));
        let daemon = self.0.clone();
        // Once begun it goes on, even if the one who asked is gone.
        let down = tokio::task::spawn_local(async move { daemon.down(grace).await });
        let stopped = down.await.map_err(|error| capnp::Error::failed(error.to_string()))?;
        let mut list = results.get().init_stopped(stopped.len() as u32);
        for (at, stopped) in (0..).zip(&stopped) {
            stopped.write(list.reborrow().get(at));
        }
        Ok(())
    }

    async fn events(
        self: Rc<Self>,
        params: supervisor::EventsParams,
        mut results: supervisor::EventsResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let after = params.get_after();
        let limit = (params.get_limit() as usize).min(MAX_EVENTS);
        let wait = Duration::from_millis(params.get_wait_millis().into()).min(MAX_WAIT);
        let end = tokio::time::Instant::now() + wait;
        let mut news = self.0.news();
        let events = loop {
            news.borrow_and_update();
            let events = self.0.inner.borrow().events.after(after, limit);
            if !events.is_empty() || limit == 0 {
                break events;
            }
            match tokio::time::timeout_at(end, news.changed()).await {
                Ok(Ok(())) => {}
                _ => break events,
            }
        };
        let mut list = results.get().init_events(events.len() as u32);
        for (at, event) in (0..).zip(&events) {
            event.write(list.reborrow().get(at));
        }
        Ok(())
    }
}
