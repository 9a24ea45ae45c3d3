//! Reads in group commit: what queued while the last batch was committed is read in one statement, opened, and its audit
//! rows are written in one transaction. An answer leaves only after its audit row is committed.

use std::collections::HashMap;

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::group::{Batch, HotWrite, Verdict};
use nsl_core::db::record::{AuditRow, write_audits};
use nsl_core::db::{Audit, AuditResult, DbError, Scoped};
use nsl_core::ids::TenantId;

use super::opener::Opener;
use super::write::Item;
use crate::Result;
use crate::domain::{Address, Opened};
use crate::error::Error;
use crate::store::items as store;

/// Larger values are read one by one, so that a batch stays small whatever is in it.
const LARGEST: i32 = 32 << 10;

/// A read as it waits in the queue.
pub(super) struct Get {
    pub caller: Caller,
    pub address: Address,
    pub now: Timestamp,
}

/// What a read in a batch came to.
pub(super) enum Got {
    Opened(Box<(Item, Opened)>),
    /// Nothing was done and nothing recorded: the value is large, streamed or under rules, and is read on its own.
    Apart,
    /// Nothing was recorded yet.
    Damaged(Error),
    /// Recorded.
    Refused(Error),
}

pub(super) struct GetItems {
    pub opener: Opener,
}

impl GetItems {
    async fn open(&self, get: &Get, row: Option<store::Sealed>) -> Result<Got, DbError> {
        let Some(row) = row else { return Ok(Got::Refused(Error::NotFound)) };
        if row.held_back {
            return Ok(Got::Apart);
        }
        Ok(match self.opener.open(get.caller.tenant(), &get.address, row, get.now).await {
            Ok(opened) => Got::Opened(Box::new(opened)),
            Err(Error::Db(error)) => return Err(error),
            Err(error @ Error::Integrity(_)) => Got::Damaged(error),
            Err(error) => Got::Refused(error),
        })
    }
}

impl HotWrite for GetItems {
    type Command = Get;
    type Outcome = Got;
    type Prepared = Vec<Got>;

    const NAME: &'static str = "sgx.get";

    fn tenant(&self, get: &Get) -> TenantId {
        get.caller.tenant()
    }

    fn keys(&self, _get: &Get) -> Vec<String> {
        Vec::new()
    }

    fn weight(&self, _get: &Get) -> usize {
        usize::try_from(LARGEST).unwrap_or_default()
    }

    async fn prepare(&self, read: &Scoped<'_>, gets: &[&Get]) -> Result<Vec<Got>, DbError> {
        let tenants: Vec<TenantId> = gets.iter().map(|get| get.caller.tenant()).collect();
        let services: Vec<&str> = gets.iter().map(|get| get.address.service.as_str()).collect();
        let keys: Vec<&str> = gets.iter().map(|get| get.address.key.as_str()).collect();
        let rows = store::sealed_many(read, &tenants, &services, &keys, LARGEST).await?;
        let mut rows: HashMap<i64, store::Sealed> = rows.into_iter().map(|row| (row.place, row)).collect();
        let mut prepared = Vec::with_capacity(gets.len());
        // WITH ORDINALITY counts from 1.
        for (place, get) in (1..).zip(gets) {
            prepared.push(self.open(get, rows.remove(&place)).await?);
        }
        Ok(prepared)
    }

    async fn write(
        &self,
        batch: &Batch<'_>,
        gets: &[&Get],
        prepared: Vec<Got>,
    ) -> Result<Vec<Verdict<Got>>, DbError> {
        let rows: Vec<AuditRow> =
            gets.iter().zip(&prepared).filter_map(|(get, got)| audit_row(get, got)).collect();
        write_audits(batch, &rows).await?;
        Ok(prepared.into_iter().map(Verdict::Done).collect())
    }
}

fn audit_row(get: &Get, got: &Got) -> Option<AuditRow> {
    let entry = |result| Audit::new("sgx", "UNSEAL_ITEM", "sealed_item", get.address.resource(), result);
    let entry = match got {
        Got::Opened(_) => entry(AuditResult::Success),
        Got::Refused(error) => entry(AuditResult::Failure).details(error.to_string()),
        Got::Apart | Got::Damaged(_) => return None,
    };
    Some(AuditRow::new(&get.caller, entry))
}
