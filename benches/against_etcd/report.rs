//! What is printed, and what is written as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvraft::client::load::Report as Measured;
use kvraft::retention::Retention;
use serde_json::{Value, json};

use crate::machine::{Machine, Span};
use crate::{Op, Options};

/// The rounds of one operation with one number of clients.
pub struct Comparison {
    members: usize,
    op: Op,
    clients: usize,
    pub ours: Vec<(Measured, Span)>,
    pub etcd: Vec<(Measured, Span)>,
    /// Of a server that does nothing, where that was asked.
    pub nothing: Vec<(Measured, Span)>,
}

impl Comparison {
    pub fn new(members: usize, op: Op, clients: usize) -> Comparison {
        let (ours, etcd, nothing) = Default::default();
        Comparison { members, op, clients, ours, etcd, nothing }
    }
}

/// Repeated measurements of a duration.
pub struct Times {
    what: &'static str,
    members: usize,
    pub ours: Vec<Duration>,
    pub etcd: Vec<Duration>,
}

impl Times {
    pub fn new(what: &'static str, members: usize) -> Times {
        Times { what, members, ours: Vec::new(), etcd: Vec::new() }
    }
}

/// The middle of `values`, or halfway between the two in the middle; NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
    }
}

/// The figures of one side: the medians of its rounds, errors summed up.
struct Medians {
    per_second: f64,
    slowest: f64,
    fastest: f64,
    p50: f64,
    p99: f64,
    cpu_micros: f64,
    resident_mib: f64,
    steal: f64,
    others: f64,
    errors: u64,
}

impl Medians {
    fn of(rounds: &[(Measured, Span)]) -> Medians {
        let mid = |figure: &dyn Fn(&Measured, &Span) -> f64| {
            median(rounds.iter().map(|(measured, span)| figure(measured, span)))
        };
        let rates = || rounds.iter().map(|(measured, _)| measured.rate());
        Medians {
            per_second: mid(&|m, _| m.rate()),
            slowest: rates().fold(f64::INFINITY, f64::min),
            fastest: rates().fold(0.0, f64::max),
            p50: mid(&|m, _| millis(m, 0.50)),
            p99: mid(&|m, _| millis(m, 0.99)),
            cpu_micros: mid(&cpu_micros),
            resident_mib: mid(&|_, s| s.resident_bytes as f64 / f64::from(1 << 20)),
            steal: mid(&|_, s| s.steal),
            others: mid(&|_, s| s.others),
            errors: rounds.iter().map(|(measured, _)| measured.errors).sum(),
        }
    }

    fn print(&self, name: &str) {
        println!(
            "  {name:<7}{:>9.0}{:>9.3}{:>9.3}{:>11.0}{:>9.0}{:>8}{:>7.1}%{:>7.1}%   {:.0}–{:.0}",
            self.per_second,
            self.p50,
            self.p99,
            self.cpu_micros,
            self.resident_mib,
            self.errors,
            self.steal * 100.0,
            self.others * 100.0,
            self.slowest,
            self.fastest,
        );
    }

    fn json(&self) -> Value {
        json!({
            "operations_per_second": self.per_second, "p50_ms": self.p50, "p99_ms": self.p99,
            "cpu_us_per_operation": self.cpu_micros, "resident_mib": self.resident_mib,
            "steal": self.steal, "others": self.others, "errors": self.errors,
        })
    }
}

fn millis(measured: &Measured, quantile: f64) -> f64 {
    measured.latency_at(quantile).as_secs_f64() * 1e3
}

/// Of all nodes together, for one operation.
fn cpu_micros(measured: &Measured, span: &Span) -> f64 {
    span.cpu_seconds * 1e6 / measured.operations as f64
}

/// Prints as it goes, and keeps all of it.
pub struct Report {
    machine: Machine,
    etcd_version: String,
    options: Options,
    comparisons: Vec<Value>,
    times: Vec<Value>,
    memory: Vec<Value>,
    /// What other parts tell, in their own form.
    pub forgetting: Value,
    pub many_keys: Value,
    pub watchers: Value,
}

impl Report {
    pub fn new(options: &Options, machine: Machine, etcd_version: String) -> Report {
        Report {
            machine,
            etcd_version,
            options: options.clone(),
            comparisons: Vec::new(),
            times: Vec::new(),
            memory: Vec::new(),
            forgetting: Value::Null,
            many_keys: Value::Null,
            watchers: Value::Null,
        }
    }

    pub fn print_head(&self) {
        let Machine { cores, processor, kernel, file_system } = &self.machine;
        let options = &self.options;
        println!(
            "kvraft {} ({}, {}) against etcd {}, both with fsync on",
            kvraft::observe::VERSION,
            kvraft::observe::COMMIT,
            self.options.over.as_str(),
            self.etcd_version
        );
        println!("{cores} × {processor}, Linux {kernel}, {file_system}");
        println!(
            "{} keys, {} B values, {} interleaved rounds of {} s; medians, and the range of ops/s",
            options.keys, options.value_bytes, options.rounds, options.seconds
        );
        match options.keep {
            Some(kept) => println!("of the past both keep {kept}"),
            None => println!("of the past etcd keeps all, kvraft {}", Retention::default()),
        }
    }

