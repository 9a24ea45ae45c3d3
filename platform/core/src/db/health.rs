//! What `/health/postgresql` looks at: can each login work, is the server the one that this program needs, does
//! row-level security bind. Everything is asked of the database at each check, nothing is remembered but whether it
//! was away. What a service thinks of its own tables is that service's check.
//!
//! Anyone can read the answer, so a reason names neither host nor path nor what the driver said; the log has that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::migrate::{self, Level, MIGRATIONS, MigrateError};
use super::{Db, DbError, Login, chain};
use crate::health::{Finding, HealthCheck, Status};

/// Folder = schema: the nine that a migrated database has.
const SCHEMAS: &[&str] = &[
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

/// The three extensions of the migration guide. Nothing of ours calls one, so a missing one is told and no fault.
const EXTENSIONS: &[&str] = &["uuid-ossp", "pgcrypto", "pg_stat_statements"];

/// How long one login may take, below the limit of a whole check, so that the answer says which one hangs.
const PATIENCE: Duration = Duration::from_secs(2);

crate::row! {
    struct Look {
        role: String, unbound: bool, tls: bool, tls_version: Option<String>, server_version: String,
        missing_schemas: Vec<String>, extensions: Vec<String>, in_recovery: bool, read_only: bool,
    }
}
crate::row! {
    struct Held { held: bool }
}

crate::queries! {
    fn look(schemas: &[&str], extensions: &[&str]) -> one<Look> =
        "SELECT current_user::text AS role, \
                EXISTS (SELECT FROM pg_catalog.pg_roles r \
                        WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls)) AS unbound, \
                EXISTS (SELECT FROM pg_catalog.pg_stat_ssl s \
                        WHERE s.pid = pg_catalog.pg_backend_pid() AND s.ssl) AS tls, \
                (SELECT s.version FROM pg_catalog.pg_stat_ssl s WHERE s.pid = pg_catalog.pg_backend_pid()) AS tls_version, \
                pg_catalog.current_setting('server_version') AS server_version, \
                ARRAY(SELECT wanted FROM pg_catalog.unnest($1::text[]) AS wanted \
                      WHERE pg_catalog.to_regnamespace(pg_catalog.quote_ident(wanted)) IS NULL) AS missing_schemas, \
                ARRAY(SELECT e.extname::text FROM pg_catalog.pg_extension e \
                      WHERE e.extname = ANY ($2::text[]) ORDER BY e.extname) AS extensions, \
                pg_catalog.pg_is_in_recovery() AS in_recovery, \
                pg_catalog.current_setting('transaction_read_only')::boolean AS read_only";

    fn held(name: &str) -> one<Held> =
        "SELECT EXISTS (SELECT FROM core.leases l WHERE l.name = $1 AND l.expires_at > now()) AS held";
}

/// Whether some process holds a lease now: for the health of a process that may not see the work itself.
pub async fn lease_is_held(db: &Db, login: Login, name: &str) -> Result<bool, DbError> {
    Ok(held(&db.global(login), name).await?.held)
}

/// The check of the database, for every login that this process has.
pub struct PostgresHealth {
    db: Db,
    was_away: AtomicBool,
}

impl PostgresHealth {
    pub fn new(db: &Db) -> Self {
        Self { db: db.clone(), was_away: AtomicBool::new(false) }
    }

    async fn visit(&self, login: Login) -> Result<(Look, Duration), Away> {
        let started = Instant::now();
        match tokio::time::timeout(PATIENCE, look(&self.db.global(login), SCHEMAS, EXTENSIONS)).await {
            Ok(Ok(seen)) => Ok((seen, started.elapsed())),
            Ok(Err(error)) => Err(Away::Failed(error)),
            Err(_) => Err(Away::Silent),
        }
    }

    async fn level(&self, login: Login) -> Result<Level, LevelError> {
        let client = self.db.client(login).await.map_err(|error| LevelError::Away(Away::Failed(error)))?;
        migrate::level(&client, MIGRATIONS).await.map_err(|error| match error {
            MigrateError::Db(error) => LevelError::Away(Away::Failed(error)),
            error => LevelError::Unfit(error),
        })
    }

    /// Tells the log when the database went away and when it came back, not at every probe between.
    fn note(&self, failures: &[(Login, &Away)]) {
        let is_away = !failures.is_empty();
        if self.was_away.swap(is_away, Ordering::Relaxed) == is_away {
            return;
        }
        for (login, away) in failures {
            tracing::warn!(login = login.role(), error = away.in_full(), "the database cannot be used");
        }
        if !is_away {
            tracing::info!("the database can be used again");
        }
    }
}

#[async_trait]
impl HealthCheck for PostgresHealth {
    async fn check(&self) -> Finding {
        let logins: Vec<Login> = Login::ALL.into_iter().filter(|login| self.db.has(*login)).collect();
        let visits = join_all(logins.iter().map(|login| self.visit(*login))).await;
        let visits: Vec<_> = logins.into_iter().zip(visits).collect();
        let first = visits.iter().find_map(|(login, visit)| Some((*login, &visit.as_ref().ok()?.0)));
        let level = match first {
            Some((login, _)) => Some((login, self.level(login).await)),
            None => None,
        };

        let mut verdict = Verdict::default();
        let mut failures = Vec::new();
        let mut pools = Map::new();
        for (login, visit) in &visits {
            let mut pool = json!(self.db.status(*login));
            match visit {
                Ok((seen, took)) => {
                    pool["roundTripMs"] = json!((took.as_secs_f64() * 1e5).round() / 1e2);
                    verdict.login(*login, seen);
                }
                Err(away) => {
                    let reason = format!("{} cannot use the database: {}", login.role(), away.in_short());
                    verdict.add(Status::Unhealthy, reason);
                    failures.push((*login, away));
                }
            }
            pools.insert(login.role().to_owned(), pool);
        }
        if self.db.is_nominal() {
            verdict.add(
                Status::Degraded,
                "the separation of the logins is only nominal, since all of them log in as one user and SET ROLE: \
                 give each a password of its own (Database:Roles:<login>:Password)",
            );
        }
        let separation = if self.db.is_nominal() { "nominal" } else { "logins" };
        let mut data = json!({ "separation": separation, "pools": pools });
        if let Some((_, seen)) = first {
            verdict.server(seen);
            describe(&mut data, seen);
        }
        match &level {
            Some((_, Ok(level))) => {
                verdict.level(level);
                data["migrations"] =
                    json!({ "level": level.level, "ours": level.ours, "pending": level.pending });
            }
            Some((login, Err(LevelError::Away(away)))) => {
                verdict
                    .add(Status::Unhealthy, format!("core.migrations cannot be read: {}", away.in_short()));
                failures.push((*login, away));
            }
            Some((_, Err(LevelError::Unfit(error)))) => verdict.add(Status::Unhealthy, error.to_string()),
            None => {}
        }
        self.note(&failures);
        verdict.finding(data)
    }
}

/// Why the level of the migrations is not known, or not one that this program works with.
enum LevelError {
    Away(Away),
    Unfit(MigrateError),
}

/// Why a login got no answer.
enum Away {
    Failed(DbError),
    Silent,
}

impl Away {
    fn in_short(&self) -> &'static str {
        match self {
            Self::Silent => "no answer, or no connection came free, within 2 s",
            Self::Failed(DbError::Unavailable(_)) => {
                "it is not reachable, or it refuses the login; the log says which"
            }
            Self::Failed(_) => {
                "it refused to answer; the log says why, and `nsl db migrate` renews rights that are missing"
            }
        }
    }

    fn in_full(&self) -> String {
        match self {
            Self::Silent => self.in_short().to_owned(),
            Self::Failed(error) => chain(error),
        }
    }
}

