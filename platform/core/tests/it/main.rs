//! The ground on a real PostgreSQL: statements, transactions, group commit, the sequencer, migrations, roles.
//! The unit tests of each module stand in its file.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// Group commit: each of its rules, and each way in which it fails.
mod group;
/// `docker/postgres/init.sql` by psql, as each of the users that the guide knows.
mod init_sql;
/// The migration runner.
mod migrate;
/// A forwarder that cuts connections at a chosen message.
mod proxy;
/// A dump of one cluster, restored into another.
mod restore;
/// What each role can and cannot do.
mod roles;
/// Positions of events and leaves of audit rows.
mod sequencer;
/// The check of statements, and the statements of this crate.
mod sql;
/// Units of work and single statements.
mod uow;

use std::time::Duration;

use nsl_core::Caller;
use nsl_core::db::sql::Conn as _;
use nsl_core::db::{Audit, AuditResult, Db, DbError, DomainEvent, Login};
use nsl_core::ids::TenantId;
use nsl_testkit::TestDb;
use serde::Serialize;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

/// An event of no service.
#[derive(Serialize)]
struct Happened {
    what: String,
}

impl DomainEvent for Happened {
    const TYPE: &'static str = "core.happened";
}

fn caller(tenant: TenantId) -> Caller {
    Caller::system(tenant, "test")
}

fn audit(what: &str) -> Audit {
    Audit::new("core", "TEST", "thing", what, AuditResult::Success)
}

/// One event and one audit row in a transaction of their own.
async fn append(db: &Db, tenant: TenantId, stream: &str, what: &str) -> Result<(), DbError> {
    let caller = caller(tenant);
    let mut work = db.begin(Login::Api, &caller).await?;
    work.event(stream, &Happened { what: what.to_owned() })?;
    work.audit(audit(what));
    work.commit().await
}

nsl_core::row! {
    struct Total { amount: i64 }
}
nsl_core::queries! {
    fn put(tenant: TenantId, name: &str, amount: i64) -> exec =
        "INSERT INTO core.counters (tenant_id, name, amount) VALUES ($1, $2, $3)";
    fn raise_all(by: i64) -> exec = "UPDATE core.counters SET amount = amount + $1";
    fn find(name: &str) -> opt<Total> = "SELECT amount FROM core.counters WHERE name = $1";
    fn sleep_long() -> exec = "SELECT pg_catalog.pg_sleep(20)";
}

/// A tenant-owned table of the tests, with the rights that a service would state.
async fn add_counters(test: &TestDb) {
    let owner = test.client("neo_user").await.unwrap();
    owner
        .batch_execute(
            "CREATE TABLE core.counters (tenant_id uuid NOT NULL, name text NOT NULL, amount bigint NOT NULL, \
                 CONSTRAINT counters_pkey PRIMARY KEY (tenant_id, name), \
                 CONSTRAINT counters_amount_check CHECK (amount >= 0)); \
             GRANT SELECT, INSERT, UPDATE ON core.counters TO neo_api; \
             SELECT core.isolate('core.counters', '{neo_api}')",
        )
        .await
        .unwrap();
}

/// A counter as it stands in the table, whatever its tenant.
async fn counter(test: &TestDb, tenant: TenantId, name: &str) -> Option<i64> {
    let owner = test.client("neo_user").await.unwrap();
    let row = owner
        .query_opt("SELECT amount FROM core.counters WHERE tenant_id = $1 AND name = $2", &[&tenant, &name])
        .await
        .unwrap();
    row.map(|row| row.get(0))
}

async fn count(test: &TestDb, table: &str) -> i64 {
    let owner = test.client("neo_user").await.unwrap();
    owner.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// Every event in its order: stream, version, id.
async fn ordered(test: &TestDb) -> Vec<(String, i64, Uuid)> {
    let owner = test.client("neo_user").await.unwrap();
    let rows = owner
        .query(
            "SELECT l.position, e.stream, e.version, e.id FROM eventsourcing.log l \
             JOIN eventsourcing.events e ON e.tenant_id = l.tenant_id AND e.id = l.event_id ORDER BY l.position",
            &[],
        )
        .await
        .unwrap();
    for (row, position) in rows.iter().zip(1_i64..) {
        assert_eq!(row.get::<_, i64>(0), position, "positions are dense from 1");
    }
    rows.iter().map(|row| (row.get(1), row.get(2), row.get(3))).collect()
}

/// Each stream's versions stand in their order, without a gap.
fn assert_versions_in_order(events: &[(String, i64, Uuid)]) {
    let mut last = std::collections::HashMap::new();
    for (stream, version, _) in events {
        let before = last.insert(stream, *version).unwrap_or(0);
        assert_eq!(before + 1, *version, "{stream}");
    }
}
