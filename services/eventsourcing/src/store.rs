//! The SQL of schema `eventsourcing` that `core::db` does not own. It writes no row: units of work append events,
//! the sequencer gives positions.

use nsl_core::ids::TenantId;
use serde_json::Value;

nsl_core::row! {
    pub struct Waiting { pub adopted: bool, pub waiting: i64, pub oldest_seconds: Option<f64> }
}
nsl_core::row! {
    pub struct Month { pub month: String }
}
nsl_core::row! {
    pub struct Made { pub made: i32 }
}

nsl_core::row! {
    /// An event of a stream.
    pub struct Event { pub stream: String, pub version: i64, pub kind: String, pub data: Value }
}

nsl_core::queries! {
    /// One probe of the index for each stream, however many events it has. The limit stands inside, so that no more streams
    /// are looked for than are wanted.
    pub fn heads(tenant: TenantId, from: &str, until: &str, after: &str, limit: i64) -> many<Event> =
        "WITH RECURSIVE names AS ( \
             SELECT (SELECT e.stream FROM eventsourcing.events e \
                     WHERE e.tenant_id = $1 AND e.stream >= $2::text COLLATE \"C\" AND e.stream < $3::text COLLATE \"C\" \
                       AND e.stream > $4::text COLLATE \"C\" ORDER BY e.stream LIMIT 1) AS stream \
             UNION ALL \
             SELECT (SELECT e.stream FROM eventsourcing.events e \
                     WHERE e.tenant_id = $1 AND e.stream > n.stream AND e.stream < $3::text COLLATE \"C\" \
                     ORDER BY e.stream LIMIT 1) \
             FROM names n WHERE n.stream IS NOT NULL) \
         SELECT last.stream, last.version, last.kind, last.data \
         FROM (SELECT names.stream FROM names WHERE names.stream IS NOT NULL LIMIT $5) AS n \
         CROSS JOIN LATERAL (SELECT e.stream, e.version, e.type AS kind, e.data FROM eventsourcing.events e \
                             WHERE e.tenant_id = $1 AND e.stream = n.stream ORDER BY e.version DESC LIMIT 1) AS last \
         ORDER BY last.stream";

    pub fn heads_of(tenant: TenantId, streams: &[String]) -> many<Event> =
        "SELECT last.stream, last.version, last.kind, last.data \
         FROM unnest($2::text[]) AS n (stream) \
         CROSS JOIN LATERAL (SELECT e.stream, e.version, e.type AS kind, e.data FROM eventsourcing.events e \
                             WHERE e.tenant_id = $1 AND e.stream = n.stream ORDER BY e.version DESC LIMIT 1) AS last";

    pub fn event(tenant: TenantId, stream: &str, version: i64) -> opt<Event> =
        "SELECT stream, version, type AS kind, data FROM eventsourcing.events \
         WHERE tenant_id = $1 AND stream = $2 AND version = $3 LIMIT 1";

    pub fn containing(tenant: TenantId, from: &str, until: &str, data: &Value) -> opt<Event> =
        "SELECT stream, version, type AS kind, data FROM eventsourcing.events \
         WHERE tenant_id = $1 AND stream >= $2::text COLLATE \"C\" AND stream < $3::text COLLATE \"C\" AND data @> $4 \
         LIMIT 1";

    /// At most `most` rows from the sequencer's cursor on are looked at. They are taken first and by the index, so that
    /// the planner has no reason to join the whole log.
    pub fn waiting(most: i64) -> one<Waiting> =
        "WITH state AS MATERIALIZED ( \
             SELECT s.cursor, s.system_identifier IS NOT DISTINCT FROM c.system_identifier AS adopted \
             FROM eventsourcing.sequencer s, pg_catalog.pg_control_system() c), \
         recent AS MATERIALIZED ( \
             SELECT e.id, e.recorded_at FROM eventsourcing.events e \
             WHERE e.xid >= (SELECT state.cursor FROM state) ORDER BY e.xid, e.id LIMIT $1), \
         left_over AS ( \
             SELECT r.recorded_at FROM recent r \
             WHERE NOT EXISTS (SELECT FROM eventsourcing.log l WHERE l.event_id = r.id)) \
         SELECT (SELECT state.adopted FROM state) AS adopted, count(*) AS waiting, \
                extract(epoch FROM now() - min(o.recorded_at))::float8 AS oldest_seconds \
         FROM left_over o";

    /// Of this month and the next, those without a partition. Months begin in UTC, as core.ensure_partitions says.
    pub fn missing_partitions() -> many<Month> =
        "SELECT pg_catalog.to_char(m.first, 'YYYY-MM') AS month \
         FROM (SELECT pg_catalog.date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month' AS first \
               FROM pg_catalog.generate_series(0, 1) AS n) AS m \
         WHERE NOT EXISTS ( \
             SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = 'eventsourcing.events'::pg_catalog.regclass \
               AND c.relname = pg_catalog.to_char(m.first, '\"events_y\"YYYY\"m\"MM')) \
         ORDER BY month";

    pub fn ensure_partitions() -> one<Made> = "SELECT core.ensure_partitions('eventsourcing.events', 3) AS made";
}
