//! The test kit on a real server: its databases are apart, its roles are the real ones, its application answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use nsl_core::ApiError;
use nsl_core::caller::Principal;
use nsl_core::config::HttpConfig;
use nsl_core::db::Login;
use nsl_core::health::{Finding, HealthCheck};
use nsl_core::ports::{Authenticator, Ports};
use nsl_testkit::{Cluster, Composition, Durability, TestApp, TestDb, eventually};
use serde_json::Value;

#[tokio::test]
async fn databases_are_fresh_migrated_and_apart() {
    let (one, other) = (TestDb::new().await.unwrap(), TestDb::new().await.unwrap());
    let tenant = one.tenant("acme").await.unwrap();
    let count = "SELECT count(*) FROM core.tenants WHERE id = $1";
    let found = one.db().client(Login::Api).await.unwrap().query_one(count, &[&tenant]).await.unwrap();
    assert_eq!(found.get::<_, i64>(0), 1);
    let found = other.client("neo_readonly").await.unwrap().query_one(count, &[&tenant]).await.unwrap();
    assert_eq!(found.get::<_, i64>(0), 0);
    for role in ["postgres", "neo_user", "neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_auditor"]
    {
        let row = one.client(role).await.unwrap().query_one("SELECT current_user::text", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), role);
    }
}

#[tokio::test]
async fn a_database_goes_with_its_test() {
    let test = TestDb::new().await.unwrap();
    let (cluster, name) = (test.cluster().clone(), test.name().to_owned());
    let _open = test.client("neo_user").await.unwrap();
    let admin = cluster.client("postgres", "postgres").await.unwrap();
    let find = "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = $1";
    assert_eq!(admin.query_one(find, &[&name]).await.unwrap().get::<_, i64>(0), 1);
    drop(test);
    assert_eq!(admin.query_one(find, &[&name]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_private_server_is_another_one_and_ends_with_its_test() {
    let own = Cluster::own(Durability::Volatile).await.unwrap();
    let shared = Cluster::shared().await.unwrap();
    let system = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    let mut seen = Vec::new();
    for cluster in [&own, &shared] {
        let admin = cluster.client("postgres", "postgres").await.unwrap();
        seen.push(admin.query_one(system, &[]).await.unwrap().get::<_, i64>(0));
    }
    assert_ne!(seen[0], seen[1]);
    let socket = own.server().socket_dir().to_path_buf();
    assert!(socket.exists());
    drop(own);
    assert!(!socket.exists());
}

/// Accepts nobody: enough for routes that ask nobody.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _bearer: &str) -> Result<Principal, ApiError> {
        Err(ApiError::unauthorized("test.nobody", "Nobody is known here."))
    }
}

struct Reachable(nsl_core::db::Db);

#[async_trait]
impl HealthCheck for Reachable {
    async fn check(&self) -> Finding {
        match self.0.client(Login::Api).await {
            Ok(_) => Finding::healthy(Value::Null),
            Err(error) => Finding::unhealthy(error.to_string()),
        }
    }
}

#[tokio::test]
async fn the_application_answers_through_its_real_router() {
    let test = TestDb::new().await.unwrap();
    let app = TestApp::new(test.base(), async |base| {
        let checks: Vec<(_, Arc<dyn HealthCheck>)> =
            vec![("postgresql", Arc::new(Reachable(base.db.clone())))];
        Ok(Composition { services: Vec::new(), ports: Ports { authenticator: Arc::new(Nobody) }, checks })
    })
    .await
    .unwrap();
    let response = app.get("/health").send().await.expect(StatusCode::OK);
    assert_eq!(response.json()["checks"][0]["status"], "Healthy");
    // Open on loopback only: it sees where the request comes from.
    app.get("/metrics").send().await.expect(StatusCode::OK);
    let refused = app.post("/nowhere").json(&Value::Null).send().await.expect(StatusCode::NOT_FOUND);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(app.context().http().listen, HttpConfig::default().listen);
    app.shut_down().await;
    assert!(test.db().client(Login::Api).await.is_err());
}

#[tokio::test]
#[should_panic(expected = "in vain: the impossible")]
async fn waiting_ends() {
    eventually(Duration::from_millis(50), "the impossible", async || false).await;
}
