//! What it costs to be watched: metrics asked for every second, and open pages of the console.
//!
//! Pairs of rounds under the same load, one with nobody and one with everybody watching, by turns
//! first. What counts is the processor's time that nodes and supervisor spend for a put, because
//! throughput also depends on who else wants the cores: those who watch do, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kvraft::client::load::Workload;
use kvraft::observe::Figures;
use kvraft::testing::Cluster;

use crate::{Options, measure, workload};

const UNHARMED: &str = "who watches does not panic";

/// Who watches: everybody's metrics once a second, and so many pages.
struct Watchers {
    over: Arc<AtomicBool>,
    /// What each took, in seconds.
    scrapes: Arc<Mutex<Vec<f64>>>,
    frames: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Watchers {
    fn begin(cluster: &Cluster, pages: usize) -> Result<Watchers> {
        let status = cluster.status()?;
        let mut metrics: Vec<SocketAddr> = status.nodes.iter().map(|node| node.http).collect();
        metrics.push(status.http_address);
        let token = std::fs::read_to_string(status.directory.join("console.token"));
        let token = token.context("the console's token")?.trim().to_owned();
        let (over, scrapes, frames) = Default::default();
        let mut watchers = Watchers { over, scrapes, frames, threads: Vec::new() };
        let (over, took) = (Arc::clone(&watchers.over), Arc::clone(&watchers.scrapes));
        watchers.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                for address in &metrics {
                    let asked = Instant::now();
                    scrape(*address)?;
                    took.lock().expect(UNHARMED).push(asked.elapsed().as_secs_f64());
                }
                std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
            }
            Ok(())
        }));
        for _ in 0..pages {
            let (over, frames) = (Arc::clone(&watchers.over), Arc::clone(&watchers.frames));
            let (address, token) = (status.http_address, token.clone());
            watchers
                .threads
                .push(std::thread::spawn(move || page(address, &token, &over, &frames)));
        }
        Ok(watchers)
    }

    /// What the scrapes took, the fastest first, and how many states the pages were sent.
    fn end(self) -> Result<(Vec<f64>, u64)> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect(UNHARMED)?;
        }
        let mut scrapes = std::mem::take(&mut *self.scrapes.lock().expect(UNHARMED));
        scrapes.sort_by(f64::total_cmp);
        Ok((scrapes, self.frames.load(Ordering::Relaxed)))
    }
}

fn ask(address: SocketAddr, path: &str, more: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n")?;
    Ok(stream)
}

fn scrape(address: SocketAddr) -> Result<()> {
    let mut answer = String::new();
    ask(address, "/metrics", "")?.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// Reads all that a page is sent.
fn page(address: SocketAddr, token: &str, over: &AtomicBool, frames: &AtomicU64) -> Result<()> {
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let mut lines = BufReader::new(ask(address, "/console/stream", &authorization)?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
    while !over.load(Ordering::Relaxed) {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "the page's stream has ended");
        frames.fetch_add(u64::from(line.starts_with("event: state")), Ordering::Relaxed);
    }
    Ok(())
}

/// The processor's time of nodes and supervisor until now, in seconds.
fn spent(cluster: &Cluster) -> Result<f64> {
    let status = cluster.status()?;
    let nodes = status.nodes.iter().filter_map(|node| node.pid);
    let all = nodes.chain([status.supervisor_pid]);
    all.map(|pid| Ok(Figures::of_process(pid)?.cpu_seconds)).sum()
}

/// Microseconds of the processor for each put.
fn cost(cluster: &Cluster, load: &Workload) -> Result<f64> {
    let before = spent(cluster)?;
    let report = measure(cluster, load)?;
    Ok((spent(cluster)? - before) * 1e6 / report.operations as f64)
}

pub fn measure_pairs(options: &Options) -> Result<()> {
    let cluster = Cluster::start(5)?;
    // Each put of the time that is measured is counted: none is for warming up.
    let load =
        Workload { warm_up: Duration::ZERO, ..workload(options, 10_000, 256, options.seconds) };
    cost(&cluster, &load)?;
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let mut costs = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut told = (Vec::new(), 0);
        for watched in order {
            let watchers = match watched {
                0 => None,
                _ => Some(Watchers::begin(&cluster, options.pages)?),
            };
            costs[watched] = cost(&cluster, &load)?;
            if let Some(watchers) = watchers {
                told = watchers.end()?;
            }
        }
        let ratio = costs[1] / costs[0];
        ratios.push(ratio);
        println!(
            "watched: round {round}: {:.2} µs of the processor a put alone, {:.2} µs with a scrape \
             a second and {} pages ({} frames); ratio {ratio:.3}; a scrape {:.1} ms, at most {:.1}",
            costs[0],
            costs[1],
            options.pages,
            told.1,
            told.0.get(told.0.len() / 2).unwrap_or(&0.0) * 1e3,
            told.0.last().unwrap_or(&0.0) * 1e3,
        );
    }
    ratios.sort_by(f64::total_cmp);
    let supervisor = Figures::of_process(cluster.status()?.supervisor_pid)?;
    println!(
        "watched: middle ratio {:.3}, mean {:.3} of {} pairs; the supervisor takes {:.1} MiB",
        ratios[ratios.len() / 2],
        ratios.iter().sum::<f64>() / ratios.len() as f64,
        ratios.len(),
        supervisor.resident_bytes as f64 / f64::from(1 << 20),
    );
    cluster.down()?;
    Ok(())
}
