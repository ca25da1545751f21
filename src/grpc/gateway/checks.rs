//! `/livez` and `/readyz`: whether to start this member again, and whether to send it clients.
//!
//! Each check has a page of its own below, too, as in `/readyz/linearizable_read`. Which checks
//! there are, and what the pages say, is etcd's.

use http::StatusCode;
use http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use tonic::Status;

use super::{Answer, Gateway, TEXT, reply};
use crate::grpc::pb::etcdserverpb as pb;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// No alarm says that the members' states differ.
    DataCorruption,
    /// The state here can be read.
    SerializableRead,
    /// A majority answers.
    LinearizableRead,
    /// The member has a vote.
    NonLearner,
}

use Check::{DataCorruption, LinearizableRead, NonLearner, SerializableRead};

const LIVE: &[Check] = &[SerializableRead];
const READY: &[Check] = &[DataCorruption, SerializableRead, LinearizableRead, NonLearner];

impl Check {
    /// Those of a page, if it is one of these.
    pub fn at(path: &str) -> Option<&'static [Check]> {
        let (checks, one) = match path.strip_prefix("/livez") {
            Some(one) => (LIVE, one),
            None => (READY, path.strip_prefix("/readyz")?),
        };
        match one.strip_prefix('/') {
            Some(name) => checks.chunks(1).find(|check| check[0].name() == name),
            None => one.is_empty().then_some(checks),
        }
    }

    fn name(self) -> &'static str {
        match self {
            DataCorruption => "data_corruption",
            SerializableRead => "serializable_read",
            LinearizableRead => "linearizable_read",
            NonLearner => "non_learner",
        }
    }
}

impl Gateway {
    /// The page of these checks. What fails is always told; what does not, if the query has
    /// `verbose`. It may `exclude` some.
    pub async fn check(&self, checks: &[Check], query: &str) -> Answer {
        let words = || query.split('&').map(|word| word.split_once('=').unwrap_or((word, "")));
        let mut lines = String::new();
        let mut status = StatusCode::OK;
        for check in checks {
            let name = check.name();
            if words().any(|word| word == ("exclude", name)) {
                continue;
            }
            match self.passes(*check).await {
                Ok(()) => lines += &format!("[+]{name} ok\n"),
                Err(why) => {
                    lines += &format!("[-]{name} failed: {}\n", why.message());
                    status = StatusCode::SERVICE_UNAVAILABLE;
                }
            }
        }
        let text = match status {
            StatusCode::OK if words().any(|(name, _)| name == "verbose") => lines + "ok\n",
            StatusCode::OK => "ok\n".to_owned(),
            _ => lines + "\n",
        };
        let mut answer = reply(status, TEXT, text);
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    async fn passes(&self, check: Check) -> Result<(), Status> {
        let failed =
            |is_failed, why| if is_failed { Err(Status::unavailable(why)) } else { Ok(()) };
        match check {
            DataCorruption => {
                let errors = self.status().await?.errors;
                let is_on = errors.iter().any(|error| error.contains("alarm:CORRUPT"));
                failed(is_on, "alarm activated: CORRUPT")
            }
            SerializableRead => self.read(true).await,
            LinearizableRead => self.read(false).await,
            NonLearner => failed(self.status().await?.is_learner, "not supported for learner"),
        }
    }

    async fn read(&self, serializable: bool) -> Result<(), Status> {
        let (key, keys_only) = (b"\0"[..].into(), true);
        let request = pb::RangeRequest { key, keys_only, serializable, ..Default::default() };
        self.ask("/etcdserverpb.KV/Range", &request).await.map(|_: pb::RangeResponse| ())
    }
}
