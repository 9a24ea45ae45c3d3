//! Dense positions for events (`eventsourcing.log`) and audit rows (`monitoring.audit_leaves`).
//!
//! Rows carry the transaction id (`xid8`) that wrote them. One sequencer takes rows below the horizon
//! `pg_snapshot_xmin(pg_current_snapshot())`: every transaction below it has ended, so no row can appear there later.
//! Positions are dense and given in the order of (xid, id), with one correction: an append that waited for another
//! one's head row can have the lower xid and the higher version, so a row never goes before, nor without, an earlier
//! version of its stream.
//!
//! Readers, proofs, checkpoints and retention use positions only. An xid dies at a restore into another cluster: the
//! state names the cluster that its cursor belongs to, and in another one the sequencer first takes all leftovers.

use std::time::Duration;

use nsl_crypto::aad::Aad;
use nsl_crypto::merkle::leaf_hash;
use serde_json::Value;
use uuid::Uuid;

use super::lease::Lease;
use super::{Db, DbError, Login, UnitOfWork};
use crate::caller::Caller;
use crate::ids::TenantId;
use crate::jobs::{JobError, Jobs};

/// How many rows a step takes; a larger transaction is taken whole.
const STEP: i64 = 4096;
/// The sequencer steps when this process wrote something, and at the latest after this pause.
const PERIOD: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_secs(5);

crate::row! {
    struct State { system_identifier: Option<i64>, current_system: i64 }
}
crate::row! {
    struct AuditState { system_identifier: Option<i64>, current_system: i64, horizon: String }
}
crate::row! {
    struct Taken { taken: i64 }
}
crate::row! {
    struct AuditEntry {
        id: Uuid, tenant_id: TenantId, service_name: String, action: String, resource_type: Option<String>,
        resource_id: Option<String>, user_id: Option<Uuid>, actor: String, session_id: Option<String>,
        ip_address: Option<String>, user_agent: Option<String>, request_id: Option<String>, at_us: Option<i64>,
        result: String, details: Option<String>, before_state: Option<String>, after_state: Option<String>,
        metadata: Option<String>, next_leaf_index: i64, upper_xid: Option<String>,
    }
}
crate::row! {
    /// One event in its place.
    pub struct Positioned {
        pub position: i64, pub id: Uuid, pub tenant_id: TenantId, pub stream: String, pub version: i64, pub kind: String,
        pub type_version: i32, pub data: Value, pub metadata: Value, pub recorded_at: jiff::Timestamp,
    }
}