/// The facts of the server, as one login saw them.
fn describe(data: &mut Value, seen: &Look) {
    let missing: Vec<&&str> =
        EXTENSIONS.iter().filter(|wanted| !seen.extensions.iter().any(|there| there == *wanted)).collect();
    data["serverVersion"] = json!(seen.server_version);
    data["tls"] = json!({ "inUse": seen.tls, "version": seen.tls_version });
    data["schemas"] =
        json!({ "found": SCHEMAS.len() - seen.missing_schemas.len(), "missing": seen.missing_schemas });
    data["extensions"] = json!({ "present": seen.extensions, "missing": missing });
    data["inRecovery"] = json!(seen.in_recovery);
    data["readOnly"] = json!(seen.read_only);
}

/// The worst status so far, and each reason.
#[derive(Default)]
struct Verdict {
    reasons: Vec<(Status, String)>,
}

impl Verdict {
    fn add(&mut self, status: Status, reason: impl Into<String>) {
        self.reasons.push((status, reason.into()));
    }

    fn login(&mut self, login: Login, seen: &Look) {
        if seen.role != login.role() {
            self.add(
                Status::Unhealthy,
                format!("the pool of {} works as {}: check what resets the role", login.role(), seen.role),
            );
        }
        if seen.unbound {
            self.add(
                Status::Degraded,
                format!(
                    "{} is a superuser or has BYPASSRLS, so row-level security does not bind it: \
                     run docker/postgres/roles.sql as a superuser",
                    seen.role
                ),
            );
        }
    }

