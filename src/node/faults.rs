//! The faults that people injected, as far as they concern this node.
//!
//! The supervisor decides, and writes this node's [`Table`] to `faults.json` before it tells us: so
//! a node that starts anew comes up inside its partition, and one that was paused meanwhile does
//! not forget it. From then on the node needs nobody: a fault ends here when its time is over.
//!
//! The time of faults is that of the calendar (Unix time), because faults outlive processes; it is
//! not the time that consensus sees.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::Clock;
use super::inbox::Inbox;
use super::peers::Peers;
use crate::chaos::{FaultId, Table};
use crate::control::unix_millis;
use crate::storage::Ailment;

/// The name of the file in the node's directory.
pub const FAULTS_FILE: &str = "faults.json";

/// A calendar that is set back or forward while we wait is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_millis(500);

/// See the [module](self).
pub struct Faults {
    table: RefCell<Table>,
    /// Of the table, as the supervisor numbers them.
    version: Cell<u64>,
    changed: Notify,
    peers: Rc<RefCell<Peers>>,
    clock: Clock,
    /// How many jumps of the clock each fault has made.
    jumps: RefCell<BTreeMap<FaultId, u64>>,
    disk: Ailment,
    inbox: Rc<Inbox>,
}

/// Why `faults.json` cannot be believed. The node must not start without its faults.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; remove it to start without the faults that it holds", path.display())]
pub struct FaultsError {
    pub path: PathBuf,
    pub why: String,
}

/// What the last supervisor left in `directory`; nothing if there is no file.
pub fn read_table(directory: &Path) -> Result<Table, FaultsError> {
    let path = directory.join(FAULTS_FILE);
    let wrong = |why: String| FaultsError { path: path.clone(), why };
    match std::fs::read_to_string(&path) {
        Ok(text) => Table::from_json(&text).map_err(wrong),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::default()),
        Err(error) => Err(wrong(error.to_string())),
    }
}

impl Faults {
    /// Puts `table` in force.
    pub fn new(
        table: Table,
        peers: Rc<RefCell<Peers>>,
        clock: Clock,
        disk: Ailment,
        inbox: Rc<Inbox>,
    ) -> Rc<Faults> {
        // A clock that starts has not made the jumps of before, and need not make them.
        let mut jumps = BTreeMap::new();
        table.clock_jumps(unix_millis(), &mut jumps);
        let faults = Faults {
            jumps: RefCell::new(jumps),
            disk,
            version: Cell::new(table.version),
            table: RefCell::new(table),
            changed: Notify::new(),
            peers,
            clock,
            inbox,
        };
        let in_force = faults.in_force();
        if in_force > 0 {
            tracing::warn!("{in_force} injected faults are in force from the start");
        }
        faults.apply();
        Rc::new(faults)
    }

    /// Puts `table` in force instead of the one before; an older one changes nothing.
    pub fn set(&self, table: Table) {
        if table.version < self.version.get() {
            return;
        }
        self.version.set(table.version);
        let before = self.table.replace(table);
        if before.faults != self.table.borrow().faults {
            tracing::info!("{} injected faults are in force", self.in_force());
        }
        self.apply();
        self.changed.notify_one();
    }

    /// Which table is in force.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// How many faults are in force now.
    pub fn in_force(&self) -> usize {
        self.table.borrow().in_force(unix_millis())
    }

    /// Ends faults when their time is over, and lets the flapping ones flap.
    pub async fn keep(self: Rc<Self>) {
        loop {
            let now = unix_millis();
            let next = self.table.borrow().next_change(now);
            let nap = next.map(|next| Duration::from_millis(next - now).min(LONGEST_NAP));
            let nap = async {
                match nap {
                    Some(nap) => tokio::time::sleep(nap).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = nap => self.apply(),
                () = self.changed.notified() => {}
            }
        }
    }

    fn apply(&self) {
        let (table, now) = (self.table.borrow(), unix_millis());
        self.disk.set(table.trouble(now));
        let jumps = table.clock_jumps(now, &mut self.jumps.borrow_mut());
        self.clock.disturb(table.clock_rate(now), &jumps, table.sets_clock_back(now));
        let to = table.concerned();
        let policies = to.into_iter().map(|to| (to, table.policy(to, now)));
        let policies = policies.filter(|(_, policy)| !policy.is_empty()).collect();
        self.peers.borrow_mut().set_policies(self.clock.true_now(), policies);
        // What a fault held back may leave now. When the rest does, and when the clock will show
        // what, the timer must know.
        self.inbox.bell().notify_one();
    }
}
