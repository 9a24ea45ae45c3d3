//! Quotas, and what is kept.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult};
use nsl_core::ids::TenantId;
use tokio::time::Instant;

use super::write::LOGIN;
use super::{Sgx, all_tenants};
use crate::Result;
use crate::domain::{Address, check_service};
use crate::error::Error;
use crate::events::{QUOTAS, QuotaRemoved, QuotaSet};
use crate::store::quotas::{self as store, Quota};
use crate::store::usage::{self, Used};

/// How long a process goes by what it knows of a tenant's having quotas: one that another process sets counts from then on.
const KNOWN_FOR: Duration = Duration::from_secs(2);
/// Changes of usage that are folded in one statement.
const FOLD: i64 = 10_000;

/// Which tenants have quotas, so that a put without any is not slower for it.
#[derive(Default)]
pub(super) struct Limited(RwLock<HashMap<TenantId, (Instant, bool)>>);

impl Limited {
    fn known(&self, tenant: TenantId) -> Option<bool> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&tenant).filter(|(at, _)| at.elapsed() < KNOWN_FOR).map(|(_, limited)| *limited)
    }

    fn set(&self, tenant: TenantId, limited: bool) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(tenant, (Instant::now(), limited));
    }
}

/// What a tenant keeps, and how much it may.
pub(crate) struct Statistics {
    pub services: Vec<Used>,
    pub quotas: Vec<Quota>,
}

impl Sgx {
    /// Whether the tenant has any quota: its puts then go one by one, each after a look at what is left.
    pub(super) async fn is_limited(&self, tenant: TenantId) -> Result<bool> {
        if let Some(known) = self.limited.known(tenant) {
            return Ok(known);
        }
        let limited = !store::all(&self.db.read(LOGIN, tenant), tenant).await?.is_empty();
        self.limited.set(tenant, limited);
        Ok(limited)
    }

    pub(crate) async fn statistics(&self, caller: &Caller) -> Result<Statistics> {
        let tenant = caller.tenant();
        let read = self.db.read(LOGIN, tenant);
        let mut services = usage::by_service(&read, tenant).await?;
        services.retain(|used| used.items != 0 || used.versions != 0 || used.bytes != 0);
        let quotas = store::all(&read, tenant).await?;
        self.audit_quota(caller, "GET_STATISTICS", "", None).await?;
        Ok(Statistics { services, quotas })
    }

    pub(crate) async fn quotas(&self, caller: &Caller) -> Result<Vec<Quota>> {
        let tenant = caller.tenant();
        let quotas = store::all(&self.db.read(LOGIN, tenant), tenant).await?;
        self.audit_quota(caller, "LIST_QUOTAS", "", None).await?;
        Ok(quotas)
    }

    /// Sets the quota of a service; of the tenant as a whole where the name is empty. What is kept already stays.
    pub(crate) async fn set_quota(
        &self,
        caller: &Caller,
        service: &str,
        max_bytes: Option<i64>,
        max_items: Option<i64>,
    ) -> Result<Quota> {
        let (tenant, actor, now) = (caller.tenant(), &caller.principal.name, self.clock.now());
        if let Err(violation) = check_quota(service, max_bytes, max_items) {
            let error = Error::from(violation);
            self.audit_quota(caller, "SET_QUOTA", service, Some(&error)).await?;
            return Err(error);
        }
        let mut work = self.db.begin(LOGIN, caller).await?;
        let quota = store::set(&work, tenant, service, max_bytes, max_items, now, actor).await?;
        work.event(QUOTAS, &QuotaSet { service, max_bytes, max_items })?;
        work.audit(audit("SET_QUOTA", service, AuditResult::Success));
        work.commit().await?;
        self.limited.set(tenant, true);
        Ok(quota)
    }

    pub(crate) async fn remove_quota(&self, caller: &Caller, service: &str) -> Result<()> {
        let tenant = caller.tenant();
        let mut work = self.db.begin(LOGIN, caller).await?;
        if service.contains('\0') || store::remove(&work, tenant, service).await? == 0 {
            work.rollback().await?;
            let error = Error::QuotaNotFound;
            self.audit_quota(caller, "REMOVE_QUOTA", service, Some(&error)).await?;
            return Err(error);
        }
        work.event(QUOTAS, &QuotaRemoved { service })?;
        work.audit(audit("REMOVE_QUOTA", service, AuditResult::Success));
        Ok(work.commit().await?)
    }

    /// Folds the changes of usage of all tenants; returns how many went.
    pub(crate) async fn fold_usage(&self) -> Result<i64> {
        let mut folded = 0;
        for tenant in all_tenants(&self.db).await? {
            loop {
                let changes = usage::fold(&self.db.write(LOGIN, tenant), tenant, FOLD).await?.changes;
                folded += changes;
                if changes < FOLD {
                    break;
                }
            }
        }
        Ok(folded)
    }

    async fn audit_quota(
        &self,
        caller: &Caller,
        action: &'static str,
        service: &str,
        error: Option<&Error>,
    ) -> Result<()> {
        let shown = Address::refused(service, "");
        let mut entry = audit(action, shown.trim_end_matches('/'), AuditResult::Success);
        if let Some(error) = error {
            entry.result = error.audit_result();
            entry.details = Some(error.to_string());
        }
        Ok(self.audits.record(caller, entry).await?)
    }
}

/// A quota of nothing at all would be no quota.
fn check_quota(
    service: &str,
    max_bytes: Option<i64>,
    max_items: Option<i64>,
) -> std::result::Result<(), crate::domain::Violation> {
    use crate::domain::violation;
    if !service.is_empty() {
        check_service(service)?;
    }
    match (max_bytes, max_items) {
        (None, None) => Err(violation("sgx.invalid_quota", "/maxBytes", "give maxBytes, maxItems or both")),
        (Some(..0), _) => Err(violation("sgx.invalid_quota", "/maxBytes", "it takes 0 or more")),
        (_, Some(..0)) => Err(violation("sgx.invalid_quota", "/maxItems", "it takes 0 or more")),
        _ => Ok(()),
    }
}

fn audit(action: &'static str, service: &str, result: AuditResult) -> Audit {
    Audit::new("sgx", action, "quota", if service.is_empty() { "*" } else { service }, result)
}
