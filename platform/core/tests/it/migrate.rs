//! The migration runner.

use nsl_core::db::migrate::{MIGRATIONS, MigrateError, Migration, level, migrate, ready};
use nsl_testkit::{Cluster, eventually};
use tokio_postgres::Client;

use super::*;

/// A version that ours will not reach.
const LATER: i64 = 999_901_010_000;

/// A database that neo_user owns, with nothing in it.
struct Empty {
    test: TestDb,
    owner: Client,
}

impl Empty {
    async fn new() -> Self {
        let test = TestDb::empty_on(&Cluster::shared().await.unwrap()).await.unwrap();
        let owner = test.client("neo_user").await.unwrap();
        Self { test, owner }
    }

    async fn is_there(&self, relation: &str) -> bool {
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        self.owner.query_one(sql, &[&relation]).await.unwrap().get(0)
    }
}

fn versions(migrations: &[Migration]) -> Vec<i64> {
    migrations.iter().map(|migration| migration.version).collect()
}

/// Ours, then these.
fn ours_and(more: &[Migration]) -> Vec<Migration> {
    [MIGRATIONS, more].concat()
}

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let empty = Empty::new().await;
    assert!(matches!(ready(&empty.owner, MIGRATIONS).await, Err(MigrateError::Empty)));
    assert_eq!(level(&empty.owner, MIGRATIONS).await.unwrap().pending, versions(MIGRATIONS));
    assert_eq!(migrate(&empty.owner, MIGRATIONS).await.unwrap(), versions(MIGRATIONS));
    let history = "SELECT array_agg((version, applied_at)::text ORDER BY version) FROM core.migrations";
    let before: Vec<String> = empty.owner.query_one(history, &[]).await.unwrap().get(0);
    assert_eq!(migrate(&empty.owner, MIGRATIONS).await.unwrap(), Vec::<i64>::new());
    assert_eq!(empty.owner.query_one(history, &[]).await.unwrap().get::<_, Vec<String>>(0), before);
    let level = ready(&empty.owner, MIGRATIONS).await.unwrap();
    assert_eq!((level.level, level.pending.len()), (level.ours, 0));
    // A serving process may ask too.
    let api = empty.test.client("neo_api").await.unwrap();
    assert_eq!(ready(&api, MIGRATIONS).await.unwrap(), level);
}

#[tokio::test]
async fn two_runners_at_once_apply_everything_once() {
    let empty = Empty::new().await;
    let other = empty.test.client("neo_user").await.unwrap();
    let (one, two) = tokio::join!(migrate(&empty.owner, MIGRATIONS), migrate(&other, MIGRATIONS));
    let mut applied = [one.unwrap(), two.unwrap()];
    applied.sort();
    assert_eq!(applied, [Vec::new(), versions(MIGRATIONS)]);
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let empty = Empty::new().await;
    migrate(&empty.owner, MIGRATIONS).await.unwrap();
    let mut changed = MIGRATIONS.to_vec();
    changed[1].sql = "SELECT 1";
    let later = Migration { version: LATER, name: "core_later", sql: "CREATE TABLE core.later ()" };
    changed.push(later);
    let error = migrate(&empty.owner, &changed).await.unwrap_err();
    assert!(
        matches!(error, MigrateError::Drift { version, .. } if version == MIGRATIONS[1].version),
        "{error}"
    );
    assert!(!empty.is_there("core.later").await);
    assert!(matches!(ready(&empty.owner, &changed).await, Err(MigrateError::Drift { .. })));
}

#[tokio::test]
async fn a_newer_database_is_served_down_to_its_minimum_level() {
    let empty = Empty::new().await;
    let compatible = Migration { version: LATER, name: "core_a", sql: "CREATE TABLE core.a ()" };
    let newer = ours_and(&[compatible]);
    migrate(&empty.owner, &newer).await.unwrap();
    // This program knows nothing of it, and it does not mind.
    assert_eq!(ready(&empty.owner, MIGRATIONS).await.unwrap().level, compatible.version);
    assert_eq!(migrate(&empty.owner, MIGRATIONS).await.unwrap(), Vec::<i64>::new());

    let breaking = Migration {
        version: LATER + 1,
        name: "core_b",
        sql: "-- nsl: minimum-level 999901010000\nDROP TABLE core.a",
    };
    migrate(&empty.owner, &ours_and(&[compatible, breaking])).await.unwrap();
    for refused in
        [ready(&empty.owner, MIGRATIONS).await.map(drop), migrate(&empty.owner, MIGRATIONS).await.map(drop)]
    {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, MigrateError::TooNew { level, minimum, .. }
                if level == breaking.version && minimum == compatible.version),
            "{error}"
        );
    }
    // The version before it still can.
    ready(&empty.owner, &newer).await.unwrap();
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_and_can_be_corrected() {
    let empty = Empty::new().await;
    let good = Migration { version: LATER, name: "core_good", sql: "CREATE TABLE core.good ()" };
    let version = LATER + 1;
    let wrong =
        Migration { version, name: "core_wrong", sql: "CREATE TABLE core.wrong (n int); SELECT 1 / 0;" };
    let error = migrate(&empty.owner, &ours_and(&[good, wrong])).await.unwrap_err();
    assert!(
        error.to_string().contains("core_wrong") && error.to_string().contains("division by zero"),
        "{error}"
    );
    assert!(empty.is_there("core.good").await && !empty.is_there("core.wrong").await);
    assert!(matches!(ready(&empty.owner, &ours_and(&[good, wrong])).await, Err(MigrateError::Behind { .. })));
    let corrected = Migration { sql: "CREATE TABLE core.wrong (n int)", ..wrong };
    assert_eq!(migrate(&empty.owner, &ours_and(&[good, corrected])).await.unwrap(), [version]);
    assert!(empty.is_there("core.wrong").await);
}

