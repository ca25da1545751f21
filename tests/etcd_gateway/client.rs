//! A client of HTTP, and no more than that.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Where a server is, and what every request to it says.
#[derive(Clone)]
pub struct Web {
    pub address: String,
    pub headers: Vec<(&'static str, &'static str)>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Web {
    pub fn at(address: &str) -> Web {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        Web { address: address.to_owned(), headers: Vec::new() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&Method::GET, path, "").unwrap()
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(&Method::POST, path, body).unwrap()
    }

    pub fn ask(&self, method: &Method, path: &str, body: &str) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asked = async {
            let mut request =
                Request::builder().method(method).uri(format!("http://{}{path}", self.address));
            for (name, value) in &self.headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
            let client = Client::builder(TokioExecutor::new()).build_http();
            let answer = client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), text(value.as_bytes()))
            };
            Ok(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(header).collect(),
                text: text(&body),
            })
        };
        let patience = Duration::from_secs(30);
        let asked = async { tokio::time::timeout(patience, asked).await };
        runtime.unwrap().block_on(asked).unwrap_or_else(|_| Err("no answer came".to_owned()))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
