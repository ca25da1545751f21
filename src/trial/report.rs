//! The report.
use super::{Judgement, Record, Statistics};
pub fn html(_: &Record, _: &Judgement, _: &Statistics) -> String {
    String::new()
}
