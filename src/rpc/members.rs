//! Changes of membership as clients order them, on the wire.

use super::client::{node, text};
use crate::codec::CodecError;
use crate::config::Address;
use crate::replica::{MemberOrder, MemberRefusal, MemberResult};
use crate::schema::client_capnp as schema;

/// Bytes of an address.
pub const MAX_ADDRESS_BYTES: usize = 1024;

pub fn write_order(order: &MemberOrder, mut to: schema::member_order::Builder<'_>) {
    match order {
        MemberOrder::Add { address, learner } => {
            let mut add = to.init_add();
            add.set_address(address.as_str());
            add.set_learner(*learner);
        }
        MemberOrder::Promote { node } => to.set_promote(node.0),
        MemberOrder::Remove { node } => to.set_remove(node.0),
        MemberOrder::Update { node, address } => {
            let mut update = to.init_update();
            update.set_node(node.0);
            update.set_new_address(address.as_str());
        }
    }
}

pub fn read_order(from: schema::member_order::Reader<'_>) -> Result<MemberOrder, CodecError> {
    use schema::member_order::Which;
    Ok(match from.which()? {
        Which::Add(add) => {
            let learner = add.get_learner();
            MemberOrder::Add { address: address(add.get_address()?)?, learner }
        }
        Which::Promote(id) => MemberOrder::Promote { node: node(id)? },
        Which::Remove(id) => MemberOrder::Remove { node: node(id)? },
        Which::Update(update) => MemberOrder::Update {
            node: node(update.get_node())?,
            address: address(update.get_new_address()?)?,
        },
    })
}

/// It comes to stand in the log, so it must be one.
fn address(from: capnp::text::Reader<'_>) -> Result<String, CodecError> {
    let text = text(from)?;
    if text.len() > MAX_ADDRESS_BYTES {
        return Err(CodecError(format!("an address of {} bytes", text.len())));
    }
    text.parse::<Address>().map_err(|error| CodecError(error.to_string()))?;
    Ok(text)
}

pub fn write_result(result: &MemberResult, mut to: schema::member_result::Builder<'_>) {
    use schema::member_result::Refusal as Coded;
    match result {
        MemberResult::Done { node } => to.set_done(node.0),
        MemberResult::Refused(refusal) => to.set_refused(match refusal {
            MemberRefusal::NotEnoughStarted => Coded::NotEnoughStarted,
            MemberRefusal::Unhealthy => Coded::Unhealthy,
            MemberRefusal::AddressExists => Coded::AddressExists,
            MemberRefusal::NotFound => Coded::NotFound,
            MemberRefusal::NotLearner => Coded::NotLearner,
            MemberRefusal::NotCaughtUp => Coded::NotCaughtUp,
            MemberRefusal::TooManyLearners => Coded::TooManyLearners,
            MemberRefusal::TooManyMembers => Coded::TooManyMembers,
        }),
    }
}

pub fn read_result(from: schema::member_result::Reader<'_>) -> Result<MemberResult, CodecError> {
    use schema::member_result::{Refusal as Coded, Which};
    Ok(match from.which()? {
        Which::Done(id) => MemberResult::Done { node: node(id)? },
        Which::Refused(refusal) => MemberResult::Refused(match refusal? {
            Coded::NotEnoughStarted => MemberRefusal::NotEnoughStarted,
            Coded::Unhealthy => MemberRefusal::Unhealthy,
            Coded::AddressExists => MemberRefusal::AddressExists,
            Coded::NotFound => MemberRefusal::NotFound,
            Coded::NotLearner => MemberRefusal::NotLearner,
            Coded::NotCaughtUp => MemberRefusal::NotCaughtUp,
            Coded::TooManyLearners => MemberRefusal::TooManyLearners,
            Coded::TooManyMembers => MemberRefusal::TooManyMembers,
        }),
    })
}
