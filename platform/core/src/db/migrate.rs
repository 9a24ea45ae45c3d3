//! The migration runner. Forward only; one advisory lock; checksums compared; drift refused. A database that is newer
//! than this program is refused only past the minimum level that its migrations state.
//!
//! Why not a crate: refinery holds no lock and puts every file into a transaction; sqlx brings sqlx. Waiting inside
//! `pg_advisory_lock` deadlocks CREATE INDEX CONCURRENTLY (reproduced), so the lock is polled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::Client;

use super::DbError;

/// One file of `migrations/`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `YYYYMMDDHHMM`.
    pub version: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

/// The database that this program carries.
#[expect(clippy::unreadable_literal, reason = "a version is a date and a time of day, read as such")]
pub const MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Roles and what else only a superuser may do (`docker/postgres/roles.sql`).
pub const ROLES_SQL: &str = include_str!("../../../../docker/postgres/roles.sql");

/// An arbitrary number that every version of this program agrees on. Advisory locks are per database.
const LOCK: i64 = 0x6e73_6c6d_6967_7261;

/// Why the database cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "migration {version} ({name}) was changed after it was applied to this database: restore the file as it was, \
         and put the change into a new migration"
    )]
    Drift { version: i64, name: String },
    #[error(
        "the database was migrated by a newer version (to {level}), which works with programs of level {minimum} and \
         newer; this one has {ours}: install the newer version"
    )]
    TooNew { level: i64, minimum: i64, ours: i64 },
    #[error("the database is at {level}, this program needs {ours}: run `nsl db migrate`")]
    Behind { level: i64, ours: i64 },
    #[error("migration {version} ({name}) failed and was rolled back: {reason}")]
    Failed { version: i64, name: String, reason: String },
    #[error(
        "migration {version} ({name}) left the invalid index {index}{reason}: drop it, then run `nsl db migrate` again"
    )]
    InvalidIndex { version: i64, name: String, index: String, reason: String },
    #[error("another process has been migrating this database for {0} s: wait for it, or end it")]
    Locked(u64),
    #[error("the database has no nsl schema yet: run `nsl db migrate` (or docker/postgres/init.sql)")]
    Empty,
    #[error(
        "the roles of the service layer are missing: as a superuser run \
         `psql -d {database} -f docker/postgres/roles.sql` (or `nsl db roles`), then start again"
    )]
    NoRoles { database: String },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A migration as a database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Applied {
    name: String,
    sha256: String,
    minimum_level: Option<i64>,
}

/// What there is and what is still to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// The newest migration in the database; 0 in an empty one.
    pub level: i64,
    /// The newest migration that this program carries.
    pub ours: i64,
    pub applied: Vec<i64>,
    pub pending: Vec<i64>,
}

impl Migration {
    /// Hex SHA-256 of the file.
    pub fn sha256(&self) -> String {
        hex::encode(nsl_crypto::digest::sha256(self.sql.as_bytes()))
    }

    fn directive(&self, name: &str) -> Option<&'static str> {
        self.sql
            .lines()
            .take_while(|line| line.starts_with("--"))
            .filter_map(|line| line.strip_prefix("-- nsl: "))
            .find_map(|directive| directive.trim().strip_prefix(name))
            .map(str::trim)
    }

    /// `-- nsl: minimum-level V`: the oldest program level that still works after this migration.
    pub fn minimum_level(&self) -> Option<i64> {
        self.directive("minimum-level").and_then(|text| text.parse().ok())
    }

    fn without_transaction(&self) -> bool {
        self.directive("no-transaction").is_some()
    }
}

const HISTORY: &str = "CREATE SCHEMA IF NOT EXISTS core;
CREATE TABLE IF NOT EXISTS core.migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    minimum_level bigint,
    applied_at timestamptz NOT NULL DEFAULT now()
);";

/// Applies what is pending, as `neo_user`, then the grants. Returns what it applied.
pub async fn migrate(client: &Client, migrations: &[Migration]) -> Result<Vec<i64>, MigrateError> {
    lock(client).await?;
    let outcome = migrate_locked(client, migrations).await;
    client.execute("SELECT pg_catalog.pg_advisory_unlock($1)", &[&LOCK]).await?;
    outcome
}

async fn lock(client: &Client) -> Result<(), MigrateError> {
    const PATIENCE: Duration = Duration::from_mins(2);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    loop {
        pause.tick().await;
        let row = client.query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&LOCK]).await?;
        if row.get::<_, bool>(0) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(MigrateError::Locked(PATIENCE.as_secs()));
        }
    }
}