crate::queries! {
    fn lock_events() -> one<State> =
        "SELECT s.system_identifier, (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c) AS current_system \
         FROM eventsourcing.sequencer s FOR UPDATE OF s";

    /// `bound` is one past the last xid taken; a step that would cut a transaction takes it whole. `chain` adds earlier
    /// versions from beyond the bound. One from beyond the horizon is not taken yet, and what follows it waits.
    ///
    /// Bounds and the look into the log are scalar sub-selects: a range of the index, and one probe for each row of it.
    /// Joins could be planned as scans of all events and a hash of the whole log.
    fn take_events(step: i64) -> one<Taken> =
        "WITH RECURSIVE state AS MATERIALIZED ( \
             SELECT s.next_position, s.cursor, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS horizon \
             FROM eventsourcing.sequencer s), \
         bound AS MATERIALIZED ( \
             SELECT coalesce((SELECT ((e.xid::text::bigint + 1)::text)::xid8 \
                     FROM eventsourcing.events e \
                     WHERE e.xid >= (SELECT cursor FROM state) AND e.xid < (SELECT horizon FROM state) \
                       AND (SELECT l.position FROM eventsourcing.log l WHERE l.event_id = e.id) IS NULL \
                     ORDER BY e.xid OFFSET $1 LIMIT 1), \
                 (SELECT horizon FROM state)) AS upper), \
         chain AS ( \
             SELECT e.id, e.tenant_id, e.stream, e.version, e.xid \
             FROM eventsourcing.events e \
             WHERE e.xid >= (SELECT cursor FROM state) AND e.xid < (SELECT upper FROM bound) \
               AND (SELECT l.position FROM eventsourcing.log l WHERE l.event_id = e.id) IS NULL \
             UNION \
             SELECT p.id, c.tenant_id, c.stream, p.version, p.xid \
             FROM chain c CROSS JOIN LATERAL ( \
                 SELECT e.id, e.version, e.xid FROM eventsourcing.events e \
                 WHERE e.tenant_id = c.tenant_id AND e.stream = c.stream AND e.version = c.version - 1 LIMIT 1) p \
             WHERE p.xid >= (SELECT upper FROM bound) \
               AND (SELECT l.position FROM eventsourcing.log l WHERE l.event_id = p.id) IS NULL), \
         in_stream AS MATERIALIZED ( \
             SELECT f.id, f.tenant_id, f.version, f.xid, \
                    bool_or(f.xid >= (SELECT horizon FROM state)) OVER earlier AS waits, \
                    max(f.place) OVER earlier AS turn \
             FROM (SELECT c.*, row_number() OVER (ORDER BY c.xid, c.id) AS place FROM chain c) f \
             WINDOW earlier AS (PARTITION BY f.tenant_id, f.stream ORDER BY f.version)), \
         placed AS ( \
             INSERT INTO eventsourcing.log (position, event_id, tenant_id) \
             SELECT (SELECT next_position FROM state) - 1 + row_number() OVER (ORDER BY i.turn, i.version), \
                    i.id, i.tenant_id \
             FROM in_stream i WHERE NOT i.waits \
             RETURNING position), \
         moved AS ( \
             UPDATE eventsourcing.sequencer s SET next_position = s.next_position + (SELECT count(*) FROM placed), \
                 cursor = least((SELECT upper FROM bound), \
                     (SELECT i.xid FROM in_stream i WHERE i.waits ORDER BY i.xid LIMIT 1)), \
                 updated_at = now() \
             WHERE EXISTS (SELECT FROM placed) \
             RETURNING 1) \
         SELECT (SELECT count(*) FROM placed) AS taken";

    /// After a restore into another cluster: everything that has no position yet, in the order of the old cluster.
    fn take_leftover_events(system_identifier: i64) -> one<Taken> =
        "WITH left_over AS MATERIALIZED ( \
             SELECT e.id, e.tenant_id, e.version, max(e.place) OVER \
                        (PARTITION BY e.tenant_id, e.stream ORDER BY e.version) AS turn \
             FROM (SELECT e.*, row_number() OVER (ORDER BY e.xid, e.id) AS place FROM eventsourcing.events e \
                   WHERE NOT EXISTS (SELECT FROM eventsourcing.log l WHERE l.event_id = e.id)) e), \
         placed AS ( \
             INSERT INTO eventsourcing.log (position, event_id, tenant_id) \
             SELECT s.next_position - 1 + row_number() OVER (ORDER BY o.turn, o.version), o.id, o.tenant_id \
             FROM left_over o, eventsourcing.sequencer s \
             RETURNING position), \
         moved AS ( \
             UPDATE eventsourcing.sequencer s SET next_position = s.next_position + (SELECT count(*) FROM placed), \
                 cursor = pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()), \
                 system_identifier = $1, updated_at = now() \
             RETURNING 1) \
         SELECT (SELECT count(*) FROM placed) AS taken";

    fn announce(channel: &str) -> exec = "SELECT pg_catalog.pg_notify($1, '')";

    /// The horizon is that of this statement: nothing below it can be missed by the next, whose snapshot is later.
    fn lock_audits() -> one<AuditState> =
        "SELECT s.system_identifier, (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c) AS current_system, \
                pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text AS horizon \
         FROM monitoring.audit_sequencer s FOR UPDATE OF s";

    /// With `leftovers` neither cursor nor horizon is looked at. The rows to hash, and where the cursor goes after them.
    fn find_audits(step: i64, leftovers: bool) -> many<AuditEntry> =
        "WITH state AS MATERIALIZED ( \
             SELECT s.next_leaf_index, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS horizon, \
                    CASE WHEN $2::bool THEN '0'::xid8 ELSE s.cursor END AS lower \
             FROM monitoring.audit_sequencer s), \
         bound AS MATERIALIZED ( \
             SELECT CASE WHEN $2::bool THEN '18446744073709551615'::xid8 ELSE coalesce( \
                 (SELECT ((a.xid::text::bigint + 1)::text)::xid8 \
                     FROM monitoring.audit_logs a \
                     WHERE a.xid >= (SELECT lower FROM state) AND a.xid < (SELECT horizon FROM state) \
                       AND (SELECT l.leaf_index FROM monitoring.audit_leaves l WHERE l.audit_id = a.id) IS NULL \
                     ORDER BY a.xid OFFSET $1 LIMIT 1), \
                 (SELECT horizon FROM state)) END AS upper) \
         SELECT a.id, a.tenant_id, a.service_name::text AS service_name, a.action::text AS action, \
                a.resource_type::text AS resource_type, a.resource_id, a.user_id, \
                a.actor, a.session_id, a.ip_address, a.user_agent, a.request_id, \
                (extract(epoch FROM a.\"timestamp\") * 1000000)::bigint AS at_us, a.result, a.details, \
                a.before_state::text AS before_state, a.after_state::text AS after_state, a.metadata::text AS metadata, \
                (SELECT next_leaf_index FROM state) AS next_leaf_index, \
                least((SELECT horizon FROM state), (SELECT upper FROM bound))::text AS upper_xid \
         FROM monitoring.audit_logs a \
         WHERE a.xid >= (SELECT lower FROM state) AND a.xid < (SELECT upper FROM bound) \
           AND (SELECT l.leaf_index FROM monitoring.audit_leaves l WHERE l.audit_id = a.id) IS NULL \
         ORDER BY a.xid, a.id";

    fn add_leaves(indexes: &[i64], audits: &[Uuid], tenants: &[TenantId], hashes: &[&[u8]]) -> exec =
        "INSERT INTO monitoring.audit_leaves (leaf_index, audit_id, tenant_id, leaf_hash) \
         SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::bytea[])";

    fn move_audits(next: i64, upper_xid: &str, system_identifier: i64) -> exec =
        "UPDATE monitoring.audit_sequencer SET next_leaf_index = $1, cursor = ($2::text)::xid8, \
             system_identifier = $3, updated_at = now()";

    /// Without rows to take, the new cluster is noted all the same.
    fn adopt_audits(system_identifier: i64, horizon: &str) -> exec =
        "UPDATE monitoring.audit_sequencer SET system_identifier = $1, cursor = ($2::text)::xid8, updated_at = now()";

    /// At most 10,000 are counted: health asks whether it is many, not how many.
    fn count_backlog() -> one<Taken> =
        "SELECT count(*) AS taken FROM (SELECT FROM eventsourcing.events e \
             WHERE e.xid >= (SELECT cursor FROM eventsourcing.sequencer) \
               AND (SELECT l.position FROM eventsourcing.log l WHERE l.event_id = e.id) IS NULL \
             LIMIT 10000) AS waiting";

    /// Events of one tenant after a position, in order.
    pub fn read_events(tenant: TenantId, after: i64, limit: i64) -> many<Positioned> =
        "SELECT l.position, e.id, e.tenant_id, e.stream, e.version, e.type AS kind, e.type_version, e.data, e.metadata, \
                e.recorded_at \
         FROM eventsourcing.log l JOIN eventsourcing.events e ON e.tenant_id = l.tenant_id AND e.id = l.event_id \
         WHERE l.tenant_id = $1 AND l.position > $2 ORDER BY l.position LIMIT $3";
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub events: i64,
    pub audits: i64,
}

