//! The port of security events, writing where monitoring, its owner, does: a service does not depend on another one,
//! not even in tests.

use async_trait::async_trait;
use nsl_core::Caller;
use nsl_core::db::{DbError, UnitOfWork};
use nsl_core::ids::{TenantId, UserId};
use nsl_core::ports::{SecurityEvent, SecurityEvents};
use serde_json::Value;
use uuid::Uuid;

nsl_core::queries! {
    fn insert(
        id: Uuid, tenant: TenantId, kind: &str, severity: &str, source: &str, description: &str, user: Option<UserId>,
        data: &Value,
    ) -> exec =
        "INSERT INTO monitoring.security_events (id, tenant_id, event_type, severity, source, description, user_id, \
             event_data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
}

pub(crate) struct Alarms;

#[async_trait]
impl SecurityEvents for Alarms {
    async fn record(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        event: &SecurityEvent,
    ) -> Result<(), DbError> {
        let (severity, user) = (event.severity.as_str(), caller.principal.user);
        let (id, tenant, text) = (Uuid::now_v7(), caller.tenant(), &event.description);
        insert(work, id, tenant, event.kind, severity, "auth", text, user, &event.data).await?;
        Ok(())
    }
}
