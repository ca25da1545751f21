//! The same API for whoever speaks HTTP and JSON, and no gRPC: `curl`, mostly.
//!
//! # The rule
//! What a client sees is written down in `schema/etcd/gateway.md`. The gateway is a client of the
//! services like any other, in the same process: a request becomes a call on the wire's own terms,
//! goes through the same routes, and its answer becomes JSON. So it knows no method by itself, and
//! whatever comes to the routes is here, too.
//!
//! ```text
//!            JSON ──► reading ──► bytes ──► call ─┐
//!   client        catalog: names and numbers      routes (as for gRPC)
//!            JSON ◄── writing ◄── bytes ◄─────────┘
//! ```
//!
//! # Bounds
//! Calls count against the same bounds as gRPC's, until the last piece of their JSON is handed
//! on. A value of JSON has its largest size, and a call its time to arrive. Answers are written
//! as the client takes them: beside the message, which counts, there are two pieces. How long a
//! connection may be silent, or take nothing, is its server's affair.

mod call;
mod catalog;
mod checks;
mod errors;
mod pages;
mod paths;
mod reading;
mod stream;
mod values;
mod writing;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;

use super::bounds::{Bounds, Claim};
pub(super) use catalog::catalog;
use checks::Check;
pub use pages::MetricsPage;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Everybody may read the answers, pages of any origin included: etcd's own default.
const EVERY_ANSWER: [(&str, &str); 3] = [
    ("access-control-allow-headers", "accept, content-type, authorization"),
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("access-control-allow-origin", "*"),
];

/// Who answers calls of gRPC; which must have sent their message within the time.
pub type Answering =
    Rc<dyn Fn(Request<Body>, Duration, Arc<Claim>) -> LocalBoxFuture<'static, Answer>>;

/// What a server sends back.
pub type Answer = Response<Body>;

/// Serves one connection.
pub struct Gateway {
    pub calls: Answering,
    pub bounds: Arc<Bounds>,
    /// For a request to arrive.
    pub limit: Duration,
    pub metrics: MetricsPage,
}

impl Gateway {
    /// Whether a path belongs to the API itself, and not to a server's own pages.
    pub fn is_api(path: &str) -> bool {
        path == "/version" || path.starts_with("/v3/") || Check::at(path).is_some()
    }

    pub async fn answer(&self, request: Request<Body>) -> Answer {
        let path = request.uri().path();
        let checks = Check::at(path);
        let is_page = checks.is_some() || matches!(path, "/health" | "/version");
        let mut answer = match path {
            _ if request.method() == Method::OPTIONS => Response::new(Body::empty()),
            "/metrics" => (self.metrics)().map(Body::new),
            _ if is_page && request.method() != Method::GET => {
                let mut refusal = not_allowed();
                refusal.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET"));
                refusal
            }
            "/health" => self.health().await,
            "/version" => pages::version(),
            _ if path.starts_with("/v3/") => self.method(request).await,
            _ if let Some(checks) = checks => {
                self.check(checks, request.uri().query().unwrap_or_default()).await
            }
            _ => reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
        };
        for (name, value) in EVERY_ANSWER {
            let name = HeaderName::from_static(name);
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn method(&self, request: Request<Body>) -> Answer {
        let Some(method) = paths::method(request.uri().path()) else {
            return reply(StatusCode::NOT_FOUND, TEXT, "Not Found\n");
        };
        if request.method() != Method::POST {
            return not_allowed();
        }
        let answered = match self.bounds.admit() {
            Ok(claim) if method.gives_many => self.stream(method, request, claim).await,
            Ok(claim) => self.unary(method, request, claim).await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(|status| refused(&status))
    }
}

fn not_allowed() -> Answer {
    reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n")
}

fn refused(status: &Status) -> Answer {
    reply(errors::http_status(status.code()), JSON, errors::of_call(status))
}

fn reply(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Answer {
    of_body(status, kind, Body::new(Full::from(text.into())))
}

fn of_body(status: StatusCode, kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// What a service answered, with the header that gRPC's own gateway passes on.
fn success(body: Body) -> Answer {
    let mut answer = of_body(StatusCode::OK, JSON, body);
    let (name, value) = ("grpc-metadata-content-type", "application/grpc");
    answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;
