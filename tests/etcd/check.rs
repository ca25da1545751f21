//! etcdctl's own measurement, of either. It takes a minute and little work. Tests begin in the
//! order of their names: this one is among the first, and goes on beside the others. So what it
//! finds says nothing: that it came to a verdict does.

use crate::etcdctl::both;

#[test]
fn performance_is_checked() {
    let (_etcd, _home, both) = both(1);
    let ends = both.each_ends(&["check", "perf", "--load=s"]);
    assert!(ends.iter().all(|end| end.contains(": Throughput ")), "{ends:?}");
}
