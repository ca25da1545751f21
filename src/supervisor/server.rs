//! The supervisor's side of `control.capnp`.

use std::rc::Rc;
use std::time::Duration;

use super::daemon::Daemon;
use super::leader::Unmet;
use crate::chaos::{Fault, FaultId, Injection};
use crate::control::{Judged, MAX_GRACE, OpsOrder};
use crate::schema::control_capnp::supervisor;
use crate::types::NodeId;

/// Events in one answer.
const MAX_EVENTS: usize = 1000;

/// How long one may wait for an event in one call.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What a change of membership or leadership gets if no time is named.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time that one can be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

fn timeout(millis: u32) -> Duration {
    match millis {
        0 => DEFAULT_TIMEOUT,
        millis => Duration::from_millis(millis.into()).min(MAX_TIMEOUT),
    }
}

/// Zero means nobody.
fn somebody(id: u64) -> Option<NodeId> {
    Some(NodeId(id)).filter(|id| id.0 != 0)
}

/// Our own types have no maps with odd keys: they always have their JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

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
        let node = somebody(params.get_node());
        let action = params.get_action()?.into();
        let acted = self.0.act_by_hand(node, action, params.get_yes()).await;
        match acted {
            Ok(node) => results.get().set_node(node.0),
            Err(why) => {
                results.get().set_guarded(why.may_insist());
                results.get().set_refused(why.to_string().as_str());
            }
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

    async fn member_add(
        self: Rc<Self>,
        params: supervisor::MemberAddParams,
        mut results: supervisor::MemberAddResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let (node, learner) = (somebody(params.get_node()), params.get_learner());
        let timeout = timeout(params.get_timeout_millis());
        match self.0.member_add(node, learner, timeout).await {
            Ok(node) => results.get().set_node(node.0),
            Err(Unmet::Refused(why)) => results.get().set_refused(&why),
            Err(Unmet::Unfinished(why)) => results.get().set_unfinished(&why),
        }
        Ok(())
    }

    async fn member_promote(
        self: Rc<Self>,
        params: supervisor::MemberPromoteParams,
        mut results: supervisor::MemberPromoteResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let timeout = timeout(params.get_timeout_millis());
        match self.0.member_promote(NodeId(params.get_node()), timeout).await {
            Ok(()) => {}
            Err(Unmet::Refused(why)) => results.get().set_refused(&why),
            Err(Unmet::Unfinished(why)) => results.get().set_unfinished(&why),
        }
        Ok(())
    }

    async fn member_remove(
        self: Rc<Self>,
        params: supervisor::MemberRemoveParams,
        mut results: supervisor::MemberRemoveResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let timeout = timeout(params.get_timeout_millis());
        let (node, purge) = (NodeId(params.get_node()), params.get_purge());
        match self.0.member_remove(node, purge, timeout).await {
            Ok(()) => {}
            Err(Unmet::Refused(why)) => results.get().set_refused(&why),
            Err(Unmet::Unfinished(why)) => results.get().set_unfinished(&why),
        }
        Ok(())
    }

    async fn transfer(
        self: Rc<Self>,
        params: supervisor::TransferParams,
        mut results: supervisor::TransferResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let timeout = timeout(params.get_timeout_millis());
        match self.0.transfer(somebody(params.get_to()), timeout).await {
            Ok(handover) => {
                let mut to = results.get().init_handover();
                to.set_from(handover.from.0);
                to.set_to(handover.to.0);
                to.set_term(handover.term.0);
                to.set_took_millis(handover.took_millis);
            }
            Err(Unmet::Refused(why)) => results.get().set_refused(&why),
            Err(Unmet::Unfinished(why)) => results.get().set_unfinished(&why),
        }
        Ok(())
    }

    async fn inject(
        self: Rc<Self>,
        params: supervisor::InjectParams,
        mut results: supervisor::InjectResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let injection = serde_json::from_str::<Injection>(params.get_injection()?.to_str()?);
        let (daemon, yes) = (self.0.clone(), params.get_yes());
        let begun = match injection {
            // Once begun it goes on, even if the one who asked is gone.
            Ok(injection) => {
                tokio::task::spawn_local(async move { daemon.inject(injection, yes).await })
                    .await
                    .map_err(|error| capnp::Error::failed(error.to_string()))?
            }
            Err(error) => Err(format!("this is no fault: {error}").into()),
        };
        let mut results = results.get();
        match begun {
            Ok(begun) => {
                results.set_fault(json(&begun.fault).as_str());
                results.set_warning(&begun.warning);
                let mut unheard = results.init_unheard(begun.unheard.len() as u32);
                (0..).zip(&begun.unheard).for_each(|(at, id)| unheard.set(at, id.0));
            }
            Err(why) => {
                results.set_guarded(why.may_insist());
                results.set_refused(why.to_string().as_str());
            }
        }
        Ok(())
    }

    async fn heal(
        self: Rc<Self>,
        params: supervisor::HealParams,
        mut results: supervisor::HealResults,
    ) -> Result<(), capnp::Error> {
        let ids: Vec<_> = params.get()?.get_faults()?.iter().map(FaultId).collect();
        let daemon = self.0.clone();
        let healed = tokio::task::spawn_local(async move { daemon.heal(&ids).await });
        let healed = healed.await.map_err(|error| capnp::Error::failed(error.to_string()))?;
        let mut results = results.get();
        match healed {
            Ok((healed, still)) => {
                results.set_healed(json(&healed).as_str());
                let mut unheard = results.init_unheard(still.len() as u32);
                (0..).zip(&still).for_each(|(at, id)| unheard.set(at, id.0));
            }
            Err(why) => results.set_refused(&why),
        }
        Ok(())
    }

    async fn judged(
        self: Rc<Self>,
        params: supervisor::JudgedParams,
        mut results: supervisor::JudgedResults,
    ) -> Result<(), capnp::Error> {
        let text = params.get()?.get_verdict()?.to_str()?;
        let judged = serde_json::from_str::<Judged>(text).map_err(|error| error.to_string());
        if let Err(why) = judged.and_then(|judged| self.0.judged(&judged)) {
            results.get().set_refused(format!("this is no verdict: {why}").as_str());
        }
        Ok(())
    }

    async fn ops(
        self: Rc<Self>,
        params: supervisor::OpsParams,
        mut results: supervisor::OpsResults,
    ) -> Result<(), capnp::Error> {
        let order = serde_json::from_str::<OpsOrder>(params.get()?.get_order()?.to_str()?);
        let done = match order {
            Ok(order) => self.0.order_ops(order).await,
            Err(error) => Err(format!("this is no order: {error}")),
        };
        match done {
            Ok(status) => results.get().set_status(json(&status).as_str()),
            Err(why) => results.get().set_refused(&why),
        }
        Ok(())
    }

    async fn faults(
        self: Rc<Self>,
        _: supervisor::FaultsParams,
        mut results: supervisor::FaultsResults,
    ) -> Result<(), capnp::Error> {
        let faults: Vec<_> = self.0.faults().iter().map(Fault::shown).collect();
        results.get().set_faults(json(&faults).as_str());
        Ok(())
    }

    async fn take_snapshot(
        self: Rc<Self>,
        params: supervisor::TakeSnapshotParams,
        mut results: supervisor::TakeSnapshotResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let timeout = timeout(params.get_timeout_millis());
        match self.0.take_snapshots(somebody(params.get_node()), timeout).await {
            Ok(taken) => {
                let mut list = results.get().init_taken(taken.len() as u32);
                for (at, taken) in (0..).zip(&taken) {
                    taken.write(list.reborrow().get(at));
                }
            }
            Err(Unmet::Refused(why)) => results.get().set_refused(&why),
            Err(Unmet::Unfinished(why)) => results.get().set_unfinished(&why),
        }
        Ok(())
    }
}
