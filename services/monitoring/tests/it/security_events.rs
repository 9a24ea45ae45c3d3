use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::db::{Db, DbError, Login};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SecurityEvent, Severity};
use nsl_testkit::{TestApp, TestDb};
use serde_json::{Value, json};

use crate::{Credentials, app, origin, principal};

const PATH: &str = "/api/v1/monitoring/security-events";

fn event(kind: &'static str, severity: Severity) -> SecurityEvent {
    SecurityEvent {
        kind,
        severity,
        description: "A sealed value does not match its tag.".to_owned(),
        data: json!({ "key": "a" }),
    }
}

fn caller(tenant: TenantId) -> Caller {
    Caller::new(principal(tenant, &[]), origin())
}

async fn record(db: &Db, login: Login, tenant: TenantId, event: &SecurityEvent) {
    let caller = caller(tenant);
    let work = db.begin(login, &caller).await.unwrap();
    nsl_monitoring::security_events().record(&work, &caller, event).await.unwrap();
    work.commit().await.unwrap();
}

async fn kinds(app: &TestApp, token: &str, query: &str) -> Vec<String> {
    let page = app.get(&format!("{PATH}{query}")).bearer(token).send().await.expect(StatusCode::OK).json();
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_login_records_and_each_tenant_reads_its_own() {
    let test = TestDb::new().await.unwrap();
    let (ours, theirs) = (test.tenant("ours").await.unwrap(), test.tenant("theirs").await.unwrap());
    let credentials = Credentials::default().with("ours", ours, &["monitoring:read"]).with(
        "theirs",
        theirs,
        &["monitoring:read"],
    );
    let app = app(test.base(), credentials).await;
    let db = test.db();
    record(&db, Login::Enclave, ours, &event("sgx.integrity_violation", Severity::Critical)).await;
    record(&db, Login::Jobs, ours, &event("auth.refresh_reused", Severity::High)).await;
    record(&db, Login::Api, theirs, &event("auth.lockout", Severity::Low)).await;

    assert_eq!(kinds(&app, "ours", "").await, ["auth.refresh_reused", "sgx.integrity_violation"]);
    assert_eq!(kinds(&app, "theirs", "").await, ["auth.lockout"]);
    assert_eq!(kinds(&app, "ours", "?severity=Critical").await, ["sgx.integrity_violation"]);
    assert_eq!(kinds(&app, "ours", "?severity=Info").await, [""; 0]);
    assert_eq!(kinds(&app, "ours", "?status=Open&severity=High").await, ["auth.refresh_reused"]);
    assert_eq!(kinds(&app, "ours", "?status=Resolved").await, [""; 0]);
    assert_eq!(kinds(&app, "ours", "?to=2020-01-01T00:00:00Z").await, [""; 0]);
    let bad = app.get(&format!("{PATH}?severity=critical")).bearer("ours").send().await;
    bad.expect(StatusCode::BAD_REQUEST);

    let first = app.get(&format!("{PATH}?limit=1")).bearer("ours").send().await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = app.get(&format!("{PATH}?limit=1&cursor={cursor}")).bearer("ours").send().await.json();
    assert_eq!(rest.get("nextCursor"), None);
    let violation = &rest["items"][0];
    for (field, value) in [
        ("type", json!("sgx.integrity_violation")),
        ("severity", json!("Critical")),
        ("source", json!("sgx")),
        ("status", json!("Open")),
        ("description", json!("A sealed value does not match its tag.")),
        ("ipAddress", json!("192.0.2.7")),
        ("data", json!({ "key": "a" })),
    ] {
        assert_eq!(violation[field], value, "{field}");
    }
    assert!(violation["userId"].is_string() && violation["sessionId"].is_string());
    app.shut_down().await;
}

#[tokio::test]
async fn what_is_rolled_back_was_no_event() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    let app = app(test.base(), Credentials::default().with("ours", tenant, &["monitoring:read"])).await;
    let db = test.db();
    let caller = caller(tenant);
    let work = db.begin(Login::Enclave, &caller).await.unwrap();
    let event = event("sgx.integrity_violation", Severity::Critical);
    nsl_monitoring::security_events().record(&work, &caller, &event).await.unwrap();
    work.rollback().await.unwrap();
    assert_eq!(kinds(&app, "ours", "").await, [""; 0]);
    app.shut_down().await;
}

#[tokio::test]
async fn an_event_is_of_the_tenant_that_the_unit_of_work_is_in() {
    let test = TestDb::new().await.unwrap();
    let (ours, theirs) = (test.tenant("ours").await.unwrap(), test.tenant("theirs").await.unwrap());
    let db = test.db();
    let (us, them) = (caller(ours), caller(theirs));
    let work = db.begin(Login::Api, &us).await.unwrap();
    let event = event("auth.lockout", Severity::Low);
    let refused = nsl_monitoring::security_events().record(&work, &them, &event).await.unwrap_err();
    assert!(matches!(&refused, DbError::Refused { state, .. } if state == "42501"), "{refused}");
}

#[tokio::test]
async fn what_happened_stays_and_only_what_came_of_it_is_edited() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    record(&test.db(), Login::Api, tenant, &event("auth.lockout", Severity::Low)).await;
    let api = test.client("neo_api").await.unwrap();
    let scope = format!("SET nsl.tenants = '{{{tenant}}}'");
    api.batch_execute(&scope).await.unwrap();
    for forbidden in [
        "UPDATE monitoring.security_events SET description = 'nothing'",
        "DELETE FROM monitoring.security_events",
        "TRUNCATE monitoring.security_events",
    ] {
        assert!(api.batch_execute(forbidden).await.is_err(), "{forbidden}");
    }
    let edited = api.execute("UPDATE monitoring.security_events SET status = 'Resolved'", &[]).await.unwrap();
    assert_eq!(edited, 1);
    let enclave = test.client("neo_enclave").await.unwrap();
    assert!(enclave.batch_execute("SELECT FROM monitoring.security_events").await.is_err());
}

#[tokio::test]
async fn the_document_declares_the_permission_of_each_route() {
    let test = TestDb::new().await.unwrap();
    let app = app(test.base(), Credentials::default()).await;
    let document = app.get("/api/openapi.json").send().await.expect(StatusCode::OK).json();
    for (path, operation) in
        [("audit-logs", "monitoringAuditLogs"), ("security-events", "monitoringSecurityEvents")]
    {
        let get: &Value = &document["paths"][format!("/api/v1/monitoring/{path}")]["get"];
        assert_eq!(get["operationId"], operation);
        assert_eq!(get["security"], json!([{ "bearer": ["monitoring:read"] }]));
        let query: Vec<&Value> = get["parameters"].as_array().unwrap().iter().collect();
        assert!(query.iter().all(|parameter| parameter["in"] == "query"), "{query:?}");
        assert!(query.iter().any(|parameter| parameter["name"] == "cursor"), "{query:?}");
    }
    app.shut_down().await;
}
