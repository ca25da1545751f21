//! What can be done from the page: the same as on the command line, past the same guards.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Refusal, json, say};
use crate::chaos::{Fault, FaultId, Healed, Injection};
use crate::control::Action;
use crate::observe::GuestBody;
use crate::supervisor::daemon::Daemon;
use crate::supervisor::refused::Refused;
use crate::types::NodeId;

/// Bytes of a request.
const MAX_BODY: usize = 16 << 10;

/// Who injected a fault, as `chaos status` shows it.
const BY: &str = "console";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    node: NodeId,
    action: Action,
    #[serde(default)]
    yes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inject {
    injection: Injection,
    #[serde(default)]
    yes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heal {
    faults: Vec<FaultId>,
}

#[derive(Serialize)]
struct Acted {
    node: NodeId,
}

#[derive(Serialize)]
struct Began {
    fault: Told<Fault>,
    warning: Option<String>,
    unheard: Vec<NodeId>,
}

#[derive(Serialize)]
struct Over {
    healed: Vec<Told<Healed>>,
    unheard: Vec<NodeId>,
}

/// Something, and its words.
#[derive(Serialize)]
pub(super) struct Told<T> {
    #[serde(flatten)]
    what: T,
    text: String,
}

impl<T: std::fmt::Display> From<T> for Told<T> {
    fn from(what: T) -> Told<T> {
        Told { text: what.to_string(), what }
    }
}

/// What the request asks for; or the answer that says why it asks for nothing.
async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Response<GuestBody>> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let bytes: Bytes = match body {
        Ok(body) => body.to_bytes(),
        Err(error) => return Err(say(StatusCode::BAD_REQUEST, &error.to_string())),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| say(StatusCode::BAD_REQUEST, &format!("not understood: {error}")))
}

/// An answer, or a refusal with its reason.
fn answer(done: Result<impl Serialize, Refused>) -> Response<GuestBody> {
    match done {
        Ok(done) => json(StatusCode::OK, &done),
        Err(why) => {
            let refusal = Refusal { refused: &why.to_string(), may_insist: why.may_insist() };
            json(StatusCode::CONFLICT, &refusal)
        }
    }
}

/// Once begun it goes on, even if the page is closed.
async fn to_its_end<T: 'static>(
    deed: impl Future<Output = Result<T, Refused>> + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_local(deed).await;
    done.unwrap_or_else(|error| Err(error.to_string().into()))
}

pub async fn act(daemon: Rc<Daemon>, request: Request<Incoming>) -> Response<GuestBody> {
    let Act { node, action, yes } = match read(request).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let deed = async move { daemon.act_by_hand(Some(node), action, yes).await };
    answer(to_its_end(deed).await.map(|node| Acted { node }))
}

pub async fn inject(daemon: Rc<Daemon>, request: Request<Incoming>) -> Response<GuestBody> {
    let Inject { injection, yes } = match read(request).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let injection = Injection { by: BY.to_owned(), ..injection };
    let begun = to_its_end(async move { daemon.inject(injection, yes).await }).await;
    answer(begun.map(|begun| Began {
        fault: begun.fault.shown().into(),
        warning: Some(begun.warning).filter(|warning| !warning.is_empty()),
        unheard: begun.unheard,
    }))
}

pub async fn heal(daemon: Rc<Daemon>, request: Request<Incoming>) -> Response<GuestBody> {
    let Heal { faults } = match read(request).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let healed = to_its_end(async move { Ok(daemon.heal(&faults).await?) }).await;
    answer(healed.map(|(healed, unheard)| Over {
        healed: healed.into_iter().map(Told::from).collect(),
        unheard,
    }))
}
