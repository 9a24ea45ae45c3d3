//! Reading the audit log and security events, and recording the latter in the transaction of what caused them.

use std::sync::Arc;

use async_trait::async_trait;
use nsl_core::Caller;
use nsl_core::db::{Db, DbError, Login, UnitOfWork};
use nsl_core::http::Limit;
use nsl_core::ports::{SecurityEvent, SecurityEvents};
use uuid::Uuid;

use crate::domain::{AuditFilter, AuditResult, SecurityEventFilter, SecurityEventStatus, Severity, source};
use crate::error::MonitoringError;
use crate::store::{self, AuditLogRow, SecurityEventRow};

/// The port by which every service records security events.
pub fn security_events() -> Arc<dyn SecurityEvents> {
    Arc::new(Recorder)
}

struct Recorder;

#[async_trait]
impl SecurityEvents for Recorder {
    async fn record(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        event: &SecurityEvent,
    ) -> Result<(), DbError> {
        let session = caller.principal.session.map(|session| session.to_string());
        store::add_security_event(
            work,
            Uuid::now_v7(),
            caller.tenant(),
            event.kind,
            event.severity.as_str(),
            source(event.kind),
            &event.description,
            caller.origin.ip_address.as_deref(),
            caller.principal.user,
            session.as_deref(),
            &event.data,
        )
        .await?;
        Ok(())
    }
}

/// The caller's tenant's audit rows below the id `before`, newest first: one more than the limit, if there are more.
pub(crate) async fn audit_logs(
    db: &Db,
    caller: &Caller,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: Limit,
) -> Result<Vec<AuditLogRow>, MonitoringError> {
    filter.validate()?;
    let rows = store::audit_logs(
        &db.read(Login::Api, caller.tenant()),
        caller.tenant(),
        before.unwrap_or(Uuid::max()),
        filter.span.from(),
        filter.span.to(),
        filter.service.as_deref(),
        filter.action.as_deref(),
        filter.result.map(AuditResult::as_str),
        filter.resource_id.as_deref(),
        one_more(limit),
    )
    .await?;
    Ok(rows)
}

/// The caller's tenant's security events below the id `before`, newest first: one more than the limit, if there are
/// more.
pub(crate) async fn list_security_events(
    db: &Db,
    caller: &Caller,
    filter: SecurityEventFilter,
    before: Option<Uuid>,
    limit: Limit,
) -> Result<Vec<SecurityEventRow>, MonitoringError> {
    let rows = store::security_events(
        &db.read(Login::Api, caller.tenant()),
        caller.tenant(),
        before.unwrap_or(Uuid::max()),
        filter.span.from(),
        filter.span.to(),
        filter.severity.map(Severity::as_str),
        filter.status.map(SecurityEventStatus::as_str),
        one_more(limit),
    )
    .await?;
    Ok(rows)
}

fn one_more(limit: Limit) -> i64 {
    i64::from(limit.0) + 1
}
