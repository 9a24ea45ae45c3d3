//! Many items in one request, and the versions that puts leave behind.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::{ACME, OTHER, World, assert_problem};

const PUT: &str = "/api/v1/sgx/items/batch-put";
const GET: &str = "/api/v1/sgx/items/batch-get";

fn item(key: &str, value: &str) -> Value {
    json!({"service": "demo", "key": key, "data": STANDARD.encode(value)})
}

fn statuses(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_atomic_batch_puts_all_of_its_items_with_an_event_and_an_audit_row_each() {
    let world = World::new().await;
    world.store("demo", "b", "before").await;
    let body = json!({"items": [item("c", "3"), item("a", "1"), item("b", "2")]});
    let answer = world.app.post(PUT).bearer(ACME).json(&body).send().await.expect(StatusCode::OK).json();
    assert_eq!(statuses(&answer), [201, 201, 200]);
    assert_eq!(answer["items"][0]["item"]["key"], "c", "in the order of the request");
    assert_eq!(answer["items"][2]["item"]["version"], 2);
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(world.value("demo", key).await, value);
    }
    let puts = "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'SEAL_ITEM' AND result = 'Success'";
    assert_eq!(world.number(puts).await, 4);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn an_atomic_batch_with_one_refused_item_puts_nothing() {
    let world = World::new().await;
    world.store("demo", "b", "before").await;
    let mut wrong = item("b", "2");
    wrong["ifVersion"] = json!(7);
    let body = json!({"items": [item("a", "1"), wrong, item("c", "3")]});
    let refused = world.app.post(PUT).bearer(ACME).json(&body).send().await;
    assert_problem(&refused, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "/items/1");
    let mut late = item("b", "2");
    late["expiresAt"] = json!("2001-01-01T00:00:00Z");
    let body = json!({"items": [item("a", "1"), late]});
    let refused = world.app.post(PUT).bearer(ACME).json(&body).send().await;
    assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_expiry", "/expiresAt");
    let body = json!({"items": [item("a", "1"), item("a", "2")]});
    let refused = world.app.post(PUT).bearer(ACME).json(&body).send().await;
    assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.item_twice", "/items/1");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 1);
    assert_eq!(world.value("demo", "b").await, "before");
    let failures =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'SEAL_ITEM' AND result = 'Failure'";
    assert_eq!(world.number(failures).await, 3);
}

#[tokio::test]
async fn without_atomic_each_item_has_its_own_outcome() {
    let world = World::new().await;
    let mut wrong = item("b", "2");
    wrong["ifVersion"] = json!(7);
    let mut absent = item("d", "4");
    absent["ifVersion"] = json!(0);
    let body = json!({"atomic": false, "items": [item("a", "1"), wrong, absent, item("a", "again")]});
    let answer = world.app.post(PUT).bearer(ACME).json(&body).send().await.expect(StatusCode::OK).json();
    assert_eq!(statuses(&answer), [201, 412, 201, 200]);
    assert_eq!(answer["items"][1]["error"]["code"], "sgx.version_conflict");
    assert_eq!(world.value("demo", "a").await, "again");
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn a_repeated_batch_under_its_key_puts_once_and_its_stored_hash_tells_no_value() {
    let world = World::new().await;
    let body = json!({"items": [item("a", "1")]});
    let send =
        |body: Value| world.app.post(PUT).bearer(ACME).header("idempotency-key", "k-1").json(&body).send();
    let first = send(body.clone()).await.expect(StatusCode::OK);
    let second = send(body.clone()).await.expect(StatusCode::OK);
    assert_eq!(first.json(), second.json());
    assert_eq!(second.header("idempotency-replayed"), "true");
    assert_eq!(world.number("SELECT version FROM sgx.sealed_data_items").await, 1);
    let other = send(json!({"items": [item("a", "2")]})).await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY, "core.idempotency_key_reused", "");
    // The value is short: a plain hash of the request would be found by trying.
    let plain = nsl_crypto::digest::sha256(&serde_json::to_vec(&body).unwrap());
    let stored = format!(
        "SELECT count(*) FROM core.idempotency_keys WHERE request_hash = '\\x{}'",
        hex::encode(plain)
    );
    assert_eq!(world.number(&stored).await, 0);
}

#[tokio::test]
async fn a_batch_get_answers_each_item_or_why_there_is_none() {
    let world = World::new().await;
    world.store("demo", "a", "1").await;
    let body = json!({"items": [{"service": "demo", "key": "a"}, {"service": "demo", "key": "none"}]});
    let answer = world.app.post(GET).bearer(ACME).json(&body).send().await.expect(StatusCode::OK).json();
    assert_eq!(statuses(&answer), [200, 404]);
    assert_eq!(answer["items"][0]["item"]["data"], STANDARD.encode("1"));
    assert_eq!(answer["items"][1]["error"]["code"], "sgx.item_not_found");
    let foreign = world.app.post(GET).bearer(OTHER).json(&body).send().await.expect(StatusCode::OK).json();
    assert_eq!(statuses(&foreign), [404, 404]);
    let reads = "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'UNSEAL_ITEM'";
    assert_eq!(world.number(reads).await, 4);
    for body in [json!({"items": []}), json!({"items": vec![json!({"service": "s", "key": "k"}); 1001]})] {
        let refused = world.app.post(GET).bearer(ACME).json(&body).send().await;
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_batch", "/items");
    }
}

#[tokio::test]
async fn a_damaged_item_of_a_batch_get_shows_nothing_and_raises_the_alarm() {
    let world = World::new().await;
    world.store("demo", "a", "1").await;
    world.store("demo", "b", "2").await;
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items SET sealed_data = set_byte(sealed_data, 20, 1) WHERE key = 'a'",
        )
        .await;
    let body = json!({"items": [{"service": "demo", "key": "a"}, {"service": "demo", "key": "b"}]});
    let answer = world.app.post(GET).bearer(ACME).json(&body).send().await.expect(StatusCode::OK).json();
    assert_eq!(statuses(&answer), [500, 200]);
    assert_eq!(answer["items"][0]["error"]["code"], "sgx.integrity_violation");
    assert!(answer["items"][0].get("item").is_none());
    let alarms =
        "SELECT count(*) FROM monitoring.security_events WHERE event_type = 'sgx.integrity_violation'";
    assert_eq!(world.number(alarms).await, 1);
}

