//! What was deleted or has expired is removed in the end.

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_testkit::eventually;
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{BYTES, OTHER, World, path};

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A service whose clock is that far ahead; the purge's first step comes with its start.
async fn later(world: World, by: SignedDuration) -> World {
    world.advance(by);
    let settings = world.settings.clone();
    world.restart(settings).await
}

async fn keys(world: &World) -> Vec<Value> {
    let rows = world.rows("SELECT key FROM sgx.sealed_data_items ORDER BY key").await;
    rows.iter().map(|row| row["key"].clone()).collect()
}

#[tokio::test]
async fn what_was_deleted_or_expired_is_purged_after_the_retention() {
    let world = World::new().await;
    for (key, lives) in [("expired", 1), ("expires-later", 10), ("expires-much-later", 1000)] {
        let body = json!({"data": "aGk=", "expiresAt": world.after(days(lives)).to_string()});
        world.put("demo", key).json(&body).send().await.expect(StatusCode::CREATED);
    }
    for key in ["alive", "deleted", "deleted-and-put-again"] {
        world.store("demo", key, "x").await;
    }
    for key in ["deleted", "deleted-and-put-again"] {
        world.delete("demo", key).send().await.expect(StatusCode::NO_CONTENT);
    }
    world.store("demo", "deleted-and-put-again", "x").await;
    let other = path("demo", "deleted");
    world.app.put(&other).bearer(OTHER).bytes(BYTES, "x").send().await.expect(StatusCode::CREATED);
    world.app.delete(&other).bearer(OTHER).send().await.expect(StatusCode::NO_CONTENT);

    let world = later(world, days(92)).await;
    eventually(LIMIT, "three rows are purged", async || {
        world.number("SELECT count(*) FROM monitoring.audit_logs WHERE action = 'CLEANUP_EXPIRED_DATA'").await
            == 3
    })
    .await;
    let left = ["alive", "deleted-and-put-again", "expires-later", "expires-much-later"];
    assert_eq!(keys(&world).await, left);
    assert_eq!(world.value("demo", "alive").await, "x");

    let events = world
        .rows(&format!(
            "SELECT p.tenant_id, p.data->>'key' AS key, p.version, p.actor, \
                 (SELECT count(*) FROM eventsourcing.events e \
                  WHERE e.tenant_id = p.tenant_id AND e.stream = p.stream) AS of, \
                 p.stream = 'sgx.item/' || (p.data->>'itemId') AS named \
             FROM eventsourcing.events p WHERE p.type = 'sgx.item_purged' ORDER BY key DESC, p.tenant_id = '{}'",
            world.other
        ))
        .await;
    let event = |tenant, key: &str, version: i64| json!({"tenant_id": tenant, "key": key, "version": version, "of": version, "actor": "system:sgx.purge", "named": true});
    let expected =
        [event(world.acme, "expired", 2), event(world.acme, "deleted", 3), event(world.other, "deleted", 3)];
    assert_eq!(events, expected);
    let audits = world
        .rows(
            "SELECT DISTINCT service_name, resource_type, actor, user_id, result FROM monitoring.audit_logs \
             WHERE action = 'CLEANUP_EXPIRED_DATA'",
        )
        .await;
    let audit = json!({
        "service_name": "sgx", "resource_type": "sealed_item", "actor": "system:sgx.purge", "user_id": null,
        "result": "Success",
    });
    assert_eq!(audits, [audit]);
    world.assert_events_match_items().await;

    // A purged name is a new item.
    let again = world.store("demo", "deleted", "x").await.expect(StatusCode::CREATED);
    assert_eq!(again.header("etag"), "\"1\"");
}

#[tokio::test]
async fn nothing_is_purged_before_the_retention_is_over() {
    let world = World::new().await;
    world.store("demo", "deleted", "x").await;
    world.delete("demo", "deleted").send().await.expect(StatusCode::NO_CONTENT);
    world.advance(days(10));
    world.store("demo", "deleted-later", "x").await;
    world.delete("demo", "deleted-later").send().await.expect(StatusCode::NO_CONTENT);
    // The one that goes tells when the purge was there.
    let world = later(world, days(85)).await;
    eventually(LIMIT, "the older one is purged", async || !keys(&world).await.contains(&json!("deleted")))
        .await;
    assert_eq!(keys(&world).await, ["deleted-later"]);
}

