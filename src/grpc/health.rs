//! `grpc.health.v1.Health`: whether the server works. It does, if it can answer.
//!
//! Whether the *cluster* works, Maintenance's Status says, and a read finds out. As in etcd, only
//! the server as a whole has a name here, the empty one.

use tonic::Status;
use tonic::body::Body;

use super::call::{Call, reply};
use super::pb::grpc::health::v1 as pb;
use super::pb::grpc::health::v1::health_check_response::ServingStatus;

pub struct Health;

impl Health {
    pub async fn route(self, method: &str, call: Call) -> Option<http::Response<Body>> {
        Some(match method {
            "Check" => {
                call.unary(async |request: pb::HealthCheckRequest, _| {
                    match request.service.is_empty() {
                        true => Ok(answer(ServingStatus::Serving)),
                        false => Err(Status::not_found("unknown service")),
                    }
                })
                .await
            }
            "Watch" => {
                call.answers(async |request: pb::HealthCheckRequest, replies| {
                    let status = match request.service.is_empty() {
                        true => ServingStatus::Serving,
                        false => ServingStatus::ServiceUnknown,
                    };
                    // It never changes; the stream stays open until the client goes away.
                    if reply(&replies, answer(status)).await.is_ok() {
                        replies.closed().await;
                    }
                    Ok(())
                })
                .await
            }
            _ => return None,
        })
    }
}

fn answer(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status.into() }
}
