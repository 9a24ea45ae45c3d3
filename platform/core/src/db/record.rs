//! The rows that every change leaves: events (`eventsourcing.events`) and audit (`monitoring.audit_logs`).
//! `core::db` alone writes them. A hot `store` statement may insert into the two in its CTE, with exactly
//! [`EVENT_COLUMNS`] and [`AUDIT_COLUMNS`]; a test compares.

use std::borrow::Cow;

use serde_json::Value;
use uuid::Uuid;

use super::DbError;
use super::sql::Conn;
use crate::caller::Caller;
use crate::ids::{TenantId, UserId};

/// The columns of an event that its writer fills; the others have defaults (`recorded_at`, `xid`).
pub const EVENT_COLUMNS: &str =
    "id, tenant_id, stream, version, type, type_version, data, metadata, actor, correlation_id, causation_id";

/// The columns of an audit row that its writer fills; the others have defaults (`timestamp`, `xid`) or are unused.
pub const AUDIT_COLUMNS: &str = "id, tenant_id, service_name, action, resource_type, resource_id, user_id, actor, \
     session_id, ip_address, user_agent, request_id, result, details, metadata";

/// An event that a service emits; its name and payload are frozen by snapshots.
pub trait DomainEvent: serde::Serialize {
    /// `<service>.<noun>_<past participle>`, such as `sgx.item_put`.
    const TYPE: &'static str;
    /// Raised when the payload's shape changes.
    const TYPE_VERSION: i32 = 1;
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditResult {
    Success,
    Failure,
    Denied,
}

impl AuditResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Denied => "Denied",
        }
    }
}

/// One operation, as the audit log keeps it.
#[derive(Clone, Debug)]
pub struct Audit {
    pub service: Cow<'static, str>,
    /// Upper case verb and noun, such as `SEAL_ITEM`.
    pub action: &'static str,
    pub resource_type: &'static str,
    pub resource_id: String,
    pub result: AuditResult,
    pub details: Option<String>,
    pub metadata: Value,
}

impl Audit {
    pub fn new(
        service: impl Into<Cow<'static, str>>,
        action: &'static str,
        resource_type: &'static str,
        resource_id: impl Into<String>,
        result: AuditResult,
    ) -> Self {
        Self {
            service: service.into(),
            action,
            resource_type,
            resource_id: resource_id.into(),
            result,
            details: None,
            metadata: Value::Object(serde_json::Map::new()),
        }
    }

    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}

/// An event before it has a version.
#[derive(Clone, Debug)]
pub(super) struct NewEvent {
    pub stream: String,
    pub kind: &'static str,
    pub kind_version: i32,
    pub data: Value,
}

/// An audit row ready to be written: the entry with its caller.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: Uuid,
    pub tenant: TenantId,
    pub user: Option<UserId>,
    pub actor: String,
    pub session: Option<String>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    pub entry: Audit,
}

impl AuditRow {
    pub fn new(caller: &Caller, entry: Audit) -> Self {
        Self {
            id: Uuid::now_v7(),
            tenant: caller.principal.tenant,
            user: caller.principal.user,
            actor: caller.principal.name.clone(),
            session: caller.principal.session.map(|session| session.to_string()),
            ip_address: caller.origin.ip_address.clone(),
            user_agent: caller.origin.user_agent.clone(),
            request_id: caller.origin.request_id.clone(),
            entry,
        }
    }
}

/// The columns of many audit rows, each as one array parameter.
#[derive(Default)]
pub struct AuditColumns<'a> {
    pub ids: Vec<Uuid>,
    pub tenants: Vec<TenantId>,
    pub services: Vec<&'a str>,
    pub actions: Vec<&'a str>,
    pub resource_types: Vec<&'a str>,
    pub resource_ids: Vec<&'a str>,
    pub users: Vec<Option<UserId>>,
    pub actors: Vec<&'a str>,
    pub sessions: Vec<Option<&'a str>>,
    pub ip_addresses: Vec<Option<&'a str>>,
    pub user_agents: Vec<Option<&'a str>>,
    pub request_ids: Vec<Option<&'a str>>,
    pub results: Vec<&'a str>,
    pub details: Vec<Option<&'a str>>,
    pub metadata: Vec<&'a Value>,
}

