//! The moments that a person names.

use std::str::FromStr;
use std::time::Duration;

use crate::cli::units::{parse_duration, unix_days};

const DAY: u64 = 86_400_000_000_000;

/// A moment of a record, which may depend on when the record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds of Unix time.
    At(u64),
    /// Nanoseconds since midnight, on the last day on which that is no later than the end.
    TimeOfDay(u64),
    /// So long before the end.
    BeforeEnd(Duration),
}

impl Moment {
    /// In nanoseconds of Unix time; `end` is when the record ends.
    pub fn before(self, end: u64) -> u64 {
        match self {
            Moment::At(unix) => unix,
            Moment::BeforeEnd(time) => end.saturating_sub(time.as_nanos() as u64),
            Moment::TimeOfDay(time) => {
                let today = (end - end % DAY).saturating_add(time);
                if today <= end { today } else { today.saturating_sub(DAY) }
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let wrong = || {
            format!(
                "`{text}` is no moment: write `17:03:12.5`, `2026-11-23T23:31:08.123Z` (UTC) or \
                 `-10s`"
            )
        };
        if let Some(time) = text.strip_prefix('-') {
            return Ok(Moment::BeforeEnd(parse_duration(time)?));
        }
        let utc = text.strip_suffix('Z').unwrap_or(text);
        match utc.split_once('T') {
            None => time_of_day(utc).map(Moment::TimeOfDay).ok_or_else(wrong),
            Some((date, time)) => {
                let days = date_of(date).ok_or_else(wrong)?;
                let time = time_of_day(time).ok_or_else(wrong)?;
                days.checked_mul(DAY).map(|midnight| Moment::At(midnight + time)).ok_or_else(wrong)
            }
        }
    }
}

/// `2026-11-23`, in days since 1970.
fn date_of(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_date = (1970..2500).contains(&year) && (1..=12).contains(&month);
    (is_date && (1..=31).contains(&day)).then(|| unix_days(year, month, day))
}

/// `17:03`, `17:03:12` or `17:03:12.5`, in nanoseconds.
fn time_of_day(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds = match parts.next() {
        Some(text) => parse_duration(&format!("{text}s")).ok()?,
        None => Duration::ZERO,
    };
    let is_time = hour < 24 && minute < 60 && seconds < Duration::from_secs(61);
    is_time.then(|| (hour * 3_600 + minute * 60) * 1_000_000_000 + seconds.as_nanos() as u64)
}

/// What is told, in nanoseconds of Unix time; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: u64,
    pub to: u64,
}

impl Window {
    /// Everything.
    pub const ALL: Window = Window { from: 0, to: u64::MAX };

    /// `width` on both sides of a moment.
    pub fn around(at: u64, width: Duration) -> Window {
        let width = width.as_nanos() as u64;
        Window { from: at.saturating_sub(width), to: at.saturating_add(width) }
    }

    pub fn contains(&self, unix: u64) -> bool {
        (self.from..=self.to).contains(&unix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_as_people_tell_it() {
        // 2026-11-23T23:31:08.123Z
        let end = 1_795_476_668_123_000_000;
        let millis = |text: &str| text.parse::<Moment>().unwrap().before(end) / 1_000_000;
        assert_eq!(millis("2026-11-23T23:31:08.123Z"), 1_795_476_668_123);
        assert_eq!(millis("23:31:08.123"), 1_795_476_668_123);
        assert_eq!(millis("23:31"), 1_795_476_660_000);
        // It is not that late yet: yesterday, then.
        assert_eq!(millis("23:31:09"), 1_795_476_669_000 - 86_400_000);
        assert_eq!(millis("-8.123s"), 1_795_476_660_000);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "now", "25:00", "12:60", "12", "12:00:61.5", "2026-13-01T00:00", "-", "-x"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        assert!("9999999-01-01T00:00Z".parse::<Moment>().is_err());
    }
}
