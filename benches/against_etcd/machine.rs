//! What the machine was, and what a round cost it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kvraft::observe::Figures;
use serde::Serialize;

/// What a reader of the figures must know.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    pub file_system: String,
}

impl Machine {
    /// This machine, and the file system that `place` is on.
    pub fn describe(place: &Path) -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kind = Command::new("df").arg("--output=fstype").arg(place).output();
        Ok(Machine {
            cores: std::thread::available_parallelism()?.get(),
            processor: model.map_or("unknown", |m| m.trim_start_matches([':', '\t', ' '])).into(),
            kernel: kernel.trim().to_owned(),
            file_system: kind.map_or("unknown".to_owned(), |output| {
                // Under its heading.
                let text = String::from_utf8_lossy(&output.stdout);
                text.lines().last().unwrap_or("unknown").trim().to_owned()
            }),
        })
    }

    /// Reads the clocks of the machine and of the processes `pids`.
    pub fn now(pids: &[u32]) -> Result<Reading> {
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what follows is counted in user.
        let mut cpu_seconds = 0.0;
        let mut resident_bytes = 0;
        for pid in pids {
            let figures = Figures::of_process(*pid)?;
            cpu_seconds += figures.cpu_seconds;
            resident_bytes += figures.resident_bytes;
        }
        let total = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let steal = *ticks.get(7).context("/proc/stat knows no steal")?;
        Ok(Reading {
            total,
            busy: total - idle - steal,
            steal,
            cpu_seconds,
            own_seconds: Figures::of_self()?.cpu_seconds,
            resident_bytes,
        })
    }
}

pub struct Reading {
    // In the kernel's ticks of 10 ms, over all cores.
    total: u64,
    busy: u64,
    steal: u64,
    cpu_seconds: f64,
    /// Of the benchmark itself.
    own_seconds: f64,
    resident_bytes: u64,
}

/// Between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Used by the processes, all together.
    pub cpu_seconds: f64,
    /// Of the processes together, at the end.
    pub resident_bytes: u64,
    /// The share of the machine's time that its host gave to others, 0 to 1.
    pub steal: f64,
    /// The share that went to processes here which were not measured, 0 to 1; the cluster that
    /// waits for its turn is one of them.
    pub others: f64,
}

impl Reading {
    pub fn until(&self, later: &Reading) -> Span {
        let total = later.total.saturating_sub(self.total).max(1);
        let cpu_seconds = later.cpu_seconds - self.cpu_seconds;
        let ours = (cpu_seconds + later.own_seconds - self.own_seconds) * 100.0;
        let busy = later.busy.saturating_sub(self.busy) as f64;
        Span {
            cpu_seconds,
            resident_bytes: later.resident_bytes,
            steal: later.steal.saturating_sub(self.steal) as f64 / total as f64,
            others: (busy - ours).max(0.0) / total as f64,
        }
    }
}
