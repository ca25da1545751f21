//! Breaking a test's cluster on purpose.

use std::time::Duration;

use super::{Cluster, TestError};
use crate::chaos::{Fault, FaultId, Injection, Wish};
use crate::control::{Injected, Receipt};

impl Cluster {
    /// Begins a fault that stays until it is healed.
    pub fn inject(&self, wish: Wish) -> Result<Injected, TestError> {
        self.inject_as(Injection {
            wish,
            flap: None,
            duration_millis: None,
            by: "a test".into(),
            blind: false,
        })
    }

    /// Begins a fault that ends by itself.
    pub fn inject_for(&self, wish: Wish, lasts: Duration) -> Result<Injected, TestError> {
        let duration_millis = Some(lasts.as_millis() as u64);
        self.inject_as(Injection {
            wish,
            flap: None,
            duration_millis,
            by: "a test".into(),
            blind: false,
        })
    }

    /// Begins a fault.
    pub fn inject_as(&self, injection: Injection) -> Result<Injected, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.inject(&injection, true).await?) })
    }

    /// Ends the faults of these numbers, or all.
    pub fn heal(&self, faults: &[FaultId]) -> Result<Receipt, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.heal(faults).await?) })
    }

    /// The faults in force.
    pub fn faults(&self) -> Result<Vec<Fault>, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.faults().await?) })
    }
}
