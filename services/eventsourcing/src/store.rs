//! The SQL of schema `eventsourcing` that `core::db` does not own. It writes no row: units of work append events,
//! the sequencer gives positions.

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
