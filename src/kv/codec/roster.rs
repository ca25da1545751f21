//! Alarms and announcements, as bytes.

use super::{Failure, struct_words, words};
use crate::kv::{Alarm, AlarmKind, AlarmOrder, Announcement};
use crate::schema::kv_capnp as schema;
use crate::types::NodeId;

use capnp::{data, data_list};

pub(super) fn encode_order(order: AlarmOrder, mut into: schema::alarm_order::Builder<'_>) {
    into.set_is_on(order.is_on);
    encode_alarm(Some(order.alarm), into.init_alarm());
}

pub(super) fn decode_order(from: schema::alarm_order::Reader<'_>) -> Result<AlarmOrder, Failure> {
    let alarm = decode_alarm(from.get_alarm()?)?;
    let alarm = alarm.ok_or_else(|| Failure::Why("an alarm of no kind".into()))?;
    Ok(AlarmOrder { alarm, is_on: from.get_is_on() })
}

/// An alarm, or none.
pub(super) fn encode_alarm(alarm: Option<Alarm>, mut into: schema::alarm::Builder<'_>) {
    let Some(Alarm { member, kind }) = alarm else { return };
    into.set_member(member.0);
    into.set_kind(match kind {
        AlarmKind::NoSpace => schema::alarm::Kind::NoSpace,
        AlarmKind::Corrupt => schema::alarm::Kind::Corrupt,
    });
}

pub(super) fn decode_alarm(from: schema::alarm::Reader<'_>) -> Result<Option<Alarm>, Failure> {
    let kind = match from.get_kind()? {
        schema::alarm::Kind::None if from.get_member() != 0 => {
            return Err(Failure::Why("a member of no alarm".into()));
        }
        schema::alarm::Kind::None => return Ok(None),
        schema::alarm::Kind::NoSpace => AlarmKind::NoSpace,
        schema::alarm::Kind::Corrupt => AlarmKind::Corrupt,
    };
    Ok(Some(Alarm { member: NodeId(from.get_member()), kind }))
}

/// Words of an announcement and of what its pointers lead to.
pub(super) fn announcement_words(announcement: &Announcement) -> usize {
    let urls = &announcement.client_urls;
    struct_words::<schema::announcement::Builder<'_>>()
        + words(announcement.name.as_bytes())
        + urls.iter().map(|url| 1 + words(url.as_bytes())).sum::<usize>()
}

pub(super) fn encode_announcement(
    announcement: &Announcement,
    mut into: schema::announcement::Builder<'_>,
) {
    into.set_node(announcement.node.0);
    into.set_name(announcement.name.as_bytes());
    let mut list: data_list::Builder<'_> =
        into.init_client_urls(announcement.client_urls.len() as u32);
    for (position, url) in announcement.client_urls.iter().enumerate() {
        list.set(position as u32, url.as_bytes());
    }
}

pub(super) fn decode_announcement(
    from: schema::announcement::Reader<'_>,
) -> Result<Announcement, Failure> {
    let urls = from.get_client_urls()?.iter().map(|url| text(url?));
    Ok(Announcement {
        node: NodeId(from.get_node()),
        name: text(from.get_name()?)?,
        client_urls: urls.collect::<Result<_, _>>()?,
    })
}

fn text(bytes: data::Reader<'_>) -> Result<String, Failure> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Failure::Why("a text that is not UTF-8".into()))
}