    pub fn comparison(&mut self, comparison: Comparison) {
        let Comparison { members, op, clients, ours, etcd, nothing } = comparison;
        let (a, b) = (Medians::of(&ours), Medians::of(&etcd));
        println!("\n{members} members, {}, {clients} client(s)", op.as_str());
        println!(
            "{:>18}{:>9}{:>9}{:>11}{:>9}{:>8}{:>8}{:>8}   range",
            "ops/s", "p50 ms", "p99 ms", "CPU µs/op", "RSS MiB", "errors", "steal", "others"
        );
        a.print("kvraft");
        b.print("etcd");
        println!(
            "  ratio  {:>9.2}{:>9.2}{:>9.2}{:>11.2}{:>9.2}",
            a.per_second / b.per_second,
            a.p50 / b.p50,
            a.p99 / b.p99,
            a.cpu_micros / b.cpu_micros,
            a.resident_mib / b.resident_mib
        );
        let ceiling = (!nothing.is_empty()).then(|| Medians::of(&nothing));
        if let Some(ceiling) = &ceiling {
            ceiling.print("nothing");
            println!("  kvraft's share of it{:>6.2}", a.per_second / ceiling.per_second);
        }
        for (name, rounds) in [("kvraft", &ours), ("etcd", &etcd), ("nothing", &nothing)] {
            if let Some(error) = rounds.iter().find_map(|(m, _)| m.first_error.as_ref()) {
                println!("  first error of {name}: {error}");
            }
        }
        let rounds = |all: &[(Measured, Span)]| all.iter().map(round_json).collect::<Vec<_>>();
        self.comparisons.push(json!({
            "members": members, "operation": op.as_str(), "clients": clients,
            "kvraft": { "median": a.json(), "rounds": rounds(&ours) },
            "etcd": { "median": b.json(), "rounds": rounds(&etcd) },
            "ratio": {
                "operations_per_second": a.per_second / b.per_second,
                "p50": a.p50 / b.p50, "p99": a.p99 / b.p99,
                "cpu": a.cpu_micros / b.cpu_micros,
            },
            "nothing": ceiling.map(|it| json!({ "median": it.json(), "rounds": rounds(&nothing) })),
        }));
    }

    pub fn times(&mut self, times: Times) {
        let seconds = |all: &[Duration]| all.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let (ours, etcd) = (seconds(&times.ours), seconds(&times.etcd));
        println!("\n{} members, {} (median of {}, range)", times.members, times.what, ours.len());
        for (name, all) in [("kvraft", &ours), ("etcd", &etcd)] {
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            let most = all.iter().copied().fold(0.0, f64::max);
            let middle = median(all.iter().copied());
            println!("  {name:<7}{middle:>9.3} s   {least:.3}–{most:.3}");
        }
        let medians = (median(ours.iter().copied()), median(etcd.iter().copied()));
        self.times.push(json!({
            "what": times.what, "members": times.members,
            "kvraft": { "median_seconds": medians.0, "seconds": ours },
            "etcd": { "median_seconds": medians.1, "seconds": etcd },
        }));
    }

    pub fn memory(&mut self, members: usize, records: usize, ours: Vec<u64>, etcd: Vec<u64>) {
        println!(
            "\n{members} members that hold the {records} sample records, resident memory of each"
        );
        for (name, all) in [("kvraft", &ours), ("etcd", &etcd)] {
            let each: Vec<String> =
                all.iter().map(|b| format!("{:.0}", *b as f64 / f64::from(1 << 20))).collect();
            println!("  {name:<7} {} MiB", each.join(" "));
        }
        self.memory.push(json!({
            "members": members, "records": records,
            "kvraft_resident_bytes": ours, "etcd_resident_bytes": etcd,
        }));
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let options = &self.options;
        let all = json!({
            "schema_version": 1,
            "kvraft": {
                "version": kvraft::observe::VERSION, "commit": kvraft::observe::COMMIT,
                "durability": "fsync", "transport": "unix", "over": options.over.as_str(),
            },
            "etcd": { "version": self.etcd_version, "durability": "fsync", "transport": "tcp" },
            "machine": self.machine,
            "keys": options.keys, "value_bytes": options.value_bytes,
            "seconds_per_round": options.seconds, "rounds": options.rounds,
            "both_keep": options.keep,
            "comparisons": self.comparisons, "times": self.times, "memory": self.memory,
            "forgetting": self.forgetting, "many_keys": self.many_keys, "watchers": self.watchers,
        });
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }
}

fn round_json((measured, span): &(Measured, Span)) -> Value {
    json!({
        "operations": measured.operations, "errors": measured.errors,
        "seconds": measured.duration.as_secs_f64(),
        "operations_per_second": measured.rate(),
        "p50_ms": millis(measured, 0.50), "p90_ms": millis(measured, 0.90),
        "p99_ms": millis(measured, 0.99), "p999_ms": millis(measured, 0.999),
        "max_ms": millis(measured, 1.0),
        "cpu_us_per_operation": cpu_micros(measured, span),
        "resident_bytes": span.resident_bytes,
        "steal": span.steal, "others": span.others,
    })
}
