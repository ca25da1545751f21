//! All metrics of one process, and their rendering as text.
//!
//! A thin cover over the `prometheus` crate, for three reasons: names are checked against the
//! rules that the whole project keeps (so that dashboards can rely on them), the process's own
//! figures are always there, and a mistake in a metric is an error at start-up and no panic later.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder,
};

use super::process::Figures;
use super::{COMMIT, Table, VERSION};

/// Upper bounds in seconds for anything that lasts: 50 µs (a fast disk's fsync) to 13 s, each
/// twice the last.
pub const LATENCY_BUCKETS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_8, 0.025_6,
    0.051_2, 0.102_4, 0.204_8, 0.409_6, 0.819_2, 1.638_4, 3.276_8, 6.553_6, 13.107_2,
];

/// Prefixes that a name may begin with: ours, the process's, and etcd's own names, under which
/// equivalents are served so that etcd's dashboards work.
const PREFIXES: [&str; 9] = [
    "kvraft_",
    "process_",
    "etcd_server_",
    "etcd_disk_",
    "etcd_network_",
    "etcd_mvcc_",
    "etcd_cluster_",
    "grpc_server_",
    ETCDS_OWN_RULES,
];

/// Under this one, etcd has gauges that end in `_total`.
const ETCDS_OWN_RULES: &str = "etcd_debugging_";

/// A metric that cannot be: a mistake in the program.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    #[error("metric `{name}`: {why}")]
    BadName { name: String, why: &'static str },
    #[error("metric `{name}` cannot be registered: {source}")]
    Refused { name: String, source: prometheus::Error },
    #[error("metric `{name}` is there already")]
    Twice { name: String },
}

/// Every metric of this process.
///
/// The metrics it hands out are cheap to clone and to update from any thread.
pub struct Registry {
    inner: prometheus::Registry,
    tables: Mutex<Vec<Arc<Table>>>,
    process: ProcessMetrics,
}

impl Registry {
    /// A registry that holds the process's figures and `kvraft_build_info`. `program` is the
    /// binary's name.
    pub fn new(program: &str) -> Result<Registry, MetricError> {
        let inner = prometheus::Registry::new();
        let process = ProcessMetrics::new(&inner)?;
        let registry = Registry { inner, tables: Mutex::default(), process };
        registry
            .gauges(
                "kvraft_build_info",
                "Always 1; the labels say what runs.",
                &["program", "version", "commit"],
            )?
            .with_label_values(&[program, VERSION, COMMIT])
            .set(1);
        Ok(registry)
    }

    /// A number that only grows. Its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricError> {
        add(&self.inner, name, Kind::Counter, IntCounter::with_opts(Opts::new(name, help)))
    }

    /// Counters told apart by `labels`.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricError> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels);
        add(&self.inner, name, Kind::Counter, counters)
    }

    /// A growing number with a fraction, such as seconds.
    pub fn float_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, MetricError> {
        add(&self.inner, name, Kind::Counter, CounterVec::new(Opts::new(name, help), labels))
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricError> {
        add(&self.inner, name, Kind::Gauge, IntGauge::with_opts(Opts::new(name, help)))
    }

    /// Gauges told apart by `labels`.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricError> {
        add(&self.inner, name, Kind::Gauge, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge with a fraction.
    pub fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, MetricError> {
        add(&self.inner, name, Kind::Gauge, GaugeVec::new(Opts::new(name, help), labels))
    }

    /// How often a value fell under each of `buckets`; [`LATENCY_BUCKETS`] for durations, whose
    /// names end in `_seconds`.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        add(&self.inner, name, Kind::Histogram, Histogram::with_opts(options))
    }

    /// Histograms told apart by `labels`.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        add(&self.inner, name, Kind::Histogram, HistogramVec::new(options, labels))
    }

    /// Counters told apart by `labels`, of which all the `rows` of labels there will be are known.
    pub fn table<const L: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; L],
        rows: impl IntoIterator<Item = [String; L]>,
    ) -> Result<Arc<Table>, MetricError> {
        if let Some(why) = objection(name, Kind::Counter) {
            return Err(MetricError::BadName { name: name.to_owned(), why });
        }
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |name: &str| self.inner.gather().iter().any(|family| family.name() == name);
        if tables.iter().any(|table| table.name == name) || known(name) {
            return Err(MetricError::Twice { name: name.to_owned() });
        }
        let table = Arc::new(Table::new(name, help, labels, rows));
        tables.push(table.clone());
        Ok(table)
    }

    /// Everything as Prometheus text, the process's figures as of now.
    ///
    /// etcd's gauges that end in `_total` are of no type here: Prometheus' own rules, which
    /// `promtool check metrics` looks after, allow that name to counters and to such alone.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        self.process.refresh();
        let families = self.inner.gather();
        let mut text = TextEncoder::new().encode_to_string(&families)?;
        for family in &families {
            let name = family.name();
            if family.get_field_type() == MetricType::GAUGE && name.ends_with("_total") {
                let is = format!("# TYPE {name} gauge\n");
                text = text.replacen(&is, &format!("# TYPE {name} untyped\n"), 1);
            }
        }
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().for_each(|table| table.write(&mut text));
        Ok(text)
    }
}

