//! Each operation's audit row, and events beside items.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ACME, BYTES, SESSION, USER, World};

#[tokio::test]
async fn each_operation_has_one_audit_row() {
    let world = World::new().await;
    world.store("demo", "k", "one").await;
    world.get("demo", "k").send().await.expect(StatusCode::OK);
    world.get("demo", "k").header("accept", BYTES).send().await.expect(StatusCode::OK);
    world.head("demo", "k").send().await.expect(StatusCode::OK);
    world.list("?service=demo&prefix=k").send().await.expect(StatusCode::OK);
    world.list("").send().await.expect(StatusCode::OK);
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    let expected = json!([
        ["SEAL_ITEM", "demo/k", "Success"],
        ["UNSEAL_ITEM", "demo/k", "Success"],
        ["UNSEAL_ITEM", "demo/k", "Success"],
        ["STAT_ITEM", "demo/k", "Success"],
        ["LIST_ITEMS", "demo/k*", "Success"],
        ["LIST_ITEMS", "*/*", "Success"],
        ["DELETE_ITEM", "demo/k", "Success"],
    ]);
    assert_eq!(Value::from(world.audits().await), expected);
}

#[tokio::test]
async fn what_fails_has_an_audit_row_that_says_why() {
    let world = World::new().await;
    world.get("demo", "none").send().await.expect(StatusCode::NOT_FOUND);
    world.head("demo", "none").send().await.expect(StatusCode::NOT_FOUND);
    world.delete("demo", "none").send().await.expect(StatusCode::NOT_FOUND);
    let put = world.put("demo", "none").header("if-match", "\"1\"").bytes(BYTES, "x");
    put.send().await.expect(StatusCode::PRECONDITION_FAILED);
    let expected = json!([
        ["UNSEAL_ITEM", "demo/none", "Failure"],
        ["STAT_ITEM", "demo/none", "Failure"],
        ["DELETE_ITEM", "demo/none", "Failure"],
        ["SEAL_ITEM", "demo/none", "Failure"],
    ]);
    assert_eq!(Value::from(world.audits().await), expected);
    let silent = "SELECT count(*) FROM monitoring.audit_logs WHERE coalesce(details, '') = ''";
    assert_eq!(world.number(silent).await, 0);
    assert_eq!(world.number("SELECT count(*) FROM eventsourcing.events").await, 0);
}

#[tokio::test]
async fn a_row_says_who_from_where_in_which_request() {
    let world = World::new().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let put = world
        .put("demo", "k")
        .bytes(BYTES, "x")
        .header("x-request-id", "put-1")
        .header("user-agent", "test/1");
    put.header("traceparent", traceparent).send().await.expect(StatusCode::CREATED);
    for (request, id) in [(world.get("demo", "k"), "get-1"), (world.delete("demo", "k"), "delete-1")] {
        let request = request.header("x-request-id", id).header("user-agent", "test/1");
        let response = request.header("traceparent", traceparent).send().await;
        assert_eq!(response.header("x-request-id"), id);
    }
    let columns =
        "tenant_id, service_name, resource_type, user_id, actor, session_id, ip_address, user_agent";
    let rows =
        world.rows(&format!("SELECT {columns}, request_id FROM monitoring.audit_logs ORDER BY id")).await;
    assert_eq!(rows.len(), 3);
    for (row, id) in rows.iter().zip(["put-1", "get-1", "delete-1"]) {
        let expected = json!({
            "tenant_id": world.acme, "service_name": "sgx", "resource_type": "sealed_item", "user_id": USER,
            "actor": ACME, "session_id": SESSION, "ip_address": "127.0.0.1", "user_agent": "test/1", "request_id": id,
        });
        assert_eq!(row, &expected);
    }
    let events =
        world.rows("SELECT actor, correlation_id, causation_id FROM eventsourcing.events ORDER BY id").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let expected =
        ["put-1", "delete-1"].map(|id| json!({"actor": ACME, "correlation_id": trace, "causation_id": id}));
    assert_eq!(events, expected);
}

#[tokio::test]
async fn events_match_items_one_to_one_and_carry_no_value() {
    let world = World::new().await;
    for (key, changes) in [("a", "ppp"), ("b", "pdp"), ("c", "pd"), ("d", "p"), ("e", "pdpdp")] {
        for change in changes.chars() {
            match change {
                'p' => drop(world.store("demo", key, "a marker of the value").await),
                _ => drop(world.delete("demo", key).send().await.expect(StatusCode::NO_CONTENT)),
            }
        }
    }
    world.assert_events_match_items().await;
    let types = world
        .rows(
            "SELECT e.version, e.type, e.data->>'version' AS of FROM eventsourcing.events e \
             JOIN sgx.sealed_data_items i ON e.stream = 'sgx.item/' || i.item_id WHERE i.key = 'e' ORDER BY e.version",
        )
        .await;
    let (put, deleted) = ("sgx.item_put", "sgx.item_deleted");
    let expected = [(1, put, "1"), (2, deleted, "1"), (3, put, "2"), (4, deleted, "2"), (5, put, "3")]
        .map(|(version, kind, of)| json!({"version": version, "type": kind, "of": of}));
    assert_eq!(types, expected);
    for table in ["eventsourcing.events", "monitoring.audit_logs", "sgx.sealed_data_items"] {
        let leaks = format!(
            "SELECT count(*) FROM {table} t WHERE t::text LIKE '%marker%' OR t::text LIKE '%{}%'",
            hex::encode("marker")
        );
        assert_eq!(world.number(&leaks).await, 0, "{table}");
    }
}
