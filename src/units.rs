//! Times, sizes and shares as people write and read them: on the command line and in scenarios.

use std::time::Duration;

/// Reads a time: `500ms`, `10s`, `1.5s`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write `500ms`, `10s`, `2m` or `1h`");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" => number / 1_000_000.0,
        "ms" => number / 1_000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(366 * 86_400))
        .ok_or_else(wrong)
}

/// Reads a time above zero.
pub fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() {
        return Err("it must be more than nothing".to_owned());
    }
    Ok(time)
}

/// Reads how far a clock jumps, in milliseconds; back, if negative.
pub fn parse_jump(text: &str) -> Result<i64, String> {
    let (back, time) = match text.strip_prefix('-') {
        Some(time) => (true, time),
        None => (false, text),
    };
    let millis = parse_positive_duration(time)?.as_millis().max(1);
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Ok(if back { -millis } else { millis })
}

/// Reads a size: `256`, `4KiB`, `1MiB`, `10kB`.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is no size: write `256`, `4KiB`, `1MiB` or `1GiB`");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: usize = number.trim().parse().map_err(|_| wrong())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a share: `5%` or `0.05`.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share: write `5%` or `0.05`, from 0 to 1");
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text.parse().map_err(|_| wrong())?,
    };
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// A time in two or three digits: `740µs`, `2.13ms`, `1.5s`, `3m20s`, `2h5m`, `4d3h`.
pub fn short_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match time.as_micros() {
        0 => "0s".to_owned(),
        micros @ 1..1_000 => format!("{micros}µs"),
        micros @ 1_000..1_000_000 => {
            let millis = micros as f64 / 1_000.0;
            if millis < 10.0 { format!("{millis:.2}ms") } else { format!("{millis:.1}ms") }
        }
        _ if seconds < 10 => format!("{:.1}s", time.as_secs_f64()),
        _ if seconds < 60 => format!("{seconds}s"),
        _ if seconds < 3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A size in three digits: `999 B`, `12.3 KiB`, `64.0 MiB`.
pub fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while size >= 1_024.0 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A moment of Unix time as `2026-11-23T23:31:08.123Z`.
pub fn timestamp(unix: u64) -> String {
    let (seconds, millis) = (unix / 1_000, unix % 1_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date that lies `days` after 1970-01-01 (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The days from 1970-01-01 to a date, the other way round.
pub fn unix_days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_or_not_at_all() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("1.5s", 1_500), ("2m", 120_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for text in ["", "10", "s", "-1s", "1 day", "1e99s", "infs", "NaNs", "10ss", "9999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_positive_duration("0ms").is_err());
    }

    #[test]
    fn sizes_are_read_in_both_systems() {
        for (text, bytes) in [("256", 256), ("4KiB", 4_096), ("4k", 4_096), ("10kB", 10_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "1.5k", "k", "12 parsecs", "99999999999999999999M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_sizes_are_short_for_people() {
        let short = |micros| short_duration(Duration::from_micros(micros));
        assert_eq!(short(740), "740µs");
        assert_eq!(short(2_130), "2.13ms");
        assert_eq!(short(1_500_000), "1.5s");
        assert_eq!(short(200_000_000), "3m20s");
        assert_eq!(short(7_500_000_000), "2h5m");
        assert_eq!(short(356_400_000_000), "4d3h");
        assert_eq!(short_size(999), "999 B");
        assert_eq!(short_size(12_595), "12.3 KiB");
        assert_eq!(short_size(64 << 20), "64.0 MiB");
    }

    #[test]
    fn moments_are_dates_of_the_calendar() {
        for days in 0..200_000 {
            let (year, month, day) = civil(days);
            assert_eq!(unix_days(year, month, day), days);
        }
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_795_476_668_123), "2026-11-23T23:31:08.123Z");
    }
}
