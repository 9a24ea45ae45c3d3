//! The tenants' sealing keys.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{BYTES, OTHER, Settings, World, path, start};

/// How many wraps are reserved at once.
const BLOCK: i64 = 65536;

#[tokio::test]
async fn the_same_root_key_opens_after_a_restart() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "k").await, "hello");
    assert_eq!(world.store("demo", "k", "again").await.header("etag"), "\"2\"");
    let keys = world.rows("SELECT version, state FROM sgx.sealing_keys").await;
    assert_eq!(keys, [json!({"version": 1, "state": "active"})], "no second one was made");
}

#[tokio::test]
async fn each_tenant_has_a_sealing_key_of_its_own() {
    let world = World::new().await;
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealing_keys").await, 0, "made at first use");
    // At once, so that several puts look for the same missing key.
    futures::future::join_all((0..16).map(async |number| {
        let key = format!("k{number}");
        world.store("demo", &key, "x").await;
        world
            .app
            .put(&path("demo", &key))
            .bearer(OTHER)
            .bytes(BYTES, "x")
            .send()
            .await
            .expect(StatusCode::CREATED);
    }))
    .await;
    let keys = "SELECT count(DISTINCT tenant_id) = 2 AND count(DISTINCT wrapped_key) = 2 AND count(*) = 2 AS apart \
                FROM sgx.sealing_keys";
    assert_eq!(world.rows(keys).await, [json!({"apart": true})]);
}

#[tokio::test]
async fn two_processes_share_one_sealing_key() {
    let world = World::new().await;
    let second = start(&world.test, world.acme, world.other, &world.settings).await.unwrap();
    let place = path("demo", "theirs");
    let theirs = second.put(&place).bearer(crate::world::ACME).bytes(BYTES, "theirs").send();
    futures::future::join(theirs, world.store("demo", "ours", "ours")).await.0.expect(StatusCode::CREATED);
    assert_eq!(world.value("demo", "theirs").await, "theirs");
    let ours =
        second.get(&path("demo", "ours")).bearer(crate::world::ACME).header("accept", BYTES).send().await;
    assert_eq!(ours.expect(StatusCode::OK).text(), "ours");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealing_keys").await, 1);
}

#[tokio::test]
async fn wraps_are_reserved_before_they_are_made() {
    let world = World::new().await;
    for _ in 0..6 {
        world.store("demo", "k", "x").await;
        assert_eq!(
            world.number("SELECT wraps FROM sgx.sealing_keys").await,
            BLOCK,
            "one block for many puts"
        );
    }
    // What was reserved and not made is lost with the process; it is never made twice.
    let world = world.restart(Settings::default()).await;
    world.store("demo", "k", "x").await;
    assert_eq!(world.number("SELECT wraps FROM sgx.sealing_keys").await, 2 * BLOCK);
}

#[tokio::test]
async fn a_sealing_key_is_replaced_before_it_wraps_too_often() {
    let world = World::new().await;
    world.store("demo", "old", "under the first key").await;
    // One put more than the last block allows (2^32, NIST SP 800-38D section 8.3).
    world.as_attacker("UPDATE sgx.sealing_keys SET wraps = 4294967296 - 65535").await;
    let world = world.restart(Settings::default()).await;
    futures::future::join_all((0..8).map(async |number| {
        world.store("demo", &format!("new{number}"), "under the second key").await;
    }))
    .await;
    let keys = world
        .rows("SELECT version, state, retired_at IS NULL AS kept FROM sgx.sealing_keys ORDER BY version")
        .await;
    let expected = [
        json!({"version": 1, "state": "superseded", "kept": true}),
        json!({"version": 2, "state": "active", "kept": true}),
    ];
    assert_eq!(keys, expected);
    let used = "SELECT count(*) FROM sgx.sealed_data_items WHERE key LIKE 'new%' AND sealing_key_version = 2";
    assert_eq!(world.number(used).await, 8);
    assert_eq!(world.value("demo", "old").await, "under the first key");
    assert_eq!(world.value("demo", "new7").await, "under the second key");
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "old").await, "under the first key");
    assert_eq!(world.value("demo", "new0").await, "under the second key");
}
