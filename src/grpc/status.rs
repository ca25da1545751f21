//! etcd's errors: the code and the exact text, since clients match on both.
//!
//! The list stands in `schema/etcd/README.md`.

use tonic::{Code, Status};

use crate::kv::{Invalid, Refusal};
use crate::replica::{MemberRefusal, Refused, Response};

pub fn empty_key() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: key is not provided")
}

pub fn key_not_found() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: key not found")
}

pub fn value_provided() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: value is provided")
}

pub fn lease_provided() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: lease is provided")
}

pub fn too_many_operations() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: too many operations in txn request")
}

pub fn duplicate_key() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: duplicate key given in txn request")
}

pub fn invalid_sort_option() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: invalid sort option")
}

pub fn request_too_large() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: request is too large")
}

pub fn message_too_large(bytes: usize, most: usize) -> Status {
    let text = format!("grpc: received message larger than max ({bytes} vs. {most})");
    Status::new(Code::ResourceExhausted, text)
}

pub fn compacted() -> Status {
    Status::new(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
}

pub fn future_revision() -> Status {
    Status::new(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
}

pub fn lease_not_found() -> Status {
    Status::new(Code::NotFound, "etcdserver: requested lease not found")
}

pub fn lease_exists() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: lease already exists")
}

pub fn too_large_ttl() -> Status {
    Status::new(Code::OutOfRange, "etcdserver: too large lease TTL")
}

/// Some node is still of an older program.
pub fn not_capable() -> Status {
    Status::new(Code::Unavailable, "etcdserver: not capable")
}

pub fn no_leader() -> Status {
    Status::new(Code::Unavailable, "etcdserver: no leader")
}

pub fn not_at_learner() -> Status {
    Status::new(Code::Unavailable, "etcdserver: rpc not supported for learner")
}

pub fn not_leader() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: not leader")
}

pub fn bad_transferee() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: bad leader transferee")
}

pub fn invalid_member_urls() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: given member URLs are invalid")
}

pub fn no_space() -> Status {
    Status::new(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
}

pub fn corrupt() -> Status {
    Status::new(Code::DataLoss, "etcdserver: corrupt cluster")
}

pub fn timed_out() -> Status {
    Status::new(Code::Unavailable, "etcdserver: request timed out")
}

pub fn stopped() -> Status {
    Status::new(Code::Unavailable, "etcdserver: server stopped")
}

pub fn too_many_requests() -> Status {
    Status::new(Code::Unknown, "etcdserver: too many requests")
}

pub fn unknown_method(service: &str, method: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown method {method} for service {service}"))
}

pub fn unknown_service(service: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown service {service}"))
}

/// Why a replica did not do what it was asked for.
pub fn of_response(response: &Response) -> Status {
    let why = match response {
        Response::Refused { why, message } => match why {
            Refused::NoLeader { .. } | Refused::Repairing => return no_leader(),
            Refused::Busy { .. } => return too_many_requests(),
            Refused::NoSpace => return no_space(),
            Refused::TimedOut => return timed_out(),
            Refused::Stopping => return stopped(),
            Refused::Disagreement => return corrupt(),
            Refused::Invalid => (Code::InvalidArgument, format!("etcdserver: {message}")),
        },
        // It may have taken effect, and etcd's clients know this text to say so.
        Response::Unknown(_) => return timed_out(),
        Response::Written(_) | Response::Answer(_) | Response::Member(_) => {
            (Code::Internal, "etcdserver: an answer of another kind".to_owned())
        }
    };
    Status::new(why.0, why.1)
}

/// Why a change of membership is refused.
pub fn of_member_refusal(refusal: MemberRefusal) -> Status {
    use Code::{FailedPrecondition, NotFound, Unavailable, Unknown};
    let (code, text) = match refusal {
        MemberRefusal::NotEnoughStarted => {
            (Unknown, "etcdserver: re-configuration failed due to not enough started members")
        }
        MemberRefusal::Unhealthy => (Unavailable, "etcdserver: unhealthy cluster"),
        MemberRefusal::AddressExists => {
            (FailedPrecondition, "etcdserver: Peer URLs already exists")
        }
        MemberRefusal::NotFound => (NotFound, "etcdserver: member not found"),
        MemberRefusal::NotLearner => {
            (FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        MemberRefusal::NotCaughtUp => (
            FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        MemberRefusal::TooManyLearners => {
            (FailedPrecondition, "etcdserver: too many learner members in cluster")
        }
        MemberRefusal::TooManyMembers => {
            (FailedPrecondition, "etcdserver: too many members in cluster")
        }
    };
    Status::new(code, text)
}

/// Why a request makes no sense.
pub fn of_invalid(invalid: &Invalid) -> Status {
    match invalid {
        Invalid::EmptyKey => empty_key(),
        Invalid::TooLarge { .. } => request_too_large(),
        Invalid::DuplicateKey => duplicate_key(),
        Invalid::TooManyOps => too_many_operations(),
        Invalid::ValueProvided => value_provided(),
        Invalid::LeaseProvided => lease_provided(),
        Invalid::ZeroLease => lease_not_found(),
        Invalid::LeaseTtl { .. } => too_large_ttl(),
        other => Status::new(Code::InvalidArgument, format!("etcdserver: {other}")),
    }
}

/// Why a command that is in the log was not applied, or a query has no answer.
pub fn of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Compacted => compacted(),
        Refusal::FutureRevision => future_revision(),
        Refusal::KeyNotFound => key_not_found(),
        Refusal::LeaseNotFound => lease_not_found(),
        Refusal::LeaseExists => lease_exists(),
        Refusal::UnknownVersion => not_capable(),
        Refusal::NoSpace => no_space(),
        Refusal::Corrupt => corrupt(),
        other => Status::new(Code::InvalidArgument, format!("etcdserver: {other}")),
    }
}
