use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Audit, AuditResult, Db, Login, sequencer};
use nsl_core::ids::TenantId;
use nsl_core::jobs::Jobs;
use nsl_testkit::{TestApp, TestDb, eventually, password};
use serde_json::{Value, json};

use crate::{Credentials, PATIENCE, app};

async fn health(app: &TestApp) -> Value {
    app.get("/health/monitoring").send().await.expect(StatusCode::OK).json()
}

async fn becomes(app: &TestApp, db: &Db, status: &str) {
    // The horizon is the cluster's: another test's transaction may hold it back for a moment.
    eventually(PATIENCE, status, async || {
        sequencer::step(db).await.unwrap();
        health(app).await["status"] == status
    })
    .await;
}

/// Rows as they would be had nobody led the sequencer for that long.
async fn write(test: &TestDb, count: i64, seconds_ago: f64) {
    let owner = test.client("neo_user").await.unwrap();
    owner
        .execute(
            "INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, actor, result, \"timestamp\") \
             SELECT pg_catalog.gen_random_uuid(), $1, 'sgx', 'SEAL_ITEM', 'user:alice', 'Success', \
                    now() - $3::float8 * interval '1 second' \
             FROM pg_catalog.generate_series(1, $2::bigint)",
            &[&TenantId::DEFAULT, &count, &seconds_ago],
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn it_tells_of_rows_that_wait_too_long_or_are_too_many() {
    let test = TestDb::new().await.unwrap();
    let app = app(test.base(), Credentials::default()).await;
    let fresh = health(&app).await;
    assert_eq!(fresh["status"], "Degraded", "no sequencer has run here: {fresh}");
    becomes(&app, &test.db(), "Healthy").await;
    assert_eq!(health(&app).await["data"]["sequencer"], json!({ "waiting": 0, "oldestSeconds": 0.0 }));

    let caller = Caller::system(TenantId::DEFAULT, "test");
    let db = test.db();
    let mut work = db.begin(Login::Api, &caller).await.unwrap();
    work.audit(Audit::new("sgx", "SEAL_ITEM", "item", "a", AuditResult::Success));
    work.commit().await.unwrap();
    let young = health(&app).await;
    assert_eq!((&young["status"], &young["data"]["sequencer"]["waiting"]), (&json!("Healthy"), &json!(1)));

    write(&test, 1, 120.0).await;
    let old = health(&app).await;
    assert_eq!(old["status"], "Degraded");
    assert!(old["detail"].as_str().unwrap().contains("has waited 12"), "{old}");
    becomes(&app, &test.db(), "Healthy").await;

    write(&test, 10_001, 0.0).await;
    let many = health(&app).await;
    assert_eq!(
        (&many["status"], &many["data"]["sequencer"]["waiting"]),
        (&json!("Degraded"), &json!(10_001))
    );
    assert!(many["detail"].as_str().unwrap().contains("more than 10000"), "{many}");
    becomes(&app, &test.db(), "Healthy").await;
    app.shut_down().await;
}

#[tokio::test]
async fn the_loop_makes_partitions_and_health_tells_when_one_is_missing() {
    let test = TestDb::new().await.unwrap();
    let owner = test.client("neo_user").await.unwrap();
    let name = |ahead: i32| {
        let owner = &owner;
        async move {
            let row = owner
                .query_one(
                    "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + $1::int * interval '1 month', \
                            '\"monitoring.audit_logs_y\"YYYY\"m\"MM')",
                    &[&ahead],
                )
                .await
                .unwrap();
            row.get::<_, String>(0)
        }
    };
    let (next, last) = (name(1).await, name(3).await);
    owner.batch_execute(&format!("DROP TABLE {next}; DROP TABLE {last}")).await.unwrap();
    let app = app(test.base(), Credentials::default()).await;
    for partition in [&next, &last] {
        eventually(PATIENCE, partition, async || {
            let row = owner.query_one("SELECT to_regclass($1) IS NOT NULL", &[partition]).await.unwrap();
            row.get::<_, bool>(0)
        })
        .await;
    }
    becomes(&app, &test.db(), "Healthy").await;

    // The next run of the loop is an hour away.
    owner.batch_execute(&format!("ALTER TABLE monitoring.audit_logs DETACH PARTITION {next}")).await.unwrap();
    let poor = health(&app).await;
    assert_eq!(poor["status"], "Degraded");
    let month = poor["data"]["missingPartitions"][0].as_str().unwrap();
    assert!(poor["detail"].as_str().unwrap().contains(month), "{poor}");
    assert!(next.ends_with(&month.replace('-', "m")), "{month} is not {next}");
    app.shut_down().await;
}

#[tokio::test]
async fn a_process_without_the_jobs_login_tells_whether_anyone_leads_the_sequencer() {
    let test = TestDb::new().await.unwrap();
    let db = Db::new(test.endpoint(), [(Login::Api, password("neo_api"))]).unwrap();
    let base = Base { db, clock: Clock::system(), jobs: Jobs::new() };
    let app = app(base, Credentials::default()).await;
    let alone = health(&app).await;
    assert_eq!(
        (&alone["status"], &alone["data"]["sequencer"]),
        (&json!("Degraded"), &json!({ "led": false }))
    );

    // Another process, with the role jobs.
    let other = test.base();
    sequencer::start(&other.jobs, &other.db);
    eventually(PATIENCE, "the sequencer is led", async || health(&app).await["status"] == "Healthy").await;
    other.jobs.shut_down(PATIENCE).await;
    app.shut_down().await;
}
