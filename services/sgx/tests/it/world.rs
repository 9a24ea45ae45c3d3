//! The service on a database of its own, the two ports that it uses, and a look at the tables behind its back.
//! Not here: what any one test is about.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use nsl_core::caller::{Permissions, Principal};
use nsl_core::clock::Clock;
use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::db::{Db, DbError, Login, Scoped, UnitOfWork};
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_core::jobs::Jobs;
use nsl_core::ports::{Authenticator, EventLog, LoggedEvent, Ports, SecurityEvent, SecurityEvents};
use nsl_core::{ApiError, Caller};
use nsl_sgx::{RootRing, SgxConfig};
use nsl_testkit::{Composition, Request, Response, TestApp, TestDb, pools};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const KEY: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
pub(crate) const OTHER_KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(crate) const ACME: &str = "acme";
pub(crate) const ACME_READER: &str = "acme-reader";
pub(crate) const OTHER: &str = "other";
/// Of the tenant `default`.
pub(crate) const OPERATOR: &str = "operator";

pub(crate) const USER: UserId = UserId(Uuid::from_u128(7));
pub(crate) const SESSION: SessionId = SessionId(Uuid::from_u128(8));

/// What a start of the service is told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub key: &'static str,
    pub encrypt: bool,
    pub clock: Clock,
    pub rotation_rows_per_second: u32,
    /// Whatever else of the configuration a test is about.
    pub adjust: Arc<dyn Fn(&mut SgxConfig) + Send + Sync>,
    pub max_value_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: KEY,
            encrypt: true,
            clock: Clock::system(),
            rotation_rows_per_second: 100_000,
            adjust: Arc::new(|_| {}),
            max_value_bytes: 1 << 20,
        }
    }
}

/// The tokens of two tenants: a port's other end, whose owner is auth.
struct Tokens {
    acme: TenantId,
    other: TenantId,
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, bearer: &str) -> Result<Principal, ApiError> {
        let (tenant, permission) = match bearer {
            ACME => (self.acme, "sgx:*"),
            ACME_READER => (self.acme, "sgx:read"),
            OTHER => (self.other, "sgx:*"),
            OPERATOR => (TenantId::DEFAULT, "sgx:*"),
            _ => return Err(ApiError::unauthorized("test.unknown_token", "Nobody has this token.")),
        };
        Ok(Principal {
            tenant,
            user: Some(USER),
            session: Some(SESSION),
            name: bearer.to_owned(),
            permissions: Permissions::from_iter([permission]),
        })
    }
}

mod security {
    use nsl_core::ids::{TenantId, UserId};
    use serde_json::Value;
    use uuid::Uuid;

    nsl_core::queries! {
        pub(super) fn insert(
            id: Uuid, tenant: TenantId, kind: &str, severity: &str, source: &str, description: &str, user: Option<UserId>,
            data: &Value,
        ) -> exec =
            "INSERT INTO monitoring.security_events (id, tenant_id, event_type, severity, source, description, user_id, \
                 event_data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    }
}

/// Writes where monitoring, the owner of this port, does.
struct Alarms;

#[async_trait]
impl SecurityEvents for Alarms {
    async fn record(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        event: &SecurityEvent,
    ) -> Result<(), DbError> {
        let (severity, user) = (event.severity.as_str(), caller.principal.user);
        let (tenant, description) = (caller.tenant(), &event.description);
        security::insert(
            work,
            Uuid::now_v7(),
            tenant,
            event.kind,
            severity,
            "sgx",
            description,
            user,
            &event.data,
        )
        .await?;
        Ok(())
    }
}

mod log {
    use nsl_core::ids::TenantId;
    use serde_json::Value;

    nsl_core::row! {
        pub(super) struct Event { pub stream: String, pub version: i64, pub kind: String, pub data: Value }
    }

