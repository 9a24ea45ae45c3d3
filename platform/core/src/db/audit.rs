//! Audit rows of what writes nothing else (reads, refusals), in a group commit of their own: an answer leaves only
//! after its audit row is committed, and still costs a fraction of a transaction.

use super::group::{Batch, Bounds, GroupCommit, HotWrite, Verdict};
use super::pool::Scoped;
use super::record::{Audit, AuditRow, write_audits};
use super::{Db, DbError, Login};
use crate::caller::Caller;
use crate::ids::TenantId;
use crate::jobs::Jobs;

/// Writes audit rows, many in one transaction.
#[derive(Clone)]
pub struct AuditLog(GroupCommit<AuditWrite>);

impl AuditLog {
    pub fn start(jobs: &Jobs, db: &Db, login: Login) -> Self {
        let bounds = Bounds { writers: 1, max_commands: 512, ..Bounds::default() };
        Self(GroupCommit::start(jobs, db, login, AuditWrite, bounds))
    }

    /// Returns when the row is committed.
    pub async fn record(&self, caller: &Caller, entry: Audit) -> Result<(), DbError> {
        self.0.submit(AuditRow::new(caller, entry)).await
    }
}

struct AuditWrite;

impl HotWrite for AuditWrite {
    type Command = AuditRow;
    type Outcome = ();
    type Prepared = ();

    const NAME: &'static str = "core.audit";

    fn tenant(&self, row: &AuditRow) -> TenantId {
        row.tenant
    }

    fn keys(&self, _row: &AuditRow) -> Vec<String> {
        Vec::new()
    }

    fn weight(&self, row: &AuditRow) -> usize {
        256 + row.entry.resource_id.len()
    }

    async fn prepare(&self, _read: &Scoped<'_>, _rows: &[&AuditRow]) -> Result<(), DbError> {
        Ok(())
    }

    async fn write(
        &self,
        batch: &Batch<'_>,
        rows: &[&AuditRow],
        (): (),
    ) -> Result<Vec<Verdict<()>>, DbError> {
        write_audits(batch, rows.iter().copied()).await?;
        Ok(rows.iter().map(|_| Verdict::Done(())).collect())
    }
}
