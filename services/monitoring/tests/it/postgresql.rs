use std::time::{Duration, Instant};

use axum::http::StatusCode;
use nsl_core::clock::Clock;
use nsl_core::config::{Address, Host, Secret};
use nsl_core::context::Base;
use nsl_core::db::{Db, Endpoint, Login};
use nsl_core::jobs::Jobs;
use nsl_testkit::{Cluster, TestApp, TestDb, password, pools};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Credentials, app};

const PATH: &str = "/health/postgresql";

async fn over(db: Db) -> TestApp {
    app(Base { db, clock: Clock::system(), jobs: Jobs::new() }, Credentials::default()).await
}

/// The answer, after a look at whether it keeps the server's place to itself.
async fn health(app: &TestApp, status: StatusCode) -> Value {
    let answer = app.get(PATH).send().await.expect(status);
    let database = app.context().db().endpoint();
    for host in &database.hosts {
        let place = match &host.address {
            Address::Tcp(name) => name.clone(),
            Address::Socket(directory) => directory.display().to_string(),
        };
        assert!(!answer.text().contains(&place), "{}", answer.text());
    }
    assert!(!answer.text().contains("test neo_"), "a password: {}", answer.text());
    answer.json()
}

async fn unhealthy(app: &TestApp, why: &str) -> Value {
    let answer = health(app, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(answer["status"], "Unhealthy");
    assert!(answer["detail"].as_str().unwrap().contains(why), "{answer}");
    answer
}

#[tokio::test]
async fn a_database_that_is_well_shows_its_facts() {
    let test = TestDb::new().await.unwrap();
    let app = over(test.db()).await;
    let answer = health(&app, StatusCode::OK).await;
    assert_eq!((&answer["status"], answer.get("detail")), (&json!("Healthy"), None), "{answer}");
    let data = &answer["data"];
    assert_eq!(data["separation"], "logins");
    assert_eq!(data["schemas"], json!({ "found": 9, "missing": [] }));
    assert_eq!(data["migrations"]["pending"], json!([]));
    assert_eq!(data["migrations"]["level"], data["migrations"]["ours"]);
    assert_eq!((&data["inRecovery"], &data["readOnly"]), (&json!(false), &json!(false)));
    assert_eq!(data["tls"]["inUse"], false, "a Unix socket has none");
    let owner = test.client("neo_user").await.unwrap();
    let version = owner.query_one("SHOW server_version", &[]).await.unwrap();
    assert_eq!(data["serverVersion"], version.get::<_, &str>(0));
    let there =
        owner.query("SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'", &[]).await.unwrap();
    assert_eq!(data["extensions"]["present"].as_array().unwrap().len(), there.len());
    for login in Login::ALL {
        let pool = &data["pools"][login.role()];
        assert!(pool["size"].as_u64().unwrap() >= 1 && pool["roundTripMs"].as_f64().unwrap() > 0.0, "{pool}");
        assert_eq!(pool["waiting"], 0);
    }
    app.shut_down().await;
}

#[tokio::test]
async fn a_separation_that_is_only_nominal_is_told() {
    let test = TestDb::new().await.unwrap();
    let db = Db::nominal(test.endpoint(), "neo_user", password("neo_user"), Login::ALL).unwrap();
    let app = over(db).await;
    let answer = health(&app, StatusCode::OK).await;
    assert_eq!((&answer["status"], &answer["data"]["separation"]), (&json!("Degraded"), &json!("nominal")));
    assert!(answer["detail"].as_str().unwrap().contains("only nominal"), "{answer}");
    app.shut_down().await;
}

#[tokio::test]
async fn a_missing_schema_or_migration_or_a_changed_one_is_unhealthy() {
    let test = TestDb::new().await.unwrap();
    let app = over(test.db()).await;
    let owner = test.client("neo_user").await.unwrap();

    owner.batch_execute("ALTER SCHEMA oracle RENAME TO away").await.unwrap();
    let answer = unhealthy(&app, "oracle").await;
    assert_eq!(answer["data"]["schemas"], json!({ "found": 8, "missing": ["oracle"] }));
    owner.batch_execute("ALTER SCHEMA away RENAME TO oracle").await.unwrap();
    assert_eq!(health(&app, StatusCode::OK).await["status"], "Healthy");

    let change =
        "UPDATE core.migrations SET sha256 = pg_catalog.reverse(sha256) WHERE version = 202611240002";
    owner.batch_execute(change).await.unwrap();
    unhealthy(&app, "was changed after it was applied").await;
    owner.batch_execute(change).await.unwrap();
    assert_eq!(health(&app, StatusCode::OK).await["status"], "Healthy");

    owner
        .batch_execute(
            "DELETE FROM core.migrations WHERE version = (SELECT max(version) FROM core.migrations)",
        )
        .await
        .unwrap();
    let answer = unhealthy(&app, "nsl db migrate").await;
    let migrations = &answer["data"]["migrations"];
    assert_eq!(migrations["pending"], json!([migrations["ours"]]));
    app.shut_down().await;
}

#[tokio::test]
async fn an_empty_or_read_only_database_is_unhealthy() {
    let empty = TestDb::empty_on(&Cluster::shared().await.unwrap()).await.unwrap();
    let app = over(empty.db()).await;
    unhealthy(&app, "these schemas are missing: core, auth, sgx").await;
    app.shut_down().await;

    let test = TestDb::new().await.unwrap();
    let owner = test.client("neo_user").await.unwrap();
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", test.name());
    owner.batch_execute(&set).await.unwrap();
    let app = over(pools(test.endpoint()).unwrap()).await;
    let answer = unhealthy(&app, "default_transaction_read_only").await;
    assert_eq!(answer["data"]["readOnly"], true);
    app.shut_down().await;
}

#[tokio::test]
async fn a_refused_login_is_named() {
    let test = TestDb::new().await.unwrap();
    let secrets = [(Login::Api, password("neo_api")), (Login::Jobs, Secret::new("wrong".to_owned()))];
    let app = over(Db::new(test.endpoint(), secrets).unwrap()).await;
    let answer = unhealthy(&app, "neo_jobs cannot use the database").await;
    assert!(!answer["detail"].as_str().unwrap().contains("neo_api"), "{answer}");
    assert_eq!(answer["data"]["pools"].get("neo_enclave"), None, "this process has no such login");
    app.shut_down().await;
}

/// An endpoint at a port of this machine.
fn at(test: &TestDb, port: u16) -> Endpoint {
    let hosts = vec![Host { address: Address::Tcp("127.0.0.1".to_owned()), port }];
    Endpoint { hosts, ..test.endpoint() }
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_told_within_the_limit() {
    let test = TestDb::new().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();

    // The kernel accepts the connection, and nobody ever answers.
    let silent = over(pools(at(&test, port)).unwrap()).await;
    let started = Instant::now();
    unhealthy(&silent, "within 2 s").await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    drop(listener);
    let gone = over(pools(at(&test, port)).unwrap()).await;
    let answer = unhealthy(&gone, "not reachable").await;
    assert_eq!(answer["data"].get("serverVersion"), None);
    let monitoring = gone.get("/health/monitoring").send().await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert!(monitoring.text().contains("/health/postgresql says more"), "{}", monitoring.text());
}
