//! Request and response types, handlers, routes.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use nsl_core::http::{Allowed, Cursor, Limit, Page, Problem, Search};
use nsl_core::ids::UserId;
use nsl_core::{ApiError, Context};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::actions;
use crate::domain::{AuditFilter, AuditResult, SecurityEventFilter, SecurityEventStatus, Severity, Span};
use crate::error::MonitoringError;
use crate::store::{AuditLogRow, SecurityEventRow};

nsl_core::permissions! {
    /// Reads the audit log and security events of the tenant.
    ReadMonitoring = "monitoring:read";
}

pub(crate) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(audit_logs)).routes(routes!(security_events))
}

/// Which audit rows, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditLogQuery {
    /// The service that did it, such as `sgx`.
    service: Option<String>,
    /// What was done, such as `SEAL_ITEM`.
    action: Option<String>,
    result: Option<AuditResult>,
    /// What it was done to.
    resource_id: Option<String>,
    /// From this moment on, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Which security events, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SecurityEventQuery {
    severity: Option<Severity>,
    status: Option<SecurityEventStatus>,
    /// From this moment on, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// One operation: who did what to what, and what it came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditLogEntry {
    id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    service: String,
    action: String,
    #[schema(value_type = AuditResult)]
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    /// The principal as it was named then: a user, an API key, a job.
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// `X-Request-Id` of the answer, and `traceId` of a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[schema(value_type = Object)]
    metadata: Value,
}

impl From<AuditLogRow> for AuditLogEntry {
    fn from(row: AuditLogRow) -> Self {
        Self {
            id: row.id,
            timestamp: row.timestamp,
            service: row.service_name,
            action: row.action,
            result: row.result,
            resource_type: row.resource_type,
            resource_id: row.resource_id,
            actor: row.actor,
            user_id: row.user_id,
            session_id: row.session_id,
            ip_address: row.ip_address,
            user_agent: row.user_agent,
            request_id: row.request_id,
            details: row.details,
            metadata: row.metadata,
        }
    }
}

/// Something that someone should look at, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SecurityEventEntry {
    id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// `<service>.<what>`, such as `sgx.integrity_violation`.
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = Severity)]
    severity: String,
    /// The service that noticed it.
    source: String,
    description: String,
    #[schema(value_type = SecurityEventStatus)]
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    #[schema(value_type = Object)]
    data: Value,
}

impl From<SecurityEventRow> for SecurityEventEntry {
    fn from(row: SecurityEventRow) -> Self {
        Self {
            id: row.id,
            timestamp: row.timestamp,
            kind: row.event_type,
            severity: row.severity,
            source: row.source,
            description: row.description,
            status: row.status,
            user_id: row.user_id,
            session_id: row.session_id,
            ip_address: row.ip_address,
            resolved_at: row.resolved_at,
            resolved_by: row.resolved_by,
            resolution: row.resolution,
            data: row.event_data,
        }
    }
}

fn last_id(cursor: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    cursor.map(Cursor::read).transpose()
}

/// The audit log of the tenant, newest first.
#[utoipa::path(get, path = "/audit-logs", tag = "monitoring", operation_id = "monitoringAuditLogs",
    params(AuditLogQuery),
    responses(
    (status = 200, description = "A page of audit rows", body = Page<AuditLogEntry>),
    (status = 400, description = "A filter, the limit or the cursor does not fit", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "The permission is missing", body = Problem)),
    security(("bearer" = ["monitoring:read"])))]
async fn audit_logs(
    caller: Allowed<ReadMonitoring>,
    State(context): State<Context>,
    Search(query): Search<AuditLogQuery>,
) -> Result<Json<Page<AuditLogEntry>>, ApiError> {
    let before = last_id(query.cursor.as_deref())?;
    let filter = AuditFilter {
        service: query.service,
        action: query.action,
        result: query.result,
        resource_id: query.resource_id,
        span: Span::new(query.from, query.to).map_err(MonitoringError::from)?,
    };
    let rows = actions::audit_logs(context.db(), &caller, &filter, before, query.limit).await?;
    let entries = rows.into_iter().map(AuditLogEntry::from).collect();
    Ok(Json(Page::cut(entries, query.limit, |entry: &AuditLogEntry| entry.id)?))
}

/// The security events of the tenant, newest first.
#[utoipa::path(get, path = "/security-events", tag = "monitoring", operation_id = "monitoringSecurityEvents",
    params(SecurityEventQuery),
    responses(
    (status = 200, description = "A page of security events", body = Page<SecurityEventEntry>),
    (status = 400, description = "A filter, the limit or the cursor does not fit", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "The permission is missing", body = Problem)),
    security(("bearer" = ["monitoring:read"])))]
async fn security_events(
    caller: Allowed<ReadMonitoring>,
    State(context): State<Context>,
    Search(query): Search<SecurityEventQuery>,
) -> Result<Json<Page<SecurityEventEntry>>, ApiError> {
    let before = last_id(query.cursor.as_deref())?;
    let filter = SecurityEventFilter {
        severity: query.severity,
        status: query.status,
        span: Span::new(query.from, query.to).map_err(MonitoringError::from)?,
    };
    let rows = actions::list_security_events(context.db(), &caller, filter, before, query.limit).await?;
    let entries = rows.into_iter().map(SecurityEventEntry::from).collect();
    Ok(Json(Page::cut(entries, query.limit, |entry: &SecurityEventEntry| entry.id)?))
}