#[tokio::test]
async fn a_put_moves_what_it_replaces_to_the_versions_and_keeps_ten() {
    let world = World::new().await;
    for version in 1..=13 {
        world.store("demo", "a", &format!("value {version}")).await;
    }
    let kept = world.rows("SELECT version FROM sgx.item_versions ORDER BY version").await;
    let kept: Vec<i64> = kept.iter().map(|row| row["version"].as_i64().unwrap()).collect();
    // With the current one, 13, there are ten.
    assert_eq!(kept, (4..=12).collect::<Vec<_>>());
    let same = "SELECT count(*) FROM sgx.item_versions v JOIN eventsourcing.events e \
                ON e.stream = 'sgx.item/' || v.item_id AND (e.data->>'version')::bigint = v.version \
                WHERE e.data->>'fingerprint' = v.fingerprint";
    assert_eq!(world.number(same).await, 9);
    let usage = world
        .rows("SELECT sum(items)::bigint AS items, sum(versions)::bigint AS versions, sum(bytes)::bigint AS bytes FROM sgx.usage_changes")
        .await;
    let stored = world.number(
        "SELECT (SELECT sum(sealed_size) FROM sgx.item_versions) + (SELECT sum(sealed_size) FROM sgx.sealed_data_items)",
    );
    assert_eq!(usage[0], json!({"items": 1, "versions": 10, "bytes": stored.await}));
}