    nsl_core::queries! {
        pub(super) fn heads(tenant: TenantId, prefix: &str, after: &str, limit: i64) -> many<Event> =
            "SELECT DISTINCT ON (stream) stream, version, type AS kind, data FROM eventsourcing.events \
             WHERE tenant_id = $1 AND starts_with(stream, $2) AND stream > $3::text COLLATE \"C\" \
             ORDER BY stream, version DESC LIMIT $4";

        pub(super) fn heads_of(tenant: TenantId, streams: &[String]) -> many<Event> =
            "SELECT DISTINCT ON (stream) stream, version, type AS kind, data FROM eventsourcing.events \
             WHERE tenant_id = $1 AND stream = ANY ($2) ORDER BY stream, version DESC";

        pub(super) fn event(tenant: TenantId, stream: &str, version: i64) -> opt<Event> =
            "SELECT stream, version, type AS kind, data FROM eventsourcing.events \
             WHERE tenant_id = $1 AND stream = $2 AND version = $3";

        pub(super) fn containing(tenant: TenantId, prefix: &str, data: &Value) -> opt<Event> =
            "SELECT stream, version, type AS kind, data FROM eventsourcing.events \
             WHERE tenant_id = $1 AND starts_with(stream, $2) AND data @> $3 LIMIT 1";
    }
}

/// Reads where eventsourcing, the owner of this port, does.
struct Events(Db);

impl Events {
    fn read(&self, tenant: TenantId) -> Scoped<'_> {
        self.0.read(Login::Enclave, tenant)
    }
}

fn logged(event: log::Event) -> LoggedEvent {
    LoggedEvent { stream: event.stream, version: event.version, kind: event.kind, data: event.data }
}

#[async_trait]
impl EventLog for Events {
    async fn heads(
        &self,
        tenant: TenantId,
        prefix: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<LoggedEvent>, DbError> {
        let events = log::heads(&self.read(tenant), tenant, prefix, after, limit).await?;
        Ok(events.into_iter().map(logged).collect())
    }

    async fn heads_of(&self, tenant: TenantId, streams: &[String]) -> Result<Vec<LoggedEvent>, DbError> {
        let events = log::heads_of(&self.read(tenant), tenant, streams).await?;
        Ok(events.into_iter().map(logged).collect())
    }

    async fn event(
        &self,
        tenant: TenantId,
        stream: &str,
        version: i64,
    ) -> Result<Option<LoggedEvent>, DbError> {
        Ok(log::event(&self.read(tenant), tenant, stream, version).await?.map(logged))
    }

    async fn containing(
        &self,
        tenant: TenantId,
        prefix: &str,
        data: &Value,
    ) -> Result<Option<LoggedEvent>, DbError> {
        Ok(log::containing(&self.read(tenant), tenant, prefix, data).await?.map(logged))
    }
}

/// Starts the service as a process of its own would: with its own pools, keys and writers.
pub(crate) async fn start(
    test: &TestDb,
    acme: TenantId,
    other: TenantId,
    settings: &Settings,
) -> anyhow::Result<TestApp> {
    let base = Base { db: pools(test.endpoint())?, clock: settings.clock.clone(), jobs: Jobs::new() };
    TestApp::new(base, async |base| {
        let mut config = SgxConfig::default();
        config.database.encryption_key = Some(Secret::new(settings.key.to_owned()));
        config.database.enable_encryption = settings.encrypt;
        config.scan.rows_per_second = 100_000;
        config.rotation.rows_per_second = settings.rotation_rows_per_second;
        config.database.max_value_bytes = settings.max_value_bytes;
        (settings.adjust)(&mut config);
        let root = Arc::new(RootRing::open(base, &config).await?);
        let service =
            nsl_sgx::service(base, config, root, Arc::new(Alarms), Arc::new(Events(base.db.clone())))?;
        let ports = Ports { authenticator: Arc::new(Tokens { acme, other }) };
        Ok(Composition { services: vec![service], ports, checks: Vec::new() })
    })
    .await
}

/// A database with two tenants, and the service on it.
pub(crate) struct World {
    // Before the database: it is dropped with its sessions.
    pub app: TestApp,
    pub acme: TenantId,
    pub other: TenantId,
    pub settings: Settings,
    pub test: TestDb,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(TestDb::new().await.unwrap(), Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::on(TestDb::new().await.unwrap(), settings).await
    }

    pub(crate) async fn on(test: TestDb, settings: Settings) -> Self {
        let (acme, other) = (test.tenant(ACME).await.unwrap(), test.tenant(OTHER).await.unwrap());
        Self::of(test, acme, other, settings).await
    }

    /// On a database that has the two tenants.
    pub(crate) async fn of(test: TestDb, acme: TenantId, other: TenantId, settings: Settings) -> Self {
        let app = start(&test, acme, other, &settings).await.unwrap();
        Self { app, acme, other, settings, test }
    }

    /// Ends the service and starts it again, with the same or other settings.
    pub(crate) async fn restart(self, settings: Settings) -> Self {
        let Self { app, acme, other, test, .. } = self;
        app.shut_down().await;
        let app = start(&test, acme, other, &settings).await.unwrap();
        Self { app, acme, other, settings, test }
    }