    fn server(&mut self, seen: &Look) {
        if !seen.missing_schemas.is_empty() {
            let missing = seen.missing_schemas.join(", ");
            self.add(
                Status::Unhealthy,
                format!("these schemas are missing: {missing}; run `nsl db migrate`"),
            );
        }
        if seen.in_recovery {
            self.add(
                Status::Unhealthy,
                "the server is a standby and takes no writes: name the primary in ConnectionStrings:DefaultConnection",
            );
        } else if seen.read_only {
            self.add(
                Status::Unhealthy,
                "the server takes no writes: set default_transaction_read_only to off, for the server, \
                 the database and the login",
            );
        }
    }

    fn level(&mut self, level: &Level) {
        if !level.pending.is_empty() {
            self.add(
                Status::Unhealthy,
                format!(
                    "{} of this program's migrations are not applied (the database is at {}, this program at {}): \
                     run `nsl db migrate`",
                    level.pending.len(),
                    level.level,
                    level.ours
                ),
            );
        }
    }

    fn finding(mut self, data: Value) -> Finding {
        // The worst first: a reader of one line reads that.
        self.reasons.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
        let status = self.reasons.first().map_or(Status::Healthy, |(status, _)| *status);
        let texts: Vec<String> = self.reasons.into_iter().map(|(_, text)| text).collect();
        Finding { status, detail: (!texts.is_empty()).then(|| texts.join("; ")), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Look {
        Look {
            role: "neo_api".to_owned(),
            unbound: false,
            tls: true,
            tls_version: Some("TLSv1.3".to_owned()),
            server_version: "15.18".to_owned(),
            missing_schemas: Vec::new(),
            extensions: vec!["pgcrypto".to_owned()],
            in_recovery: false,
            read_only: false,
        }
    }

    fn judge(seen: &Look) -> Finding {
        let mut verdict = Verdict::default();
        verdict.login(Login::Api, seen);
        verdict.server(seen);
        verdict.finding(Value::Null)
    }

    #[test]
    fn each_fault_has_its_status_and_the_worst_stands_first() {
        let finding = judge(&well());
        assert_eq!((finding.status, finding.detail), (Status::Healthy, None));

        let unbound = Look { unbound: true, ..well() };
        assert_eq!(judge(&unbound).status, Status::Degraded);

        let standby = judge(&Look { in_recovery: true, read_only: true, unbound: true, ..well() });
        assert_eq!(standby.status, Status::Unhealthy);
        let detail = standby.detail.unwrap();
        assert!(detail.starts_with("the server is a standby") && detail.contains("BYPASSRLS"), "{detail}");

        let read_only = judge(&Look { read_only: true, ..well() });
        assert_eq!(read_only.status, Status::Unhealthy);

        let other = judge(&Look { role: "neo_user".to_owned(), ..well() });
        assert_eq!(other.status, Status::Unhealthy);

        let poor = judge(&Look { missing_schemas: vec!["oracle".to_owned(), "voting".to_owned()], ..well() });
        assert!(poor.detail.unwrap().contains("oracle, voting"));
    }

    #[test]
    fn pending_migrations_are_unhealthy() {
        let mut verdict = Verdict::default();
        verdict.level(&Level { level: 2, ours: 3, applied: vec![1, 2], pending: vec![3] });
        assert_eq!(verdict.finding(Value::Null).status, Status::Unhealthy);
        // A newer database that still works with this program is well.
        let mut verdict = Verdict::default();
        verdict.level(&Level { level: 4, ours: 3, applied: vec![1, 2, 3, 4], pending: Vec::new() });
        assert_eq!(verdict.finding(Value::Null).status, Status::Healthy);
    }

    #[test]
    fn extensions_that_are_missing_are_named() {
        let mut data = json!({});
        describe(&mut data, &well());
        assert_eq!(data["extensions"]["missing"], json!(["uuid-ossp", "pg_stat_statements"]));
        assert_eq!(data["schemas"]["found"], 9);
    }

    #[test]
    fn a_reason_never_repeats_what_the_driver_said() {
        let away =
            Away::Failed(DbError::Unavailable("no pg_hba.conf entry for host \"10.1.2.3\"".to_owned()));
        assert!(!away.in_short().contains("10.1.2.3") && away.in_full().contains("10.1.2.3"));
    }
}