async fn migrate_locked(client: &Client, migrations: &[Migration]) -> Result<Vec<i64>, MigrateError> {
    client.batch_execute("SET client_min_messages = warning").await?;
    client.batch_execute(HISTORY).await?;
    let applied = history(client).await?;
    compare(migrations, &applied)?;
    let mut done = Vec::new();
    for migration in migrations.iter().filter(|m| !applied.contains_key(&m.version)) {
        apply(client, migration).await?;
        done.push(migration.version);
    }
    client.batch_execute("SELECT core.apply_grants()").await?;
    Ok(done)
}

async fn apply(client: &Client, migration: &Migration) -> Result<(), MigrateError> {
    let failed = |error: tokio_postgres::Error| MigrateError::Failed {
        version: migration.version,
        name: migration.name.to_owned(),
        reason: told(&error),
    };
    if migration.without_transaction() {
        let outcome = client.batch_execute(migration.sql).await;
        if let Some(index) = invalid_index(client).await? {
            return Err(MigrateError::InvalidIndex {
                version: migration.version,
                name: migration.name.to_owned(),
                index,
                reason: outcome.err().map(|error| format!(" ({})", told(&error))).unwrap_or_default(),
            });
        }
        outcome.map_err(failed)?;
        return record(client, migration).await;
    }
    client.batch_execute("BEGIN").await?;
    let outcome = match client.batch_execute(migration.sql).await.map_err(failed) {
        Ok(()) => record(client, migration).await,
        Err(error) => Err(error),
    };
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    outcome
}

/// The server's words, and the place in the file that they are about.
fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || super::chain(error),
        |db| {
            let place = db.where_().map(|place| format!(" ({place})")).unwrap_or_default();
            format!("{}{place}", db.message())
        },
    )
}

async fn record(client: &Client, migration: &Migration) -> Result<(), MigrateError> {
    client
        .execute(
            "INSERT INTO core.migrations (version, name, sha256, minimum_level) VALUES ($1, $2, $3, $4)",
            &[&migration.version, &migration.name, &migration.sha256(), &migration.minimum_level()],
        )
        .await?;
    Ok(())
}

async fn invalid_index(client: &Client) -> Result<Option<String>, MigrateError> {
    let row = client
        .query_opt(
            "SELECT i.indexrelid::regclass::text FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
             WHERE NOT i.indisvalid AND pg_catalog.pg_has_role(c.relowner, 'USAGE') LIMIT 1",
            &[],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

async fn history(client: &Client) -> Result<BTreeMap<i64, Applied>, MigrateError> {
    let rows = client.query("SELECT version, name, sha256, minimum_level FROM core.migrations", &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), Applied { name: row.get(1), sha256: row.get(2), minimum_level: row.get(3) }))
        .collect())
}

/// Refuses a changed file, and a database whose newer migrations do not work with this program.
fn compare(migrations: &[Migration], applied: &BTreeMap<i64, Applied>) -> Result<(), MigrateError> {
    let ours = migrations.last().map_or(0, |migration| migration.version);
    let known: BTreeMap<i64, &Migration> = migrations.iter().map(|m| (m.version, m)).collect();
    for (version, row) in applied {
        if known.get(version).is_some_and(|migration| migration.sha256() != row.sha256) {
            return Err(MigrateError::Drift { version: *version, name: row.name.clone() });
        }
    }
    let unknown = || applied.iter().filter(|(version, _)| !known.contains_key(version));
    let minimum = unknown().filter_map(|(_, row)| row.minimum_level).max();
    match (unknown().map(|(version, _)| *version).max(), minimum) {
        (Some(level), Some(minimum)) if minimum > ours => Err(MigrateError::TooNew { level, minimum, ours }),
        _ => Ok(()),
    }
}

/// What there is and what is pending, for a client that may read `core.migrations`.
pub async fn level(client: &Client, migrations: &[Migration]) -> Result<Level, MigrateError> {
    let there = client.query_one("SELECT pg_catalog.to_regclass('core.migrations') IS NOT NULL", &[]).await?;
    let applied = if there.get(0) { history(client).await? } else { BTreeMap::new() };
    compare(migrations, &applied)?;
    Ok(Level {
        level: applied.keys().max().copied().unwrap_or(0),
        ours: migrations.last().map_or(0, |migration| migration.version),
        pending: migrations.iter().map(|m| m.version).filter(|v| !applied.contains_key(v)).collect(),
        applied: applied.into_keys().collect(),
    })
}

