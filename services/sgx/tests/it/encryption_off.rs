//! Values stored as they are.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{BYTES, Settings, World, assert_problem};

const HEADER: &str = "x-nsl-encryption";

fn off() -> Settings {
    Settings { encrypt: false, ..Settings::default() }
}

#[tokio::test]
async fn a_value_is_stored_as_it_is_and_every_answer_says_so() {
    let world = World::with(off()).await;
    let put = world.store("demo", "k", "in the clear").await;
    let view = put.json();
    assert_eq!(
        (&view["encryption"], &view["size"], &view["sealedSize"]),
        (&json!("none"), &json!(12), &json!(12))
    );
    let stored = world
        .rows(
            "SELECT convert_from(sealed_data, 'UTF8') AS value, encryption, sealing_key_version, wrapped_data_key \
             FROM sgx.sealed_data_items",
        )
        .await;
    let row = json!({"value": "in the clear", "encryption": "none", "sealing_key_version": null, "wrapped_data_key": null});
    assert_eq!(stored, [row]);
    let answers = [
        put,
        world.get("demo", "k").send().await.expect(StatusCode::OK),
        world.head("demo", "k").send().await.expect(StatusCode::OK),
        world.list("").send().await.expect(StatusCode::OK),
        world.get("demo", "none").send().await.expect(StatusCode::NOT_FOUND),
        world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT),
    ];
    for answer in answers {
        assert_eq!(answer.header(HEADER), "none");
    }
}

#[tokio::test]
async fn where_values_are_sealed_no_answer_says_otherwise() {
    let world = World::new().await;
    assert!(!world.store("demo", "k", "x").await.headers.contains_key(HEADER));
    assert!(!world.get("demo", "k").send().await.headers.contains_key(HEADER));
}

#[tokio::test]
async fn health_is_degraded() {
    let world = World::with(off()).await;
    let health = world.app.get("/health/sgx").send().await.expect(StatusCode::OK).json();
    assert_eq!((&health["status"], &health["data"]["encryption"]), (&json!("Degraded"), &json!("none")));
    assert!(health["detail"].as_str().unwrap().contains("SGX:Database:EnableEncryption"));
}

#[tokio::test]
async fn sealed_values_still_open_and_are_still_checked() {
    let world = World::new().await;
    world.store("demo", "one", "sealed one").await;
    world.store("demo", "two", "sealed two").await;
    let world = world.restart(off()).await;
    assert_eq!(world.value("demo", "one").await, "sealed one");
    world.as_attacker("UPDATE sgx.sealed_data_items SET updated_by = 'eve' WHERE key = 'two'").await;
    let damaged = world.get("demo", "two").send().await;
    assert_problem(&damaged, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
    // The next version goes as values go now.
    assert_eq!(world.store("demo", "one", "plain").await.json()["encryption"], "none");
    assert_eq!(world.value("demo", "one").await, "plain");
}

#[tokio::test]
async fn with_encryption_on_again_an_unsealed_value_is_not_trusted() {
    let world = World::with(off()).await;
    world.store("demo", "k", "plain").await;
    let world = world.restart(Settings::default()).await;
    let refused = world.get("demo", "k").header("accept", BYTES).send().await;
    assert_problem(&refused, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
    assert_eq!(world.store("demo", "k", "sealed").await.json()["encryption"], "aes-256-gcm");
    assert_eq!(world.value("demo", "k").await, "sealed");
}