/// The content type of [`Registry::render`].
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Checks the name, then registers the metric.
fn add<C: Collector + Clone + 'static>(
    registry: &prometheus::Registry,
    name: &str,
    kind: Kind,
    made: Result<C, prometheus::Error>,
) -> Result<C, MetricError> {
    if let Some(why) = objection(name, kind) {
        return Err(MetricError::BadName { name: name.to_owned(), why });
    }
    made.and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric))
        .map_err(|source| MetricError::Refused { name: name.to_owned(), source })
}

/// What is wrong with a name, by Prometheus' rules and ours.
fn objection(name: &str, kind: Kind) -> Option<&'static str> {
    const NOT_BASE_UNITS: [&str; 8] =
        ["_ms", "_millis", "_micros", "_milliseconds", "_kb", "_mb", "_minutes", "_percent"];
    let bare = name.strip_suffix("_total").unwrap_or(name);
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        Some("a name begins with kvraft_ (or is one of etcd's)")
    } else if (kind == Kind::Counter) != name.ends_with("_total")
        && !name.starts_with(ETCDS_OWN_RULES)
    {
        Some("counters, and only counters, end in _total")
    } else if NOT_BASE_UNITS.iter().any(|unit| bare.ends_with(unit)) {
        Some("use base units: _seconds, _bytes, _ratio")
    } else {
        None
    }
}

/// `process_*`, as Prometheus' own client libraries name them.
struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: Gauge,
    start_time: Gauge,
}

