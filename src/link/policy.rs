//! Which faults a link has, as a value: written in a scenario's file, handed from the supervisor to
//! a node, shown by `chaos status`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest delay, jitter or hold.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The faults of one directed link. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Nothing gets through.
    pub cut: bool,
    /// Nothing gets through, and nothing is lost: it comes when this is over, as far as there is
    /// room for it to wait.
    pub stall: bool,
    /// The probability that a message is lost.
    pub loss: f64,
    /// How many messages in a row are lost, on average; 0 or 1: each for itself.
    pub loss_burst: f64,
    /// The probability that a message arrives twice.
    pub duplicate: f64,
    /// Bytes per second that get through; without it, any number.
    #[serde(rename = "rate_bytes_per_second", skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// How long a message is on its way. To the microsecond, as all durations here.
    #[serde(rename = "delay_millis", with = "millis")]
    pub delay: Duration,
    /// How much the delay varies; what that means is said by `distribution`.
    #[serde(rename = "jitter_millis", with = "millis")]
    pub jitter: Duration,
    pub distribution: Distribution,
    /// The probability that a message is held back so that later ones overtake it…
    pub reorder: f64,
    /// …and for how long.
    #[serde(rename = "reorder_hold_millis", with = "millis")]
    pub reorder_hold: Duration,
}

/// How delays spread about their middle. None of them lets a message arrive before it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Anywhere in delay ± jitter, all alike.
    #[default]
    Uniform,
    /// A bell: two thirds within delay ± jitter, hardly any beyond three times that.
    Normal,
    /// Never less than the delay; half of the messages take up to one jitter more, and each further
    /// doubling of that is half as likely, up to 127 jitters. What busy networks look like.
    LongTail,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        match text {
            "uniform" => Ok(Distribution::Uniform),
            "normal" => Ok(Distribution::Normal),
            "long-tail" => Ok(Distribution::LongTail),
            _ => Err("write uniform, normal or long-tail".to_owned()),
        }
    }
}

/// A policy that cannot be put in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPolicy {
    #[error("{field} is a probability, from 0 (never) to 1 (always), and cannot be {value}")]
    Probability { field: &'static str, value: f64 },
    #[error("{field} of {value:?} is too long: at most {MAX_DELAY:?}")]
    TooLong { field: &'static str, value: Duration },
    #[error("a rate of 0 bytes per second lets nothing through: say cut instead")]
    ZeroRate,
    #[error(
        "reorder needs reorder_hold: how long a message is held back for others to overtake it"
    )]
    NoHold,
    #[error("loss_burst is a number of messages, from 1 to {MAX_BURST}, and cannot be {0}")]
    Burst(f64),
}

/// The longest burst of losses, on average.
pub const MAX_BURST: f64 = 1e6;

impl Policy {
    /// The policy that lets nothing through.
    pub fn cut() -> Policy {
        Policy { cut: true, ..Policy::default() }
    }

    /// Whether nothing is wrong with the link.
    pub fn is_empty(&self) -> bool {
        !self.cut
            && !self.stall
            && self.loss == 0.0
            && self.duplicate == 0.0
            && self.rate.is_none()
            && self.delay.is_zero()
            && self.jitter.is_zero()
            && self.reorder == 0.0
    }

    /// Whether the policy makes sense.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        let probabilities =
            [("loss", self.loss), ("duplicate", self.duplicate), ("reorder", self.reorder)];
        for (field, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(InvalidPolicy::Probability { field, value });
            }
        }
        let durations =
            [("delay", self.delay), ("jitter", self.jitter), ("reorder_hold", self.reorder_hold)];
        for (field, value) in durations {
            if value > MAX_DELAY {
                return Err(InvalidPolicy::TooLong { field, value });
            }
        }
        if !(0.0..=MAX_BURST).contains(&self.loss_burst) {
            return Err(InvalidPolicy::Burst(self.loss_burst));
        }
        if self.rate == Some(0) {
            return Err(InvalidPolicy::ZeroRate);
        }
        if self.reorder > 0.0 && self.reorder_hold.is_zero() {
            return Err(InvalidPolicy::NoHold);
        }
        Ok(())
    }
}

impl Policy {
    /// What two faults of the same link come to together.
    pub fn and(self, other: &Policy) -> Policy {
        let either = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        let varies = |policy: &Policy| !policy.jitter.is_zero();
        let distribution = if varies(other) { other.distribution } else { self.distribution };
        Policy {
            cut: self.cut || other.cut,
            stall: self.stall || other.stall,
            loss: either(self.loss, other.loss),
            loss_burst: self.loss_burst.max(other.loss_burst),
            duplicate: either(self.duplicate, other.duplicate),
            rate: [self.rate, other.rate].into_iter().flatten().min(),
            delay: (self.delay + other.delay).min(MAX_DELAY),
            jitter: (self.jitter + other.jitter).min(MAX_DELAY),
            distribution,
            reorder: either(self.reorder, other.reorder),
            reorder_hold: self.reorder_hold.max(other.reorder_hold),
        }
    }
}

