//! Bad input of somebody with a credential: its code, nothing stored, and an audit row.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ACME, BYTES, World, assert_problem};

#[tokio::test]
async fn a_path_trick_has_its_code_and_its_audit_row() {
    let world = World::new().await;
    let tricks = [
        ("demo/..", "sgx.invalid_key", "key"),
        ("demo/a/../../b", "sgx.invalid_key", "key"),
        ("demo/%2e%2e/b", "sgx.invalid_key", "key"),
        ("demo/a%2F..%2Fb", "sgx.invalid_key", "key"),
        ("demo/a%2f%2fb", "sgx.invalid_key", "key"),
        ("demo/a%00b", "sgx.invalid_key", "key"),
        ("demo/a%0ab", "sgx.invalid_key", "key"),
        ("a%2Fb/k", "sgx.invalid_service", "service"),
        ("a%00/k", "sgx.invalid_service", "service"),
        // A slash, a dot and NUL in more bytes than they take; a surrogate; a byte of no character.
        ("demo/a%C0%AFb", "core.invalid_path", ""),
        ("demo/%C0%AE%C0%AE/b", "core.invalid_path", ""),
        ("demo/%E0%80%AF", "core.invalid_path", ""),
        ("demo/a%C0%80", "core.invalid_path", ""),
        ("demo/%ED%A0%80", "core.invalid_path", ""),
        ("%FF/k", "core.invalid_path", ""),
    ];
    for (place, code, pointer) in tricks {
        let status = if code == "core.invalid_path" {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        for (method, folder) in [
            (Method::PUT, "items"),
            (Method::GET, "items"),
            (Method::DELETE, "items"),
            (Method::GET, "versions"),
        ] {
            let place = format!("/api/v1/sgx/{folder}/{place}");
            let request = world.app.request(method, &place).bearer(ACME).bytes(BYTES, "a secret");
            assert_problem(&request.send().await, status, code, pointer);
        }
        world
            .app
            .request(Method::HEAD, &format!("/api/v1/sgx/items/{place}"))
            .bearer(ACME)
            .send()
            .await
            .expect(status);
    }
    let audits = world
        .rows(
            "SELECT action, result, count(*) AS count, count(*) FILTER (WHERE coalesce(details, '') = '') AS silent \
             FROM monitoring.audit_logs GROUP BY action, result ORDER BY action",
        )
        .await;
    let expected = ["DELETE_ITEM", "LIST_VERSIONS", "SEAL_ITEM", "STAT_ITEM", "UNSEAL_ITEM"]
        .map(|action| json!({"action": action, "result": "Failure", "count": tricks.len(), "silent": 0}));
    assert_eq!(audits, expected);
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 0);
    assert_eq!(world.number("SELECT count(*) FROM eventsourcing.events").await, 0);
}

