//! The pages beside the API: which version this is, and whether the member can work.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use prost::Message;
use serde::Serialize;
use tonic::Status;
use tonic::body::Body;

use super::call::{framed, internal};
use super::catalog::catalog;
use super::{Answer, Gateway, JSON, reply};
use crate::grpc::maintenance::ETCD_VERSION;
use crate::grpc::pb::etcdserverpb as pb;

/// Makes the text of `/metrics`, which is the node's own.
pub type MetricsPage = Rc<dyn Fn() -> Response<Full<Bytes>>>;

/// The version of the API that all members have together.
const CLUSTER_VERSION: &str = "3.5.0";

pub fn version() -> Answer {
    let text = format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#);
    reply(StatusCode::OK, JSON, text)
}

#[derive(Serialize)]
struct Health<'a> {
    /// In quotes, as etcd has it.
    health: &'a str,
    reason: &'a str,
}

impl Gateway {
    /// What `Status` says, in two words: alarms first, as in etcd.
    pub async fn health(&self) -> Answer {
        let (status, health, reason) = match self.status().await {
            Ok(member) => match ailment(&member) {
                None => (StatusCode::OK, "true", String::new()),
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "false", reason),
            },
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, "false", error.message().to_owned()),
        };
        match serde_json::to_string(&Health { health, reason: &reason }) {
            Ok(text) => reply(status, JSON, text),
            Err(error) => super::refused(&internal(error)),
        }
    }

    pub async fn status(&self) -> Result<pb::StatusResponse, Status> {
        self.ask("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}).await
    }

    /// One call of a server's own.
    pub async fn ask<A>(&self, path: &str, request: &impl Message) -> Result<A, Status>
    where
        A: Message + Default,
    {
        let method = catalog().method(path);
        let method = method.ok_or_else(|| internal(format!("no {path} in the schema")))?;
        let body = Body::new(Full::new(framed(&request.encode_to_vec())?));
        let answer = self.call(method, &HeaderMap::new(), body, self.bounds.admit()?).await?;
        A::decode(answer).map_err(internal)
    }
}

fn ailment(member: &pb::StatusResponse) -> Option<String> {
    let alarm = member.errors.iter().find_map(|error| {
        let (_, alarm) = error.split_once("alarm:")?;
        Some(format!("ALARM {}", alarm.trim()))
    });
    alarm.or_else(|| (member.leader == 0).then(|| "RAFT NO LEADER".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_or_no_leader_is_an_ailment() {
        let member = |leader, errors: &[&str]| pb::StatusResponse {
            leader,
            errors: errors.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        let no_leader = "etcdserver: no leader";
        let alarm = "memberID:3319814642761637952 alarm:NOSPACE ";
        assert_eq!(ailment(&member(1, &[])), None);
        assert_eq!(ailment(&member(0, &[no_leader])).unwrap(), "RAFT NO LEADER");
        assert_eq!(ailment(&member(0, &[no_leader, alarm])).unwrap(), "ALARM NOSPACE");
    }
}