/// As in `delay 100ms ± 20ms, loss 5%`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |what: &str, share: f64| {
            (share > 0.0).then(|| format!("{what} {}%", (share * 1e8).round() / 1e6))
        };
        let spread = match (self.jitter.is_zero(), self.distribution) {
            (true, _) => String::new(),
            (false, Distribution::Uniform) => format!(" ± {:?}", self.jitter),
            (false, Distribution::Normal) => format!(" ± {:?} (normal)", self.jitter),
            (false, Distribution::LongTail) => format!(" + {:?} (long tail)", self.jitter),
        };
        let slow = !self.delay.is_zero() || !self.jitter.is_zero();
        let bursts = if self.loss_burst > 1.0 {
            format!(" in bursts of {}", self.loss_burst)
        } else {
            String::new()
        };
        let parts = [
            self.cut.then(|| "cut".to_owned()),
            self.stall.then(|| "stall".to_owned()),
            slow.then(|| format!("delay {:?}{spread}", self.delay)),
            share("loss", self.loss).map(|loss| loss + &bursts),
            share("duplicate", self.duplicate),
            share("reorder", self.reorder).map(|it| format!("{it} by {:?}", self.reorder_hold)),
            self.rate.map(|rate| format!("rate {rate} B/s")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "no fault" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Durations as milliseconds, with a fraction where there is one.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let micros = duration.as_micros() as u64;
        match micros % 1000 {
            0 => to.serialize_u64(micros / 1000),
            _ => to.serialize_f64(micros as f64 / 1000.0),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(from)?;
        let micros = (millis * 1000.0).round();
        // What is longer than this has no place in a policy, and is refused there by name.
        const MOST: f64 = 1e18;
        if !(0.0..MOST).contains(&micros) {
            let why = format!("{millis} is not a number of milliseconds; write one from 0 upwards");
            return Err(D::Error::custom(why));
        }
        Ok(Duration::from_micros(micros as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_text_and_may_leave_out_what_is_not_wrong() {
        let policy: Policy = toml::from_str(
            "loss = 0.25\ndelay_millis = 100\njitter_millis = 0.5\ndistribution = 'long-tail'",
        )
        .unwrap();
        let wanted = Policy {
            loss: 0.25,
            delay: Duration::from_millis(100),
            jitter: Duration::from_micros(500),
            distribution: Distribution::LongTail,
            ..Policy::default()
        };
        assert_eq!(policy, wanted);
        let toml = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&toml).unwrap(), policy);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }

    #[test]
    fn a_wrong_text_says_what_is_wrong() {
        let error = |text| toml::from_str::<Policy>(text).unwrap_err().to_string();
        assert!(error("los = 0.1").contains("unknown field `los`"));
        assert!(error("delay_millis = -1").contains("-1 is not a number of milliseconds"));
        assert!(error("delay_millis = nan").contains("NaN is not a number of milliseconds"));
        assert!(error("distribution = 'bell'").contains("unknown variant `bell`"));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_by_name() {
        let error = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.validate().unwrap_err().to_string()
        };
        assert!(error(|policy| policy.loss = 1.5).starts_with("loss is a probability"));
        assert!(error(|policy| policy.duplicate = f64::NAN).starts_with("duplicate is a prob"));
        assert!(error(|policy| policy.reorder = -0.1).starts_with("reorder is a probability"));
        assert!(error(|policy| policy.rate = Some(0)).contains("say cut instead"));
        assert!(error(|policy| policy.reorder = 0.1).contains("needs reorder_hold"));
        assert!(error(|policy| policy.loss_burst = -2.0).contains("cannot be -2"));
        let long = error(|policy| policy.jitter = MAX_DELAY + Duration::from_secs(1));
        assert_eq!(long, "jitter of 3601s is too long: at most 3600s");
    }

    #[test]
    fn a_policy_is_told_in_few_words() {
        let policy: Policy = toml::from_str(
            "loss = 0.05\nloss_burst = 4\ndelay_millis = 100\njitter_millis = 20\n\
             duplicate = 0.001\nrate_bytes_per_second = 5000",
        )
        .unwrap();
        let told = "delay 100ms ± 20ms, loss 5% in bursts of 4, duplicate 0.1%, rate 5000 B/s";
        assert_eq!(policy.to_string(), told);
        assert_eq!(Policy::cut().to_string(), "cut");
        assert_eq!(Policy::default().to_string(), "no fault");
    }

    #[test]
    fn only_the_policy_without_a_fault_is_empty() {
        assert!(Policy::default().is_empty());
        let hour = Policy { reorder_hold: MAX_DELAY, ..Policy::default() };
        assert!(hour.is_empty(), "a hold alone holds nothing");
        let faults: [fn(&mut Policy); 8] = [
            |policy| policy.cut = true,
            |policy| policy.stall = true,
            |policy| policy.loss = 0.1,
            |policy| policy.duplicate = 0.1,
            |policy| policy.rate = Some(1),
            |policy| policy.delay = Duration::from_micros(1),
            |policy| policy.jitter = Duration::from_micros(1),
            |policy| policy.reorder = 0.1,
        ];
        for (position, fault) in faults.into_iter().enumerate() {
            let mut policy = Policy::default();
            fault(&mut policy);
            assert!(!policy.is_empty(), "fault {position}");
        }
    }
}