/// Starts the sequencer as a job of whoever holds its lease.
pub fn start(jobs: &Jobs, db: &Db) {
    let lease = Lease::new(db, Login::Jobs, "core.sequencer", LEASE);
    let db = db.clone();
    jobs.every_single(lease, "core.sequencer", Duration::from_millis(20), move || {
        let db = db.clone();
        async move {
            // Woken by this process's commits; another process's are found at the next period.
            let _either = tokio::time::timeout(PERIOD, db.recorded().notified()).await;
            while step(&db).await?.more() {}
            Ok::<(), JobError>(())
        }
    });
}

impl Step {
    fn more(self) -> bool {
        self.events >= STEP || self.audits >= STEP
    }
}

/// Takes the next rows. Safe to run twice at once: the state's row lock makes the second wait.
pub async fn step(db: &Db) -> Result<Step, DbError> {
    let system = Caller::system(TenantId::DEFAULT, "sequencer");
    let work = db.begin(Login::Jobs, &system).await?;
    let events = step_events(&work).await?;
    let audits = step_audits(&work).await?;
    if events + audits == 0 {
        // An idle step writes nothing; what it adopted of a new cluster is kept.
        work.commit().await?;
        return Ok(Step::default());
    }
    if events > 0 {
        announce(&work, "nsl_events").await?;
    }
    if audits > 0 {
        announce(&work, "nsl_audit").await?;
    }
    work.commit().await?;
    metrics::counter!("nsl_sequencer_events_total").increment(u64::try_from(events).unwrap_or_default());
    metrics::counter!("nsl_sequencer_audits_total").increment(u64::try_from(audits).unwrap_or_default());
    Ok(Step { events, audits })
}