/// Waiting in `pg_advisory_lock` would deadlock with it: the waiter's snapshot is one that the index waits for.
#[tokio::test]
async fn an_index_is_built_concurrently_while_another_runner_waits() {
    let empty = Empty::new().await;
    let table = Migration { version: LATER, name: "core_t", sql: "CREATE TABLE core.t (n int)" };
    let index = Migration {
        version: LATER + 1,
        name: "core_t_index",
        sql: "-- nsl: no-transaction\nCREATE INDEX CONCURRENTLY t_n_idx ON core.t (n)",
    };
    migrate(&empty.owner, &ours_and(&[table])).await.unwrap();
    // A writer keeps the index waiting until the second runner is there.
    let writer = empty.test.client("neo_user").await.unwrap();
    writer.batch_execute("BEGIN; INSERT INTO core.t VALUES (1)").await.unwrap();
    let other = empty.test.client("neo_user").await.unwrap();
    let all = ours_and(&[table, index]);
    let observer = empty.test.client("postgres").await.unwrap();
    let release = async {
        let both = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() \
                    AND (query LIKE '%try_advisory_lock%' OR query LIKE '%INDEX CONCURRENTLY%' AND wait_event = 'virtualxid') \
                    AND pid <> pg_backend_pid()";
        eventually(LIMIT, "one builds and one waits", async || {
            observer.query_one(both, &[]).await.unwrap().get::<_, i64>(0) == 2
        })
        .await;
        writer.batch_execute("COMMIT").await.unwrap();
    };
    let (one, two, ()) = tokio::join!(migrate(&empty.owner, &all), migrate(&other, &all), release);
    let mut applied = [one.unwrap(), two.unwrap()];
    applied.sort();
    assert_eq!(applied, [vec![], vec![index.version]]);
    let valid = "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = 'core.t_n_idx'::regclass";
    assert!(empty.owner.query_one(valid, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn an_index_that_could_not_be_built_is_named() {
    let empty = Empty::new().await;
    let table = Migration {
        version: LATER,
        name: "core_t",
        sql: "CREATE TABLE core.t (n int); INSERT INTO core.t VALUES (1), (1)",
    };
    let index = Migration {
        version: LATER + 1,
        name: "core_t_index",
        sql: "-- nsl: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY t_n_key ON core.t (n)",
    };
    let all = ours_and(&[table, index]);
    let error = migrate(&empty.owner, &all).await.unwrap_err().to_string();
    assert!(error.contains("could not create unique index") && error.contains("core.t_n_key"), "{error}");
    // What the message says to do helps.
    empty.owner.batch_execute("DROP INDEX core.t_n_key; DELETE FROM core.t").await.unwrap();
    assert_eq!(migrate(&empty.owner, &all).await.unwrap(), [index.version]);
}

#[tokio::test]
async fn rights_that_nobody_states_are_taken_away() {
    let empty = Empty::new().await;
    migrate(&empty.owner, MIGRATIONS).await.unwrap();
    empty.owner.batch_execute("GRANT ALL ON core.tenants TO neo_readonly, neo_api").await.unwrap();
    migrate(&empty.owner, MIGRATIONS).await.unwrap();
    let rights = "SELECT array_agg(has_table_privilege('neo_readonly', 'core.tenants', right_) ORDER BY right_) \
                  FROM unnest(ARRAY['DELETE', 'INSERT', 'SELECT']) AS right_";
    assert_eq!(
        empty.owner.query_one(rights, &[]).await.unwrap().get::<_, Vec<bool>>(0),
        [false, false, true]
    );
}
