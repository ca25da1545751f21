//! What a request's path through programs is known by: the W3C's trace context.

use std::fmt;
use std::str::FromStr;

use super::{NodeId, Random, Ticket};

/// A part of a path, as whoever goes on with it is told: the header `traceparent` of "Trace
/// Context" (W3C Recommendation, §3.2), `00-` trace `-` span `-` flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole path. Not zero.
    pub trace: u128,
    /// The part. Not zero.
    pub span: u64,
    /// Whether anybody wants to see it.
    pub sampled: bool,
}

impl TraceContext {
    /// The part that `node` has in what this one asked for, and which it calls `ticket`. Worked out
    /// and not drawn, so that whoever knows the three knows the name, and a core that is told all
    /// its randomness needs none for it.
    pub fn part_of(self, node: NodeId, ticket: Ticket) -> TraceContext {
        self.child(node.0.rotate_left(48) ^ ticket.0)
    }

    /// The part of this one that is known by `name`.
    pub fn child(self, name: u64) -> TraceContext {
        let mut random = Random::from_seed(self.span ^ name.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        TraceContext { span: random.bits().max(1), ..self }
    }
}

impl FromStr for TraceContext {
    type Err = String;

    fn from_str(text: &str) -> Result<TraceContext, String> {
        let wrong = || format!("`{text}` is no traceparent, such as 00-(32 digits)-(16 digits)-01");
        let is_hex =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            parts.next().filter(|part| part.len() == digits && is_hex(part)).ok_or_else(wrong)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Later versions may say more after these; this one may not, and none is called ff.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(wrong());
        }
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| wrong());
        let trace = u128::from_str_radix(trace, 16).map_err(|_| wrong())?;
        let (span, flags) = (number(span)?, number(flags)?);
        if trace == 0 || span == 0 {
            return Err(wrong());
        }
        Ok(TraceContext { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_read_and_written_as_the_recommendation_says() {
        let context: TraceContext = TEXT.parse().unwrap();
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        assert_eq!(context.to_string(), TEXT);
        let later = TEXT.replacen("00", "cc", 1) + "-more";
        assert_eq!(later.parse::<TraceContext>().unwrap(), context);
        let zero = "0".repeat(32);
        for wrong in [
            "",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &TEXT.replacen("00", "ff", 1),
            &TEXT.to_uppercase(),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zero),
            &TEXT.replace("00f067aa0ba902b7", "0000000000000000"),
            &TEXT.replace("4b", "+b"),
        ] {
            assert!(wrong.parse::<TraceContext>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_differ_by_node_and_ticket_and_are_always_the_same() {
        let context: TraceContext = TEXT.parse().unwrap();
        let part = context.part_of(NodeId(1), Ticket(2));
        assert_eq!(part, context.part_of(NodeId(1), Ticket(2)));
        assert_eq!((part.trace, part.sampled), (context.trace, true));
        let others = [context.part_of(NodeId(2), Ticket(1)), context.part_of(NodeId(1), Ticket(3))];
        assert!(!others.contains(&part) && part != context);
    }
}