async fn step_events(work: &UnitOfWork<'_>) -> Result<i64, DbError> {
    // The lock first and alone: the next statement's snapshot then shows what another sequencer committed.
    let state = lock_events(work).await?;
    if state.system_identifier == Some(state.current_system) {
        return Ok(take_events(work, STEP).await?.taken);
    }
    if state.system_identifier.is_some() {
        tracing::warn!(
            "the database was restored into another cluster: events without a position get theirs now"
        );
    }
    Ok(take_leftover_events(work, state.current_system).await?.taken)
}

async fn step_audits(work: &UnitOfWork<'_>) -> Result<i64, DbError> {
    let state = lock_audits(work).await?;
    let leftovers = state.system_identifier != Some(state.current_system);
    let entries = find_audits(work, STEP, leftovers).await?;
    let Some(first) = entries.first() else {
        if leftovers {
            adopt_audits(work, state.current_system, &state.horizon).await?;
        }
        return Ok(0);
    };
    let next = first.next_leaf_index;
    let upper = first.upper_xid.clone().unwrap_or_default();
    let count = i64::try_from(entries.len()).unwrap_or_default();
    let hashes: Vec<[u8; 32]> = entries.iter().map(|entry| leaf_hash(&entry.leaf())).collect();
    let indexes: Vec<i64> = (next..next + count).collect();
    let audits: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
    let tenants: Vec<TenantId> = entries.iter().map(|entry| entry.tenant_id).collect();
    let hash_slices: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    add_leaves(work, &indexes, &audits, &tenants, &hash_slices).await?;
    move_audits(work, next + count, &upper, state.current_system).await?;
    Ok(count)
}

impl AuditEntry {
    /// The bytes that the leaf hash covers: every column that a reader sees, length-prefixed, JSON as PostgreSQL
    /// prints jsonb. The rendering of an absent value differs from every present one.
    fn leaf(&self) -> Vec<u8> {
        let optional = |leaf: Aad, value: Option<&str>| match value {
            Some(text) => leaf.number(1).text(text),
            None => leaf.number(0),
        };
        let user = self.user_id.map(|id| id.to_string());
        let mut leaf = Aad::new("nsl.audit-leaf.v1")
            .bytes(self.id.as_bytes())
            .bytes(self.tenant_id.0.as_bytes())
            .number(u64::try_from(self.at_us.unwrap_or_default()).unwrap_or_default())
            .text(&self.service_name)
            .text(&self.action)
            .text(&self.actor)
            .text(&self.result);
        for value in [
            self.resource_type.as_deref(),
            self.resource_id.as_deref(),
            user.as_deref(),
            self.session_id.as_deref(),
            self.ip_address.as_deref(),
            self.user_agent.as_deref(),
            self.request_id.as_deref(),
            self.details.as_deref(),
            self.before_state.as_deref(),
            self.after_state.as_deref(),
            self.metadata.as_deref(),
        ] {
            leaf = optional(leaf, value);
        }
        leaf.encoded().to_vec()
    }
}

/// How many rows wait for a position, for health.
pub async fn backlog(db: &Db) -> Result<i64, DbError> {
    Ok(count_backlog(&db.global(Login::Jobs)).await?.taken)
}
