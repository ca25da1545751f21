//! The live console: a page on the supervisor's own port, to watch the cluster and to break it.
//!
//! # The problem
//!
//! Whoever can open the page can kill nodes. It is served on loopback, and yet anybody can send
//! requests there: a page of some other site, in a browser on this machine.
//!
//! # What can go wrong
//!
//! - Another site's script posts to `127.0.0.1`. The browser sends its origin along.
//! - Another site's name is made to mean `127.0.0.1` (DNS rebinding): then the page is of the same
//!   origin, and its `Host` is that name.
//! - Another user of this machine opens the port. They do not have the token.
//!
//! # The rule
//!
//! Everything wants a `Host` that is this machine's. The page and its script hold nothing, and
//! whoever asks may have them. All else wants the token, which lies in the cluster's directory and
//! which `kvctl console` puts behind the `#` of the address, where no log and no `Referer` shows
//! it; and no other origin (`door`). What is asked for goes the same way, past the same guards, as
//! on the command line (`deeds`). What is shown is sent as it changes (`stream`); a page that does
//! not read is let go, and costs no more than a few frames until then.

mod deeds;
mod door;
mod page;
mod stream;

use std::rc::Rc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::daemon::Daemon;
use crate::observe::{Guest, GuestBody};

pub use door::{Token, TokenError};

/// Where all of it lies.
const PREFIX: &str = "/console";

const JSON: &str = "application/json";

/// Nothing but what the supervisor itself serves is loaded, run or asked.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// See the [module](self).
pub(super) struct Console {
    daemon: Rc<Daemon>,
    states: Rc<stream::States>,
    token: Token,
}

impl Console {
    pub fn new(daemon: Rc<Daemon>, token: Token) -> Console {
        Console { states: stream::States::new(daemon.clone()), daemon, token }
    }

    async fn answer_to(
        daemon: Rc<Daemon>,
        states: Rc<stream::States>,
        token: Token,
        request: Request<Incoming>,
    ) -> Response<GuestBody> {
        if let Err(refusal) = door::is_for_this_machine(request.headers()) {
            return say(StatusCode::FORBIDDEN, refusal);
        }
        let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let method = request.method().clone();
        if let Some((kind, text)) = page::file(&path) {
            return match method {
                Method::GET | Method::HEAD => reply(StatusCode::OK, kind, text),
                _ => not_allowed("GET, HEAD"),
            };
        }
        if let Err(refusal) = door::is_from_own_page(request.headers()) {
            return say(StatusCode::FORBIDDEN, refusal);
        }
        if !token.is_shown_in(request.headers()) {
            let how = "this wants the console's token: open the page with `kvctl console`";
            return say(StatusCode::UNAUTHORIZED, how);
        }
        match (path.as_str(), method) {
            ("/stream", Method::GET) => stream::begin(states),
            ("/history", Method::GET) => stream::history(&daemon, request.uri().query()),
            ("/act", Method::POST) => deeds::act(daemon, request).await,
            ("/fault", Method::POST) => deeds::inject(daemon, request).await,
            ("/heal", Method::POST) => deeds::heal(daemon, request).await,
            ("/stream" | "/history", _) => not_allowed("GET"),
            ("/act" | "/fault" | "/heal", _) => not_allowed("POST"),
            _ => say(StatusCode::NOT_FOUND, "there is no such thing in the console"),
        }
    }
}

impl Guest for Console {
    fn has(&self, path: &str) -> bool {
        path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn answer(&self, request: Request<Incoming>) -> LocalBoxFuture<'static, Response<GuestBody>> {
        let (daemon, states) = (self.daemon.clone(), self.states.clone());
        Console::answer_to(daemon, states, self.token.clone(), request).boxed_local()
    }
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<GuestBody> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    dressed(status, kind, body)
}

fn dressed(status: StatusCode, kind: &'static str, body: GuestBody) -> Response<GuestBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<GuestBody> {
    match serde_json::to_vec(value) {
        Ok(text) => reply(status, JSON, text),
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What was not done, and why.
#[derive(Serialize)]
struct Refusal<'w> {
    refused: &'w str,
    /// The same with `yes` would be done.
    may_insist: bool,
}

fn say(status: StatusCode, why: &str) -> Response<GuestBody> {
    let text = serde_json::to_vec(&Refusal { refused: why, may_insist: false }).unwrap_or_default();
    reply(status, JSON, text)
}

fn not_allowed(methods: &'static str) -> Response<GuestBody> {
    let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "use another method");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
