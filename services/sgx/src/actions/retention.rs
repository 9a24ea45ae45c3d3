//! What goes after `DataRetentionDays`.

use jiff::{SignedDuration, Timestamp};

use super::write::LOGIN;
use super::{Sgx, all_tenants};
use crate::Result;
use crate::store::retention as store;

/// Rows of one statement, which is one transaction.
const STEP: i64 = 500;

/// How much a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub items: i64,
    pub versions: i64,
    pub attestations: i64,
}

impl Sgx {
    /// Removes what was deleted or expired, superseded, or counts no longer, longer ago than the retention.
    pub(crate) async fn purge(&self) -> Result<Purged> {
        let days = i64::from(self.config.database.data_retention_days);
        let before: Timestamp = self.clock.now() - SignedDuration::from_hours(24 * days);
        let mut purged = Purged::default();
        for tenant in all_tenants(&self.db).await? {
            let write = self.db.write(LOGIN, tenant);
            loop {
                let rows = store::items(&write, tenant, before, STEP).await?.rows;
                purged.items += rows;
                if rows < STEP {
                    break;
                }
            }
            loop {
                let rows = store::versions(&write, tenant, before, STEP).await?.rows;
                purged.versions += rows;
                if rows < STEP {
                    break;
                }
            }
            loop {
                let rows = store::attestations(&write, tenant, before, STEP).await?.rows;
                purged.attestations += rows;
                if rows < STEP {
                    break;
                }
            }
        }
        Ok(purged)
    }
}
