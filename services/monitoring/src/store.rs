//! The SQL of schema `monitoring` that `core::db` does not own: reading audit rows, security events, and what health
//! and the partitions need. It writes no audit row: units of work do.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    pub struct AuditLogRow {
        pub id: Uuid, pub service_name: String, pub action: String, pub resource_type: Option<String>,
        pub resource_id: Option<String>, pub user_id: Option<UserId>, pub actor: String,
        pub session_id: Option<String>, pub ip_address: Option<String>, pub user_agent: Option<String>,
        pub request_id: Option<String>, pub timestamp: Timestamp, pub result: String, pub details: Option<String>,
        pub metadata: Value,
    }
}
nsl_core::row! {
    pub struct SecurityEventRow {
        pub id: Uuid, pub event_type: String, pub severity: String, pub source: String, pub description: String,
        pub ip_address: Option<String>, pub user_id: Option<UserId>, pub session_id: Option<String>,
        pub timestamp: Timestamp, pub status: String, pub resolved_at: Option<Timestamp>,
        pub resolved_by: Option<UserId>, pub resolution: Option<String>, pub event_data: Value,
    }
}
nsl_core::row! {
    pub struct Waiting { pub adopted: bool, pub waiting: i64, pub oldest_seconds: Option<f64> }
}
nsl_core::row! {
    pub struct Month { pub month: String }
}
nsl_core::row! {
    pub struct Made { pub made: i32 }
}

nsl_core::queries! {
    /// Newest first, from below the id `before`. Both bounds are of the id alone: the primary key serves them and
    /// partitions are pruned. `least` and `greatest` pass over what is NULL. `coalesce` would do the same and make a
    /// filter of it that reads all newer rows: under row-level security the planner trusts no clause that holds one.

    pub fn audit_logs(
        tenant: TenantId, before: Uuid, from: Option<Timestamp>, to: Option<Timestamp>, service: Option<&str>,
        action: Option<&str>, result: Option<&str>, resource_id: Option<&str>, limit: i64,
    ) -> many<AuditLogRow> =
        "SELECT a.id, a.service_name, a.action, a.resource_type, a.resource_id, a.user_id, a.actor, a.session_id, \
                a.ip_address, a.user_agent, a.request_id, a.\"timestamp\", a.result, a.details, a.metadata \
         FROM monitoring.audit_logs a \
         WHERE a.tenant_id = $1 \
           AND a.id < least($2::uuid, core.uuid_at($4::timestamptz)) \
           AND a.id >= greatest('00000000-0000-0000-0000-000000000000', core.uuid_at($3::timestamptz)) \
           AND ($5::text IS NULL OR a.service_name = $5) \
           AND ($6::text IS NULL OR a.action = $6) \
           AND ($7::text IS NULL OR a.result = $7) \
           AND ($8::text IS NULL OR a.resource_id = $8) \
         ORDER BY a.id DESC LIMIT $9";

    /// Newest first, from below the id `before`; the bounds are as in `audit_logs`.

    pub fn security_events(
        tenant: TenantId, before: Uuid, from: Option<Timestamp>, to: Option<Timestamp>, severity: Option<&str>,
        status: Option<&str>, limit: i64,
    ) -> many<SecurityEventRow> =
        "SELECT e.id, e.event_type, e.severity, e.source, e.description, e.ip_address, e.user_id, e.session_id, \
                e.\"timestamp\", e.status, e.resolved_at, e.resolved_by, e.resolution, e.event_data \
         FROM monitoring.security_events e \
         WHERE e.tenant_id = $1 \
           AND e.id < least($2::uuid, core.uuid_at($4::timestamptz)) \
           AND e.id >= greatest('00000000-0000-0000-0000-000000000000', core.uuid_at($3::timestamptz)) \
           AND ($5::text IS NULL OR e.severity = $5) \
           AND ($6::text IS NULL OR e.status = $6) \
         ORDER BY e.id DESC LIMIT $7";

    /// Without RETURNING: neo_enclave may not read the table.

    pub fn add_security_event(
        id: Uuid, tenant: TenantId, event_type: &str, severity: &str, source: &str, description: &str,
        ip_address: Option<&str>, user: Option<UserId>, session_id: Option<&str>, event_data: &Value,
    ) -> exec =
        "INSERT INTO monitoring.security_events (id, tenant_id, event_type, severity, source, description, ip_address, \
                user_id, session_id, event_data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

    /// At most `most` rows from the sequencer's cursor on are looked at. They are taken first and by the index, so that
    /// the planner has no reason to join all leaves.
    pub fn waiting(most: i64) -> one<Waiting> =
        "WITH state AS MATERIALIZED ( \
             SELECT s.cursor, s.system_identifier IS NOT DISTINCT FROM c.system_identifier AS adopted \
             FROM monitoring.audit_sequencer s, pg_catalog.pg_control_system() c), \
         recent AS MATERIALIZED ( \
             SELECT a.id, a.\"timestamp\" FROM monitoring.audit_logs a \
             WHERE a.xid >= (SELECT state.cursor FROM state) ORDER BY a.xid, a.id LIMIT $1), \
         left_over AS ( \
             SELECT r.\"timestamp\" FROM recent r \
             WHERE NOT EXISTS (SELECT FROM monitoring.audit_leaves l WHERE l.audit_id = r.id)) \
         SELECT (SELECT state.adopted FROM state) AS adopted, count(*) AS waiting, \
                extract(epoch FROM now() - min(o.\"timestamp\"))::float8 AS oldest_seconds \
         FROM left_over o";

    /// Of this month and the next, those without a partition. Months begin in UTC, as core.ensure_partitions says.
    pub fn missing_partitions() -> many<Month> =
        "SELECT pg_catalog.to_char(m.first, 'YYYY-MM') AS month \
         FROM (SELECT pg_catalog.date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month' AS first \
               FROM pg_catalog.generate_series(0, 1) AS n) AS m \
         WHERE NOT EXISTS ( \
             SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = 'monitoring.audit_logs'::pg_catalog.regclass \
               AND c.relname = pg_catalog.to_char(m.first, '\"audit_logs_y\"YYYY\"m\"MM')) \
         ORDER BY month";

    pub fn ensure_partitions() -> one<Made> = "SELECT core.ensure_partitions('monitoring.audit_logs', 3) AS made";
}