    /// Moves the service's clock.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.settings.clock.advance(by);
    }

    /// A time from now on, on the service's clock.
    pub(crate) fn after(&self, by: SignedDuration) -> Timestamp {
        self.settings.clock.now() + by
    }

    pub(crate) fn put(&self, service: &str, key: &str) -> Request<'_> {
        self.app.put(&path(service, key)).bearer(ACME)
    }

    pub(crate) fn get(&self, service: &str, key: &str) -> Request<'_> {
        self.app.get(&path(service, key)).bearer(ACME)
    }

    pub(crate) fn head(&self, service: &str, key: &str) -> Request<'_> {
        self.app.request(axum::http::Method::HEAD, &path(service, key)).bearer(ACME)
    }

    pub(crate) fn delete(&self, service: &str, key: &str) -> Request<'_> {
        self.app.delete(&path(service, key)).bearer(ACME)
    }

    pub(crate) fn list(&self, query: &str) -> Request<'_> {
        self.app.get(&format!("/api/v1/sgx/items{query}")).bearer(ACME)
    }

    /// Puts a value as it is, and expects it to be taken.
    pub(crate) async fn store(&self, service: &str, key: &str, value: &str) -> Response {
        let response = self.put(service, key).bytes(BYTES, value.to_owned()).send().await;
        assert!(response.status.is_success(), "{}", response.text());
        response
    }

    /// The value of an item.
    pub(crate) async fn value(&self, service: &str, key: &str) -> String {
        self.get(service, key).header("accept", BYTES).send().await.expect(StatusCode::OK).text()
    }

    /// Statements as the superuser, whom neither rights nor row-level security bind; how many rows the last one met.
    pub(crate) async fn as_attacker(&self, sql: &str) -> u64 {
        self.test.client("postgres").await.unwrap().execute(sql, &[]).await.unwrap()
    }

    /// The one number that a query answers.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.test.client("postgres").await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The rows of a query, as JSON.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Value> {
        let wrapped = format!("SELECT to_jsonb(found) FROM ({sql}) AS found");
        let rows = self.test.client("postgres").await.unwrap().query(&wrapped, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Every audit row in its order, as [action, resource, result].
    pub(crate) async fn audits(&self) -> Vec<Value> {
        let rows =
            self.rows("SELECT action, resource_id, result FROM monitoring.audit_logs ORDER BY id").await;
        rows.iter().map(|row| json!([row["action"], row["resource_id"], row["result"]])).collect()
    }

    /// Items whose events are not versions 1 to the row's revision, or whose last event does not say what the row says;
    /// and events of no item. Purged items have no row any more.
    pub(crate) async fn assert_events_match_items(&self) {
        let odd = self
            .rows(
                "SELECT i.key, i.revision, e.versions, e.last FROM sgx.sealed_data_items i \
                 FULL JOIN (SELECT tenant_id, stream, array_agg(version ORDER BY version) AS versions, \
                                   (array_agg(data ORDER BY version DESC))[1] AS last, \
                                   (array_agg(type ORDER BY version DESC))[1] AS type \
                            FROM eventsourcing.events WHERE stream LIKE 'sgx.item/%' GROUP BY tenant_id, stream) e \
                   ON e.tenant_id = i.tenant_id AND e.stream = 'sgx.item/' || i.item_id \
                 WHERE e.type IS DISTINCT FROM 'sgx.item_purged' \
                   AND (i.item_id IS NULL OR e.versions IS NULL \
                     OR e.versions <> (SELECT array_agg(n) FROM generate_series(1, i.revision) n) \
                     OR (e.last->>'version')::bigint <> i.version \
                     OR coalesce(e.last->>'fingerprint', i.fingerprint) <> i.fingerprint)",
            )
            .await;
        assert_eq!(odd, Vec::<Value>::new());
    }
}

pub(crate) const BYTES: &str = "application/octet-stream";

/// An item's path, with what has a meaning of its own there escaped.
pub(crate) fn path(service: &str, key: &str) -> String {
    format!("/api/v1/sgx/items/{}/{}", escape(service), escape(key))
}

pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").unwrap();
        }
        path
    })
}

/// Checks a refusal: its status, its code, the field that it points to (empty: none), and that it says something.
#[track_caller]
pub(crate) fn assert_problem(response: &Response, status: StatusCode, code: &str, pointer: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/problem+json");
    let problem = response.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}