/// Refuses to serve a database that is empty, behind, changed or too new.
pub async fn ready(client: &Client, migrations: &[Migration]) -> Result<Level, MigrateError> {
    let level = level(client, migrations).await?;
    if level.applied.is_empty() {
        return Err(MigrateError::Empty);
    }
    if !level.pending.is_empty() {
        return Err(MigrateError::Behind { level: level.level, ours: level.ours });
    }
    Ok(level)
}

/// The text of `docker/postgres/init.sql`: every migration for psql, each only where it is missing.
pub fn init_sql(migrations: &[Migration]) -> String {
    let mut text = String::from(INIT_HEAD);
    text.push_str(HISTORY);
    text.push('\n');
    for migration in migrations {
        let (version, name, sha256) = (migration.version, migration.name, migration.sha256());
        let minimum = migration.minimum_level().map_or_else(|| "NULL".to_owned(), |level| level.to_string());
        let (begin, commit) =
            if migration.without_transaction() { ("", "") } else { ("BEGIN;\n", "COMMIT;\n") };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n-- {version}_{name}\n\
             SELECT NOT EXISTS (SELECT FROM core.migrations WHERE version = {version}) AS pending \\gset\n\
             \\if :pending\n{begin}{}\n\
             INSERT INTO core.migrations (version, name, sha256, minimum_level) \
             VALUES ({version}, '{name}', '{sha256}', {minimum});\n{commit}\\endif\n",
            migration.sql.trim_end()
        );
    }
    text.push_str(INIT_TAIL);
    text
}

const INIT_HEAD: &str = r"-- The database of the Neo Service Layer. Generated by `nsl db init-sql` from migrations/; do not edit.
--
--   psql -v ON_ERROR_STOP=1 -d neo_service_layer -f docker/postgres/init.sql
--
-- As a superuser it makes everything, the roles included. As neo_user (who needs CREATE on the database) it makes
-- everything but the roles, and prints the one command that is left. It may run again at any time.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT current_setting('is_superuser') = 'on' AS is_super \gset
\if :is_super
\ir roles.sql
SET ROLE neo_user;
\endif
";

const INIT_TAIL: &str = r"
SELECT core.apply_grants();
SELECT count(*) < 6 AS roles_missing FROM pg_catalog.pg_roles
 WHERE rolname IN ('neo_api', 'neo_enclave', 'neo_jobs', 'neo_readonly', 'neo_auditor', 'neo_backup') \gset
\if :roles_missing
\echo 'One command is left, for a superuser: psql -d' :DBNAME '-f docker/postgres/roles.sql'
\endif
RESET ROLE;
\o
";

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { version: 1, name: "core_first", sql: "SELECT 1" };

    fn applied(version: i64, sha256: String, minimum_level: Option<i64>) -> BTreeMap<i64, Applied> {
        BTreeMap::from([(version, Applied { name: "core_first".to_owned(), sha256, minimum_level })])
    }

    #[test]
    fn a_changed_file_is_drift() {
        assert!(compare(&[FIRST], &applied(1, FIRST.sha256(), None)).is_ok());
        let error = compare(&[FIRST], &applied(1, "00".to_owned(), None)).unwrap_err();
        assert!(matches!(error, MigrateError::Drift { version: 1, .. }), "{error}");
    }

    #[test]
    fn a_newer_database_is_refused_only_past_its_minimum() {
        assert!(compare(&[FIRST], &applied(2, String::new(), None)).is_ok());
        assert!(compare(&[FIRST], &applied(2, String::new(), Some(1))).is_ok());
        let error = compare(&[FIRST], &applied(2, String::new(), Some(2))).unwrap_err();
        assert!(matches!(error, MigrateError::TooNew { level: 2, minimum: 2, ours: 1 }), "{error}");
    }

    #[test]
    fn directives_stand_in_the_leading_comments_only() {
        let sql = "-- What it does.\n-- nsl: minimum-level 7\n-- nsl: no-transaction\nSELECT 1;\n-- nsl: minimum-level 9";
        let migration = Migration { version: 9, name: "core_x", sql };
        assert_eq!(migration.minimum_level(), Some(7));
        assert!(migration.without_transaction());
        assert!(!FIRST.without_transaction());
    }

    #[test]
    fn versions_grow_and_names_have_their_schema() {
        let schemas = [
            "db",
            "core",
            "auth",
            "sgx",
            "keymanagement",
            "oracle",
            "voting",
            "crosschain",
            "monitoring",
            "eventsourcing",
        ];
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].version < pair[1].version));
        for migration in MIGRATIONS {
            let schema = migration.name.split('_').next().unwrap();
            assert!(schemas.contains(&schema), "{}: one migration touches one schema", migration.name);
        }
    }
}
