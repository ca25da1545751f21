//! How an event becomes a line.

use std::fmt;
use std::time::Instant;

use serde::Serializer;
use serde::ser::SerializeMap;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Standing;
use super::limit::Limit;
use crate::config::LogFormat;

/// See the [module above](super).
#[derive(Debug)]
pub struct Lines {
    format: LogFormat,
    standing: Standing,
    limit: Limit,
}

impl Lines {
    /// Lines of a program that stands there.
    pub fn new(format: LogFormat, standing: Standing) -> Lines {
        Lines { format, standing, limit: Limit::default() }
    }

    /// What is added to what `event` says itself.
    fn added(&self, event: &Event<'_>, held_back: u64) -> Vec<(&'static str, u64)> {
        let held_back = Some(("held_back", held_back)).filter(|(_, count)| *count > 0);
        let fields = event.metadata().fields();
        let added = self.standing.fields().chain(held_back);
        added.filter(|(name, _)| fields.field(name).is_none()).collect()
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let place = event.metadata();
        let mut held_back = 0;
        if self.standing.is_of_a_node() && *place.level() <= Level::INFO {
            match self.limit.speak(place.callsite(), Instant::now()) {
                Some(count) => held_back = count,
                // An empty line, without its end, is no line.
                None => return Ok(()),
            }
        }
        let added = self.added(event, held_back);
        if self.format == LogFormat::Json {
            let line = json(event, &added).map_err(|_| fmt::Error)?;
            return writeln!(writer, "{line}");
        }
        SystemTime.format_time(&mut writer)?;
        write_level(&mut writer, *place.level())?;
        context.format_fields(writer.by_ref(), event)?;
        added.iter().try_for_each(|(name, value)| write!(writer, " {name}={value}"))?;
        writeln!(writer)
    }
}

fn write_level(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    use anstyle::{AnsiColor, Style};
    if !writer.has_ansi_escapes() {
        return write!(writer, " {level:>5} ");
    }
    let colour = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG => AnsiColor::Blue,
        Level::TRACE => AnsiColor::Magenta,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    write!(writer, " {style}{level:>5}{style:#} ")
}

/// `{"timestamp":…,"level":…,"message":…,…}`.
fn json(event: &Event<'_>, added: &[(&'static str, u64)]) -> Result<String, serde_json::Error> {
    let place = event.metadata();
    let mut timestamp = String::new();
    // It fails only where a time before the calendar's would, too.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &timestamp)?;
    map.serialize_entry("level", place.level().as_str())?;
    let mut fields = Fields { map: &mut map, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    added.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
    map.serialize_entry("target", place.target())?;
    map.end()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes an event's fields into a JSON object.
struct Fields<'m, M: SerializeMap> {
    map: &'m mut M,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn entry(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.result.is_ok() {
            self.result = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<'_, M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.entry(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // Nodes, terms and indexes are types of their own, and numbers all the same.
        match text.parse::<u64>() {
            Ok(number) if field.name() != "message" => self.entry(field, &number),
            _ => self.entry(field, &text),
        }
    }
}