impl ProcessMetrics {
    fn new(registry: &prometheus::Registry) -> Result<ProcessMetrics, MetricError> {
        let gauge = |name, help| {
            add(registry, name, Kind::Gauge, IntGauge::with_opts(Opts::new(name, help)))
        };
        let float =
            |name, help| add(registry, name, Kind::Gauge, Gauge::with_opts(Opts::new(name, help)));
        let cpu = Opts::new("process_cpu_seconds_total", "User and system time used, in seconds.");
        Ok(ProcessMetrics {
            cpu: add(
                registry,
                "process_cpu_seconds_total",
                Kind::Counter,
                Counter::with_opts(cpu),
            )?,
            resident: gauge("process_resident_memory_bytes", "Memory in RAM.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Address space.")?,
            threads: gauge("process_threads", "Threads of the process.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: float("process_max_fds", "How many file descriptors may be open.")?,
            start_time: float("process_start_time_seconds", "Unix time of the start.")?,
        })
    }

    /// Copies the kernel's figures. Where they cannot be read (out of descriptors, say) the last
    /// ones stay: a scrape that shows the rest is worth more than none.
    fn refresh(&self) {
        let figures = match Figures::of_self() {
            Ok(figures) => figures,
            Err(error) => {
                tracing::warn!(%error, "the process's own figures are stale");
                return;
            }
        };
        self.cpu.inc_by((figures.cpu_seconds - self.cpu.get()).max(0.0));
        self.resident.set(as_gauge(figures.resident_bytes));
        self.virtual_memory.set(as_gauge(figures.virtual_bytes));
        self.threads.set(as_gauge(figures.threads));
        self.open_fds.set(as_gauge(figures.open_fds));
        self.max_fds.set(figures.max_fds.map_or(f64::INFINITY, |limit| limit as f64));
        self.start_time.set(figures.start_time_seconds);
    }
}

fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        registry.render().unwrap()
    }

    /// The value on the line that begins with `name` and a space.
    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    #[test]
    fn process_figures_and_the_build_are_always_there() {
        let registry = Registry::new("kvtest").unwrap();
        let text = text(&registry);
        assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&text, "process_open_fds") >= 3.0);
        assert!(value(&text, "process_start_time_seconds") > 1.6e9);
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"));
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
        let version = format!("version=\"{VERSION}\"");
        let build = text.lines().find(|line| line.starts_with("kvraft_build_info{")).unwrap();
        assert!(build.contains("program=\"kvtest\"") && build.contains(&version), "{build}");
    }

    #[test]
    fn a_metric_renders_with_its_labels_and_buckets() {
        let registry = Registry::new("kvtest").unwrap();
        let proposals = registry.counters("kvraft_proposals_total", "p", &["outcome"]).unwrap();
        proposals.with_label_values(&["applied"]).inc_by(3);
        let lag = registry.gauges("kvraft_peer_lag_entries", "l", &["peer"]).unwrap();
        lag.with_label_values(&["2"]).set(7);
        let fsync = registry.histogram("kvraft_fsync_seconds", "f", &LATENCY_BUCKETS).unwrap();
        fsync.observe(0.000_3);
        let text = text(&registry);
        assert_eq!(value(&text, "kvraft_proposals_total{outcome=\"applied\"}"), 3.0);
        assert_eq!(value(&text, "kvraft_peer_lag_entries{peer=\"2\"}"), 7.0);
        assert_eq!(value(&text, "kvraft_fsync_seconds_bucket{le=\"0.0002\"}"), 0.0);
        assert_eq!(value(&text, "kvraft_fsync_seconds_bucket{le=\"0.0004\"}"), 1.0);
    }

    #[test]
    fn names_that_break_the_rules_are_refused_with_the_rule() {
        let registry = Registry::new("kvtest").unwrap();
        let why = |result: Result<_, MetricError>| result.err().unwrap().to_string();
        assert!(why(registry.gauge("node_role", "").map(drop)).contains("kvraft_"));
        assert!(why(registry.counter("kvraft_elections", "").map(drop)).contains("_total"));
        assert!(why(registry.gauge("kvraft_keys_total", "").map(drop)).contains("_total"));
        assert!(why(registry.gauge("kvraft_lag_ms", "").map(drop)).contains("_seconds"));
        let name = "kvraft_wait_millis_total";
        assert!(why(registry.counter(name, "").map(drop)).contains("_seconds"));
        assert!(why(registry.gauge("kvraft_läg", "").map(drop)).contains("cannot be registered"));
        registry.gauge("kvraft_term", "t").unwrap();
        let twice = why(registry.gauge("kvraft_term", "t").map(drop));
        assert!(twice.contains("kvraft_term") && twice.contains("Duplicate"), "{twice}");
    }

    #[test]
    fn a_table_reads_like_counters_and_bears_a_name_once() {
        let registry = Registry::new("kvtest").unwrap();
        let rows = || [("b", "\"\\"), ("a", "x")].map(|it| [it.0.to_owned(), it.1.to_owned()]);
        let table = |name| registry.table(name, "c", ["method", "code"], rows());
        let calls = table("kvraft_calls_total").unwrap();
        calls.set(1, 7);
        calls.set(2, 7);
        let same = registry.counters("kvraft_same_total", "c", &["method", "code"]).unwrap();
        for ([method, code], count) in rows().iter().zip([0, 7]) {
            same.with_label_values(&[method, code]).inc_by(count);
        }
        let text = text(&registry);
        let lines = |name| text.lines().filter(move |line| line.contains(name));
        let renamed = |line: &str| line.replace("kvraft_calls", "kvraft_same");
        let calls: Vec<_> = lines("kvraft_calls_total").map(renamed).collect();
        assert_eq!(calls, lines("kvraft_same_total").collect::<Vec<_>>());
        assert!(table("kvraft_calls_total").is_err() && table("kvraft_same_total").is_err());
        assert!(table("kvraft_calls").unwrap_err().to_string().contains("_total"));
    }

    #[test]
    fn processor_time_never_goes_down() {
        let registry = Registry::new("kvtest").unwrap();
        let first = value(&text(&registry), "process_cpu_seconds_total");
        let second = value(&text(&registry), "process_cpu_seconds_total");
        assert!(second >= first);
    }
}