#[tokio::test]
async fn a_purge_of_many_rows_leaves_none() {
    let world = World::new().await;
    world.store("demo", "k", "x").await;
    // More than two of its steps.
    let fill = "INSERT INTO sgx.sealed_data_items \
                SELECT (jsonb_populate_record(i, jsonb_build_object('key', 'k' || n, 'item_id', gen_random_uuid(), \
                        'deleted_at', now()))).* FROM sgx.sealed_data_items i, generate_series(1, 1201) n";
    assert_eq!(world.as_attacker(fill).await, 1201);
    let world = later(world, days(91)).await;
    eventually(LIMIT, "all of them are purged", async || keys(&world).await == ["k"]).await;
    let events = "SELECT count(DISTINCT stream) FROM eventsourcing.events WHERE type = 'sgx.item_purged'";
    assert_eq!(world.number(events).await, 1201);
}

#[tokio::test]
async fn former_versions_are_purged_after_the_retention() {
    let world = World::new().await;
    for value in ["one", "two"] {
        world.store("demo", "k", value).await;
    }
    world.store("demo", "single", "x").await;
    world.advance(days(60));
    world.store("demo", "k", "three").await;
    world.advance(days(60));
    // Version 1 was superseded 120 days ago, version 2 60 days ago.
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    eventually(LIMIT, "the first version is purged", async || {
        world.number("SELECT count(*) FROM sgx.item_versions").await == 1
    })
    .await;
    let left = world.rows("SELECT version FROM sgx.item_versions").await;
    assert_eq!(left, [json!({"version": 2})]);
    assert_eq!(world.value("demo", "k").await, "three");
    assert_eq!(world.version("demo", "k", 2).await.text(), "two");
    world.version("demo", "k", 1).await.expect(StatusCode::NOT_FOUND);
    let events = world
        .rows(
            "SELECT e.version, e.data->>'below' AS below, e.data->>'key' AS key, e.actor, i.revision \
             FROM eventsourcing.events e JOIN sgx.sealed_data_items i ON e.stream = 'sgx.item/' || i.item_id \
             WHERE e.type = 'sgx.versions_purged'",
        )
        .await;
    let event = json!({"version": 4, "below": "2", "key": "k", "actor": "system:sgx.purge", "revision": 4});
    assert_eq!(events, [event]);
    let audits =
        "SELECT resource_id, actor, result FROM monitoring.audit_logs WHERE action = 'CLEANUP_OLD_VERSIONS'";
    let audit = json!({"resource_id": "demo/k", "actor": "system:sgx.purge", "result": "Success"});
    assert_eq!(world.rows(audits).await, [audit]);
    // Whoever puts next counts on from there.
    assert_eq!(world.store("demo", "k", "four").await.header("etag"), "\"4\"");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_purged_item_takes_its_versions_along() {
    let world = World::new().await;
    for value in ["one", "two", "three"] {
        world.store("demo", "k", value).await;
    }
    world.store("demo", "alive", "x").await;
    let destroyed = json!({"service": "demo", "key": "k", "version": 1});
    world.act("destroy", &destroyed).send().await.expect(StatusCode::OK);
    world.advance(days(30));
    world.store("demo", "k", "four").await;
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    let world = later(world, days(91)).await;
    eventually(LIMIT, "the item is purged", async || keys(&world).await == ["alive"]).await;
    assert_eq!(world.number("SELECT count(*) FROM sgx.item_versions").await, 0);
    world.assert_usage_is_true().await;
    let restore = json!({"service": "demo", "key": "k", "version": 3});
    world.act("restore", &restore).send().await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn old_attestations_are_purged() {
    let world = World::new().await;
    for (hours, count) in [(-24 * 91, 2), (-24 * 89, 1)] {
        let sql = format!(
            "INSERT INTO sgx.attestations (attestation_id, tenant_id, tee, accepted, report, quote_sha256, verified_by, \
                 expires_at) \
             SELECT gen_random_uuid(), '{}', 'sgx', true, '{{}}', '\\x00', 'test', '{}' FROM generate_series(1, {count})",
            world.acme,
            world.after(SignedDuration::from_hours(hours)),
        );
        assert_eq!(world.as_attacker(&sql).await, count);
    }
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    eventually(LIMIT, "the older ones are purged", async || {
        world.number("SELECT count(*) FROM sgx.attestations").await == 1
    })
    .await;
    let audits = "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'CLEANUP_ATTESTATIONS'";
    assert_eq!(world.number(audits).await, 2);
}
