//! Errors, as HTTP's status and as JSON. Two shapes: one for a call, one inside a stream.

use http::StatusCode;
use serde::Serialize;
use tonic::{Code, Status};

/// HTTP's status for gRPC's.
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a call is refused with.
pub fn of_call(status: &Status) -> String {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a str,
        message: &'a str,
        code: i32,
    }
    let text = status.message();
    json(&Refusal { error: text, message: text, code: status.code() as i32 })
}

/// What a stream ends with.
pub fn in_stream(status: &Status) -> String {
    #[derive(Serialize)]
    struct Last<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        grpc_code: i32,
        http_code: u16,
        message: &'a str,
        http_status: &'a str,
    }
    let http = http_status(status.code());
    json(&Last {
        error: Error {
            grpc_code: status.code() as i32,
            http_code: http.as_u16(),
            message: status.message(),
            http_status: http.canonical_reason().unwrap_or_default(),
        },
    })
}

fn json(value: &impl Serialize) -> String {
    // Text and numbers under fixed names: this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_etcds() {
        let text = "etcdserver: key is not provided";
        assert_eq!(
            of_call(&Status::invalid_argument(text)),
            format!(r#"{{"error":"{text}","message":"{text}","code":3}}"#)
        );
        let text = "etcdserver: no leader";
        let numbers = r#""grpc_code":14,"http_code":503"#;
        let http = r#""http_status":"Service Unavailable""#;
        assert_eq!(
            in_stream(&Status::unavailable(text)),
            format!(r#"{{"error":{{{numbers},"message":"{text}",{http}}}}}"#)
        );
    }

    #[test]
    fn each_code_has_its_status() {
        let statuses =
            [200, 408, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, expected) in statuses.into_iter().enumerate() {
            assert_eq!(http_status(Code::from(code as i32)).as_u16(), expected, "code {code}");
        }
    }
}
