//! Which method is whose: the table that generated code would hold.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::backend::Backend;
use super::kv::Kv;
use super::maintenance::Maintenance;
use super::status;

/// Bytes of a message to the server, as etcd: its limit on a request, and half a mebibyte.
const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// A call that sets no time for itself is answered within this; etcd's own limit.
const TIMEOUT: Duration = Duration::from_secs(7);

/// The services of one connection.
pub struct Routes {
    backend: Rc<dyn Backend>,
    kv: Rc<Kv>,
    maintenance: Rc<Maintenance>,
}

impl Routes {
    pub fn new(backend: Rc<dyn Backend>) -> Routes {
        let kv = Rc::new(Kv { backend: Rc::clone(&backend) });
        let maintenance = Rc::new(Maintenance { backend: Rc::clone(&backend) });
        Routes { backend, kv, maintenance }
    }

    /// The answer to one call.
    pub async fn answer(&self, request: Request<Incoming>) -> http::Response<Body> {
        let headers = request.headers();
        if headers.get("hasleader").is_some_and(|it| it == "true")
            && self.backend.leader().is_none()
        {
            return status::no_leader().into_http();
        }
        let timeout = timeout(headers);
        let (kv, maintenance) = (Rc::clone(&self.kv), Rc::clone(&self.maintenance));
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/etcdserverpb.KV/Range" => {
                unary(request, async move |message| kv.range(message, timeout).await).await
            }
            "/etcdserverpb.KV/Put" => {
                unary(request, async move |message| kv.put(message, timeout).await).await
            }
            "/etcdserverpb.KV/DeleteRange" => {
                unary(request, async move |message| kv.delete_range(message, timeout).await).await
            }
            "/etcdserverpb.KV/Txn" => {
                unary(request, async move |message| kv.txn(message, timeout).await).await
            }
            "/etcdserverpb.KV/Compact" => {
                unary(request, async move |message| kv.compact(message, timeout).await).await
            }
            "/etcdserverpb.Maintenance/Status" => {
                unary(request, async move |message| maintenance.status(message)).await
            }
            "/etcdserverpb.Cluster/MemberList" => {
                unary(request, async move |message| maintenance.member_list(message)).await
            }
            path => {
                let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
                match SERVICES.contains(&service) {
                    true => status::unknown_method(path).into_http(),
                    false => status::unknown_service(service).into_http(),
                }
            }
        }
    }
}

/// The services of which there is something.
const SERVICES: [&str; 3] = ["etcdserverpb.KV", "etcdserverpb.Maintenance", "etcdserverpb.Cluster"];

/// One message in, one out.
async fn unary<M, A>(
    request: Request<Incoming>,
    answer: impl AsyncFnOnce(M) -> Result<A, Status> + 'static,
) -> http::Response<Body>
where
    M: prost::Message + Default + 'static,
    A: prost::Message + 'static,
{
    let call = Call { answer: Some(answer), message: std::marker::PhantomData };
    let mut grpc = Grpc::new(ProstCodec::<A, M>::default())
        .apply_max_message_size_config(Some(MAX_MESSAGE_BYTES), Some(usize::MAX));
    let mut response = grpc.unary(call, request).await;
    reword(response.headers_mut());
    response
}

struct Call<F, M> {
    answer: Option<F>,
    message: std::marker::PhantomData<M>,
}

impl<F, M, A> UnaryService<M> for Call<F, M>
where
    F: AsyncFnOnce(M) -> Result<A, Status> + 'static,
    M: 'static,
    A: 'static,
{
    type Response = A;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, Status>>>>;

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        let answer = self.answer.take();
        Box::pin(async move {
            let answer = answer.ok_or_else(|| Status::internal("a call is answered once"))?;
            answer(request.into_inner()).await.map(Response::new)
        })
    }
}

/// The library's own refusal of a message that is too large becomes etcd's.
fn reword(headers: &mut HeaderMap) {
    let is_too_large = headers.get("grpc-status").is_some_and(|code| code == "11");
    let message = headers.get("grpc-message").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let found = message
        .strip_prefix("Error,%20decoded%20message%20length%20too%20large:%20found%20")
        .and_then(|rest| rest.split('%').next())
        .and_then(|bytes| bytes.parse::<u64>().ok());
    let Some(found) = found.filter(|_| is_too_large) else { return };
    let text = format!("grpc: received message larger than max ({found} vs. {MAX_MESSAGE_BYTES})");
    if let Ok(text) = HeaderValue::from_str(&text.replace(' ', "%20")) {
        headers.insert("grpc-status", HeaderValue::from_static("8"));
        headers.insert("grpc-message", text);
    }
}

/// How long the caller waits, `grpc-timeout`: a number and a unit; never longer than [`TIMEOUT`].
fn timeout(headers: &HeaderMap) -> Duration {
    let read = || {
        let text = headers.get("grpc-timeout")?.to_str().ok()?;
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = number.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
            "M" => Some(Duration::from_secs(number.saturating_mul(60))),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    };
    read().map_or(TIMEOUT, |time| time.min(TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_patience_is_read_and_bounded() {
        for (text, time) in [
            ("500m", Duration::from_millis(500)),
            ("3S", Duration::from_secs(3)),
            ("250000u", Duration::from_millis(250)),
            ("1H", TIMEOUT),
            ("99999999999999999999S", TIMEOUT),
            ("S", TIMEOUT),
            ("", TIMEOUT),
            ("5", TIMEOUT),
            ("5ü", TIMEOUT),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert_eq!(timeout(&headers), time, "{text}");
        }
    }
}