#[tokio::test]
async fn a_body_that_is_refused_has_an_audit_row() {
    let world = World::new().await;
    let bodies = [
        ("application/json", "{".to_owned(), StatusCode::BAD_REQUEST),
        ("application/json", json!({"data": "?"}).to_string(), StatusCode::BAD_REQUEST),
        (
            "application/json",
            json!({"data": "aGk=", "metadata": 1}).to_string(),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("text/plain", "x".to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (BYTES, "x".repeat((1 << 20) + 1), StatusCode::PAYLOAD_TOO_LARGE),
    ];
    let count = bodies.len();
    for (kind, body, status) in bodies {
        world.put("demo", "k").bytes(kind, body).send().await.expect(status);
    }
    assert_eq!(world.audits().await, vec![json!(["SEAL_ITEM", "demo/k", "Failure"]); count]);
    let addresses = [json!({"service": "a/b", "key": "k"}), json!({"service": "demo", "key": "../k\u{0}"})];
    for body in &addresses {
        for action in ["restore", "destroy"] {
            world.act(action, body).send().await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        }
    }
    let after: Vec<Value> = world.audits().await.split_off(count);
    let row = |action: &str, resource: &str| json!([action, resource, "Failure"]);
    let expected = [
        row("RESTORE_ITEM", "a/b/k"),
        row("DESTROY_ITEM", "a/b/k"),
        row("RESTORE_ITEM", "demo/../k\u{fffd}"),
        row("DESTROY_ITEM", "demo/../k\u{fffd}"),
    ];
    assert_eq!(after, expected);
}

/// Each is refused before an action sees it.
#[tokio::test]
async fn what_cannot_be_read_has_an_audit_row_that_repeats_nothing_of_it() {
    let world = World::new().await;
    let send = |method: Method, path: &str| world.app.request(method, &format!("/api/v1/sgx{path}"));
    let secret = "hunter2-is-no-number";
    let cases = [
        (send(Method::GET, "/items?limit=hunter2-is-no-number").bearer(ACME), StatusCode::BAD_REQUEST),
        (send(Method::GET, "/items?cursor=hunter2-is-no-number").bearer(ACME), StatusCode::BAD_REQUEST),
        (
            send(Method::GET, "/items/demo/k?version=hunter2-is-no-number").bearer(ACME),
            StatusCode::BAD_REQUEST,
        ),
        (
            send(Method::GET, "/items/demo/k").bearer(ACME).header("x-attestation-id", secret),
            StatusCode::BAD_REQUEST,
        ),
        (send(Method::PUT, "/items/demo/k").bearer(ACME).header("if-match", secret), StatusCode::BAD_REQUEST),
        (
            send(Method::POST, "/items/batch-put").bearer(ACME).bytes("application/json", secret),
            StatusCode::BAD_REQUEST,
        ),
        (
            send(Method::POST, "/items/batch-put").bearer(ACME).json(&json!({"items": [
                {"service": "demo", "key": "k", "data": "hunter2-is-no-number"}]})),
            StatusCode::BAD_REQUEST,
        ),
        (
            send(Method::POST, "/items/batch-put").bearer(ACME).json(&json!({"items": []})),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            send(Method::POST, "/items/batch-get").bearer(ACME).json(&json!({"items": secret})),
            StatusCode::BAD_REQUEST,
        ),
        (
            send(Method::POST, "/items/batch-get").bearer(ACME).json(&json!({"items": [
                {"service": "demo", "key": ".."}]})),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            send(Method::POST, "/attestation").bearer(ACME).json(&json!({"nonce": "?"})),
            StatusCode::BAD_REQUEST,
        ),
    ];
    let count = cases.len();
    for (request, status) in cases {
        request.send().await.expect(status);
    }
    let rows = world
        .rows("SELECT service_name, actor, action, resource_id, result, details FROM monitoring.audit_logs")
        .await;
    assert_eq!(rows.len(), count);
    for row in &rows {
        assert_eq!(
            (&row["service_name"], &row["actor"], &row["action"], &row["result"]),
            (&json!("sgx"), &json!(ACME), &json!("REFUSE_REQUEST"), &json!("Failure"))
        );
        assert!(!row.to_string().contains("hunter2"), "{row}");
    }
    // A field's name is the caller's own too: PostgreSQL takes no U+0000, and no row holds a megabyte of it.
    for name in ["\0x".to_owned(), "n".repeat(1 << 20)] {
        let body = json!({"items": [{"service": "demo", "key": "k", name: 1}]});
        let asked = send(Method::POST, "/items/batch-get").bearer(ACME).json(&body).send().await;
        assert_eq!(asked.expect(StatusCode::BAD_REQUEST).json()["code"], "core.invalid_body");
    }
    let count = count + 2;
    assert!(world.number("SELECT max(length(details))::bigint FROM monitoring.audit_logs").await <= 300);
    let last = json!("POST /api/v1/sgx/attestation");
    assert!(
        rows.iter()
            .any(|row| row["resource_id"] == last && row["details"] == "400 sgx.invalid_base64 /nonce")
    );
    // A stranger leaves none: he could fill the log.
    send(Method::GET, "/items?limit=x").send().await.expect(StatusCode::UNAUTHORIZED);
    assert_eq!(world.audits().await.len(), count);
}
