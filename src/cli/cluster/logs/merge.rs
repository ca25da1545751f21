//! Lines of many files, in the order of their time, although each file is read at another moment.
//!
//! A line is in its file a moment after the time that it bears. So what one look at all files has
//! found, and all that is older, is complete once the next look has been taken: then it is let go.

use super::line::Line;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Merge {
    waiting: Vec<Line>,
}

impl Merge {
    /// After a look at all files that found `new`: what is complete, in order.
    pub fn looked(&mut self, new: Vec<Line>) -> Vec<Line> {
        let settled = self.waiting.last().map(|line| line.time.clone());
        self.waiting.extend(new);
        // What one file says within the same microsecond stays in its order.
        self.waiting.sort_by(|one, other| one.time.cmp(&other.time));
        let complete =
            settled.map_or(0, |time| self.waiting.partition_point(|line| line.time <= time));
        self.waiting.drain(..complete).collect()
    }

    /// All that waits, for no more looks are taken.
    pub fn rest(self) -> Vec<Line> {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn line(node: u64, second: u32) -> Line {
        let text = format!("2026-11-23T10:00:{second:02}.000000Z  INFO node {node}");
        Line::read(Some(NodeId(node)), &text, &Line::default())
    }

    fn seconds(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| &line.time[17..19]).collect()
    }

    #[test]
    fn what_another_file_said_before_comes_before() {
        let mut merge = Merge::default();
        assert!(merge.looked(vec![line(1, 1), line(1, 4)]).is_empty());
        // The second node's file was read before it said this, and the first one's after.
        let complete = merge.looked(vec![line(2, 3), line(2, 5)]);
        assert_eq!(seconds(&complete), ["01", "03", "04"]);
        assert_eq!(seconds(&merge.looked(Vec::new())), ["05"]);
        assert!(merge.looked(Vec::new()).is_empty());
    }

    #[test]
    fn the_rest_is_in_order_too() {
        let mut merge = Merge::default();
        merge.looked(vec![line(1, 4), line(2, 2)]);
        assert_eq!(seconds(&merge.rest()), ["02", "04"]);
    }
}
