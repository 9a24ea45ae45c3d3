use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, Db, Login};
use nsl_core::ids::TenantId;
use nsl_testkit::{TestApp, TestDb};
use serde_json::Value;
use uuid::{NoContext, Timestamp, Uuid};

use crate::{Credentials, app, origin, principal};

const PATH: &str = "/api/v1/monitoring/audit-logs";

/// One operation, recorded as every service does it.
async fn record(db: &Db, tenant: TenantId, entry: Audit) {
    let caller = Caller::new(principal(tenant, &[]), origin());
    let mut work = db.begin(Login::Api, &caller).await.unwrap();
    work.audit(entry);
    work.commit().await.unwrap();
}

fn put(key: &str, result: AuditResult) -> Audit {
    Audit::new("sgx", "SEAL_ITEM", "item", key, result)
}

async fn page(app: &TestApp, query: &str) -> Value {
    app.get(&format!("{PATH}{query}")).bearer("reader").send().await.expect(StatusCode::OK).json()
}

fn keys(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["resourceId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_operator_sees_at_once_what_happened_in_the_tenant_and_nothing_of_another() {
    let test = TestDb::new().await.unwrap();
    let (ours, theirs) = (test.tenant("ours").await.unwrap(), test.tenant("theirs").await.unwrap());
    let app = app(test.base(), Credentials::default().with("reader", ours, &["monitoring:read"])).await;
    record(&test.db(), ours, put("a", AuditResult::Success)).await;
    record(&test.db(), theirs, put("secret", AuditResult::Success)).await;
    record(&test.db(), ours, put("b", AuditResult::Denied).details("no permission")).await;

    let all = page(&app, "").await;
    assert_eq!(keys(&all), ["b", "a"]);
    assert!(all.get("nextCursor").is_none(), "{all}");
    let newest = &all["items"][0];
    for (field, value) in [
        ("service", "sgx"),
        ("action", "SEAL_ITEM"),
        ("resourceType", "item"),
        ("result", "Denied"),
        ("actor", "user:alice"),
        ("details", "no permission"),
        ("ipAddress", "192.0.2.7"),
        ("userAgent", "test"),
        ("requestId", "request-1"),
    ] {
        assert_eq!(newest[field], value, "{field}");
    }
    assert!(
        newest["userId"].is_string() && newest["sessionId"].is_string() && newest["metadata"].is_object()
    );
    newest["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    app.shut_down().await;
}

#[tokio::test]
async fn each_filter_leaves_what_it_names() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    let app = app(test.base(), Credentials::default().with("reader", tenant, &["monitoring:*"])).await;
    record(&test.db(), tenant, put("a", AuditResult::Success)).await;
    record(&test.db(), tenant, put("a", AuditResult::Failure)).await;
    record(&test.db(), tenant, Audit::new("auth", "LOGIN", "user", "b", AuditResult::Success)).await;

    for (query, count) in [
        ("?service=sgx", 2),
        ("?service=sg", 0),
        ("?action=LOGIN", 1),
        ("?result=Failure", 1),
        ("?resourceId=a", 2),
        ("?resourceId=a&result=Success&service=sgx&action=SEAL_ITEM", 1),
        ("?service=auth&resourceId=a", 0),
        // A statement would have to be put together from text to fall for it.
        ("?service=sgx%27%20OR%20true--", 0),
    ] {
        assert_eq!(keys(&page(&app, query).await).len(), count, "{query}");
    }
    app.shut_down().await;
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    let app = app(test.base(), Credentials::default().with("reader", tenant, &["monitoring:read"])).await;
    for key in ["1", "2", "3", "4", "5"] {
        record(&test.db(), tenant, put(key, AuditResult::Success)).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for size in [2, 2, 1] {
        let part = page(&app, &format!("?limit=2{cursor}")).await;
        assert_eq!(keys(&part).len(), size);
        seen.extend(keys(&part).into_iter().map(str::to_owned));
        match part["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => assert_eq!(size, 1, "the last page alone has no cursor"),
        }
        // What comes after the first page was asked for is on none of the next.
        record(&test.db(), tenant, put("late", AuditResult::Success)).await;
    }
    assert_eq!(seen, ["5", "4", "3", "2", "1"]);
    app.shut_down().await;
}

#[tokio::test]
async fn a_range_of_time_holds_its_beginning_and_not_its_end() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    let app = app(test.base(), Credentials::default().with("reader", tenant, &["monitoring:read"])).await;
    let owner = test.client("neo_user").await.unwrap();
    // In different months, so in different partitions or none.
    for at in ["2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00Z", "2026-12-31T12:00:00.5Z"] {
        let time: jiff::Timestamp = at.parse().unwrap();
        let seconds = u64::try_from(time.as_second()).unwrap();
        let nanoseconds = u32::try_from(time.subsec_nanosecond()).unwrap();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanoseconds));
        owner
            .execute(
                "INSERT INTO monitoring.audit_logs \
                    (id, tenant_id, service_name, action, resource_id, actor, result, \"timestamp\") \
                 VALUES ($1, $2, 'sgx', 'SEAL_ITEM', $3, 'user:alice', 'Success', $4)",
                &[&id, &tenant, &at, &time],
            )
            .await
            .unwrap();
    }
    let (january, february, december) =
        ("2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00Z", "2026-12-31T12:00:00.5Z");
    for (query, expected) in [
        ("?from=2026-02-01T00:00:00Z", vec![december, february]),
        ("?to=2026-02-01T00:00:00Z", vec![january]),
        ("?from=2026-01-31T23:59:59.999Z&to=2026-02-01T00:00:00.001Z", vec![february, january]),
        ("?from=2026-12-31T13:00:00%2B01:00", vec![december]),
        ("?from=2026-12-31T12:00:00.501Z", vec![]),
        ("?from=1960-01-01T00:00:00Z", vec![december, february, january]),
        ("?to=1960-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(keys(&page(&app, query).await), expected, "{query}");
    }
    // A cursor and a range meet: the narrower bound holds.
    let first = page(&app, "?limit=1&to=2026-06-01T00:00:00Z").await;
    assert_eq!(keys(&first), [february]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let next = page(&app, &format!("?limit=1&to=2026-06-01T00:00:00Z&cursor={cursor}")).await;
    assert_eq!(keys(&next), [january]);
    app.shut_down().await;
}

#[tokio::test]
async fn a_wrong_question_is_refused_and_a_stranger_before_it() {
    let test = TestDb::new().await.unwrap();
    let tenant = test.tenant("ours").await.unwrap();
    let credentials = Credentials::default().with("reader", tenant, &["monitoring:read"]).with(
        "sealer",
        tenant,
        &["sgx:*"],
    );
    let app = app(test.base(), credentials).await;

    for path in ["audit-logs", "security-events"] {
        let path = format!("/api/v1/monitoring/{path}");
        let anonymous = app.get(&format!("{path}?limit=x")).send().await.expect(StatusCode::UNAUTHORIZED);
        assert_eq!(anonymous.json()["code"], "core.credential_missing");
        app.get(&path).bearer("forged").send().await.expect(StatusCode::UNAUTHORIZED);
        let sealer = app.get(&path).bearer("sealer").send().await.expect(StatusCode::FORBIDDEN);
        assert_eq!(sealer.json()["code"], "core.permission_missing");

        for (query, code) in [
            ("?limit=0", "core.invalid_query"),
            ("?limit=1001", "core.invalid_query"),
            ("?tenant=other", "core.invalid_query"),
            ("?from=yesterday", "core.invalid_query"),
            ("?cursor=nonsense", "core.invalid_cursor"),
            ("?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "monitoring.empty_time_range"),
        ] {
            let answer = app.get(&format!("{path}{query}")).bearer("reader").send().await;
            assert_eq!(answer.expect(StatusCode::BAD_REQUEST).json()["code"], code, "{query}");
        }
    }
    for (query, code) in
        [("?result=success", "core.invalid_query"), ("?resourceId=a%00b", "monitoring.invalid_filter")]
    {
        let answer = app.get(&format!("{PATH}{query}")).bearer("reader").send().await;
        assert_eq!(answer.expect(StatusCode::BAD_REQUEST).json()["code"], code, "{query}");
    }
    app.shut_down().await;
}
