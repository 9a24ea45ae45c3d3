//! Scans: everything that a tenant has sealed is opened, and compared with the log.

/// Former versions that went, and no event says so.
mod former;
/// The walk over rows and streams.
mod walk;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult};
use nsl_core::http::{Answer, Limit, Once};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SecurityEvent, Severity};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{LOGIN, Sgx, all_tenants};
use crate::Result;
use crate::domain::scan::FindingKind;
use crate::error::{Error, ScanError};
use crate::store::scans as store;

pub(crate) use store::{Finding, Scan};

/// One step of the job ends after so long, so that its lease is renewed and a shutdown need not wait.
const SLICE: Duration = Duration::from_secs(1);
/// A scan that finds more is broken off: whoever did that much is not told apart any more.
const MOST_FINDINGS: i64 = 10_000;
/// An answer shows so many of them.
const SHOWN_FINDINGS: i64 = 1000;
const SYSTEM: &str = "sgx.scan";

impl Sgx {
    /// Starts a scan of the tenant's items.
    pub(crate) async fn start_scan<V: Serialize + Send>(
        &self,
        caller: &Caller,
        once: &Once,
        view: impl FnOnce(Scan) -> V + Send,
    ) -> Result<Answer<V>> {
        let mut work = self.db.begin(LOGIN, caller).await?;
        if let Some(before) = once.replay(&work, caller).await? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let (tenant, name, now) = (caller.tenant(), &caller.principal.name, self.clock.now());
        let total = store::kept(&work, tenant).await?.versions;
        let Some(scan) = store::add_scan(&work, tenant, Uuid::now_v7(), total, name, now).await? else {
            work.rollback().await?;
            let error = Error::from(ScanError::Running);
            self.note(caller, "START_SCAN", "scan", "*", Some(&error)).await?;
            return Err(error);
        };
        let id = scan.scan_id.to_string();
        work.audit(Audit::new("sgx", "START_SCAN", "scan", id, AuditResult::Success));
        let view = view(scan);
        once.keep(&work, caller, StatusCode::ACCEPTED, &view).await?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// Scans of the tenant, newest first.
    pub(crate) async fn scans(
        &self,
        caller: &Caller,
        before: Option<Uuid>,
        limit: Limit,
    ) -> Result<Vec<Scan>> {
        let tenant = caller.tenant();
        let read = self.db.read(LOGIN, tenant);
        let scans = store::scans(&read, tenant, before, i64::from(limit.0) + 1).await?;
        self.note(caller, "LIST_SCANS", "scan", "*", None).await?;
        Ok(scans)
    }

    /// One scan with its first findings.
    pub(crate) async fn scan(&self, caller: &Caller, id: Uuid) -> Result<(Scan, Vec<Finding>)> {
        let tenant = caller.tenant();
        let read = self.db.read(LOGIN, tenant);
        let scan = store::scan(&read, tenant, id).await?.ok_or_else(|| Error::from(ScanError::NotFound));
        self.note(caller, "READ_SCAN", "scan", &id.to_string(), scan.as_ref().err()).await?;
        Ok((scan?, store::findings(&read, tenant, id, SHOWN_FINDINGS).await?))
    }

    /// Starts the scans that are due: so many hours after the last one of a tenant, or after its first put.
    pub(crate) async fn schedule_scans(&self) -> Result<()> {
        let tenants = all_tenants(&self.db).await?;
        let now = self.clock.now();
        let before = now - SignedDuration::from_hours(i64::from(self.config.scan.every_hours));
        for due in store::due(&self.db.read_many(LOGIN, &tenants), before).await? {
            let caller = Caller::system(due.tenant_id, SYSTEM);
            let mut work = self.db.begin(LOGIN, &caller).await?;
            let total = store::kept(&work, due.tenant_id).await?.versions;
            let name = &caller.principal.name;
            if let Some(scan) =
                store::add_scan(&work, due.tenant_id, Uuid::now_v7(), total, name, now).await?
            {
                let id = scan.scan_id.to_string();
                work.audit(Audit::new("sgx", "START_SCAN", "scan", id, AuditResult::Success));
            }
            work.commit().await?;
        }
        Ok(())
    }

    /// Goes on with every scan that runs, for a while.
    pub(crate) async fn advance_scans(self: &Arc<Self>) -> Result<()> {
        let tenants = all_tenants(&self.db).await?;
        for scan in store::running(&self.db.read_many(LOGIN, &tenants)).await? {
            self.advance_scan(&scan, Instant::now() + SLICE).await?;
        }
        Ok(())
    }

    /// Writes a finding and raises it, once.
    async fn found(&self, scan: &Scan, kind: FindingKind, place: &Found<'_>, detail: &str) -> Result<()> {
        let caller = Caller::system(scan.tenant_id, SYSTEM);
        let work = self.db.begin(LOGIN, &caller).await?;
        let (tenant, id, now) = (scan.tenant_id, scan.scan_id, self.clock.now());
        let (service, key) = (Some(place.service), Some(place.key));
        let (item_id, version) = (Some(place.item_id), Some(place.version));
        let new =
            store::add_finding(&work, tenant, id, kind.as_str(), service, key, item_id, version, detail, now);
        if new.await?.is_none() {
            return Ok(work.rollback().await?);
        }
        let kind = kind.as_str();
        let event = SecurityEvent {
            kind: "sgx.scan_finding",
            severity: Severity::Critical,
            description: format!("Sealed item {}/{} is {kind}: {detail}", place.service, place.key),
            data: serde_json::json!({
                "scanId": id, "kind": kind, "service": place.service, "key": place.key, "itemId": place.item_id,
                "version": place.version,
            }),
        };
        self.security.record(&work, &caller, &event).await?;
        tracing::error!(%tenant, scan = %id, kind, item = %place.item_id, version = place.version, "a scan found something");
        Ok(work.commit().await?)
    }

    async fn finish_scan(&self, scan: &Scan, failure: Option<&str>) -> Result<()> {
        let caller = Caller::system(scan.tenant_id, SYSTEM);
        let state = if failure.is_some() { "failed" } else { "completed" };
        let mut work = self.db.begin(LOGIN, &caller).await?;
        let (tenant, id) = (scan.tenant_id, scan.scan_id);
        if let Some(scan) = store::finish(&work, tenant, id, state, failure, self.clock.now()).await? {
            let clean = scan.findings == 0 && failure.is_none();
            let result = if clean { AuditResult::Success } else { AuditResult::Failure };
            let mut entry = Audit::new("sgx", "SCAN_COMPLETED", "scan", id.to_string(), result);
            entry.metadata = serde_json::json!({ "checked": scan.checked, "findings": scan.findings });
            entry.details = failure.map(str::to_owned);
            work.audit(entry);
            tracing::info!(%tenant, scan = %id, checked = scan.checked, findings = scan.findings, "a scan has ended");
        }
        Ok(work.commit().await?)
    }

    /// The scan as it is now: findings are counted meanwhile.
    async fn scan_now(&self, tenant: TenantId, id: Uuid) -> Result<Option<Scan>> {
        Ok(store::scan(&self.db.read(LOGIN, tenant), tenant, id).await?)
    }
}

/// Where something was found.
struct Found<'a> {
    service: &'a str,
    key: &'a str,
    item_id: Uuid,
    version: i64,
}

/// How much longer a scan takes if it goes on as it did.
pub(crate) fn seconds_left(scan: &Scan) -> Option<u64> {
    super::rotation::estimate(
        scan.state == "running",
        scan.updated_at.duration_since(scan.started_at),
        scan.checked,
        scan.total,
    )
}