impl<'a> FromIterator<&'a AuditRow> for AuditColumns<'a> {
    fn from_iter<I: IntoIterator<Item = &'a AuditRow>>(rows: I) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.ids.push(row.id);
            columns.tenants.push(row.tenant);
            columns.services.push(&row.entry.service);
            columns.actions.push(row.entry.action);
            columns.resource_types.push(row.entry.resource_type);
            columns.resource_ids.push(&row.entry.resource_id);
            columns.users.push(row.user);
            columns.actors.push(&row.actor);
            columns.sessions.push(row.session.as_deref());
            columns.ip_addresses.push(row.ip_address.as_deref());
            columns.user_agents.push(row.user_agent.as_deref());
            columns.request_ids.push(row.request_id.as_deref());
            columns.results.push(row.entry.result.as_str());
            columns.details.push(row.entry.details.as_deref());
            columns.metadata.push(&row.entry.metadata);
        }
        columns
    }
}

/// Writes audit rows in one statement.
pub async fn write_audits<'a>(
    c: &impl Conn,
    rows: impl IntoIterator<Item = &'a AuditRow> + Send,
) -> Result<(), DbError> {
    let a: AuditColumns<'_> = rows.into_iter().collect();
    if a.ids.is_empty() {
        return Ok(());
    }
    insert_audits(
        c,
        &a.ids,
        &a.tenants,
        &a.services,
        &a.actions,
        &a.resource_types,
        &a.resource_ids,
        &a.users,
        &a.actors,
        &a.sessions,
        &a.ip_addresses,
        &a.user_agents,
        &a.request_ids,
        &a.results,
        &a.details,
        &a.metadata,
    )
    .await?;
    Ok(())
}

/// Writes events, giving each the next version of its stream.
pub(super) async fn write_events(c: &impl Conn, caller: &Caller, events: &[NewEvent]) -> Result<(), DbError> {
    for event in events {
        append_event(
            c,
            Uuid::now_v7(),
            caller.principal.tenant,
            &event.stream,
            event.kind,
            event.kind_version,
            &event.data,
            &caller.principal.name,
            caller.origin.trace_id.as_deref(),
            caller.origin.request_id.as_deref(),
        )
        .await?;
    }
    Ok(())
}

crate::row! {
    struct Appended { #[expect(dead_code, reason = "the version is of use to readers of the statement, not to its caller")] version: i64 }
}

crate::queries! {
    fn insert_audits(
        ids: &[Uuid], tenants: &[TenantId], services: &[&str], actions: &[&str], resource_types: &[&str],
        resource_ids: &[&str], users: &[Option<UserId>], actors: &[&str], sessions: &[Option<&str>],
        ip_addresses: &[Option<&str>], user_agents: &[Option<&str>], request_ids: &[Option<&str>],
        results: &[&str], details: &[Option<&str>], metadata: &[&Value],
    ) -> exec =
        "INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, actor, \
                session_id, ip_address, user_agent, request_id, result, details, metadata) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], \
                $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::jsonb[])";

    /// The head row serialises the writers of a stream.
    fn append_event(
        id: Uuid, tenant: TenantId, stream: &str, kind: &str, kind_version: i32, data: &Value, actor: &str,
        correlation_id: Option<&str>, causation_id: Option<&str>,
    ) -> one<Appended> =
        "WITH head AS ( \
             INSERT INTO eventsourcing.streams AS s (tenant_id, stream, version) VALUES ($2, $3, 1) \
             ON CONFLICT (tenant_id, stream) DO UPDATE SET version = s.version + 1, updated_at = now() \
             RETURNING version) \
         INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                correlation_id, causation_id) \
         SELECT $1::uuid, $2::uuid, $3::text, head.version, $4::text, $5::int, $6::jsonb, '{}'::jsonb, $7::text, \
                $8::text, $9::text FROM head \
         RETURNING version";
}

/// True where a statement that inserts into the two tables fills exactly their columns.
pub fn fills_record_columns(sql: &str) -> bool {
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let sql = squeezed(sql);
    [("INSERTINTOeventsourcing.events", EVENT_COLUMNS), ("INSERTINTOmonitoring.audit_logs", AUDIT_COLUMNS)]
        .iter()
        .all(|(insert, columns)| {
            sql.match_indices(insert)
                .all(|(at, _)| sql[at + insert.len()..].starts_with(&format!("({})", squeezed(columns))))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_statements_fill_the_record_columns() {
        assert!(ALL.iter().all(|statement| fills_record_columns(statement.sql)));
        assert!(!fills_record_columns("INSERT INTO monitoring.audit_logs (id, tenant_id) VALUES ($1, $2)"));
    }
}
