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
