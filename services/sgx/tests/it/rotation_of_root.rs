//! Rotation of the root key: every tenant's sealing keys go under the new one, and the former one is wiped.

use axum::http::StatusCode;
use nsl_crypto::merkle::{leaf_hash, root};
use serde_json::{Value, json};

use crate::rotation::{ROTATE, ended, line, under_64_clients, verified};
use crate::world::{ACME, BYTES, OPERATOR, OTHER, Settings, World, path, start};

pub(crate) async fn rotated(world: &World) -> Value {
    let order = json!({"scope": "root"});
    let started =
        world.app.post(ROTATE).bearer(OPERATOR).json(&order).send().await.expect(StatusCode::ACCEPTED).json();
    ended(world, OPERATOR, &started["rotationId"]).await
}

#[tokio::test]
async fn the_root_key_rotates_under_what_every_tenant_has() {
    let world = World::new().await;
    let second = start(&world.test, world.acme, world.other, &world.settings).await.unwrap();
    world.store("demo", "k", "ours").await;
    let theirs =
        |app| nsl_testkit::TestApp::put(app, &path("demo", "k")).bearer(OTHER).bytes(BYTES, "theirs");
    theirs(&world.app).send().await.expect(StatusCode::CREATED);
    let former = world.rows("SELECT encode(root_key_id, 'hex') AS id FROM sgx.root_keys").await;

    let rotation = rotated(&world).await;
    assert_eq!(rotation["state"], "completed", "{rotation}");
    assert_eq!((&rotation["kind"], &rotation["total"]), (&json!("root"), &json!(2)));
    assert_eq!(rotation["from"], former[0]["id"]);
    let under = "SELECT DISTINCT encode(root_key_id, 'hex') AS id FROM ( \
                     SELECT root_key_id FROM sgx.sealing_keys UNION ALL SELECT root_key_id FROM sgx.secret_keys) AS k";
    assert_eq!(world.rows(under).await, [json!({"id": rotation["to"]})]);
    let roots = "SELECT k.state, count(s.wrapped_root) AS slots FROM sgx.root_keys k \
                 JOIN sgx.root_slots s USING (root_key_id) GROUP BY k.state ORDER BY k.state";
    let expected = [json!({"state": "active", "slots": 1}), json!({"state": "retired", "slots": 0})];
    assert_eq!(world.rows(roots).await, expected, "the former root key is wiped");

    let lines = verified(&world, OPERATOR, &rotation).await;
    assert_eq!((line(&lines, "kind"), line(&lines, "under-former-keys")), ("root", "0"));
    let leaves = world
        .rows(
            "SELECT encode(leaf, 'hex') AS leaf FROM ( \
                 SELECT 1 AS part, tenant_id, version, \
                     uuid_send(tenant_id) || int4send(version) || root_key_id || sha256(wrapped_key) AS leaf \
                 FROM sgx.sealing_keys UNION ALL \
                 SELECT 2, NULL, 0, decode(repeat('00', 20), 'hex') || root_key_id || sha256(wrapped_key) \
                 FROM sgx.secret_keys) AS leaves ORDER BY part, tenant_id, version",
        )
        .await;
    let leaves: Vec<_> =
        leaves.iter().map(|row| leaf_hash(&hex::decode(row["leaf"].as_str().unwrap()).unwrap())).collect();
    assert_eq!(line(&lines, "under-new-key"), leaves.len().to_string());
    assert_eq!(line(&lines, "merkle-root"), format!("sha256:{}", hex::encode(root(&leaves))));

    // In this process, in one that has not heard of it, and after a restart.
    assert_eq!(world.value("demo", "k").await, "ours");
    let read = second.get(&path("demo", "k")).bearer(OTHER).header("accept", BYTES).send().await;
    assert_eq!(read.expect(StatusCode::OK).text(), "theirs");
    theirs(&second).send().await.expect(StatusCode::OK);
    second.shut_down().await;
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "k").await, "ours");
    world.store("demo", "new", "after").await;
    let rotation = rotated(&world).await;
    assert_eq!(rotation["state"], "completed", "once more: {rotation}");
    assert_eq!(world.value("demo", "new").await, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_the_root_key_under_64_clients_refuses_nobody() {
    let world = World::new().await;
    let second = start(&world.test, world.acme, world.other, &world.settings).await.unwrap();
    world.store("demo", "old", "at rest").await;
    let rotations = async {
        for round in 1..=4 {
            let rotation = rotated(&world).await;
            assert_eq!(rotation["state"], "completed", "{rotation}");
            let lines = verified(&world, OPERATOR, &rotation).await;
            assert_eq!((line(&lines, "kind"), line(&lines, "under-former-keys")), ("root", "0"));
            assert_eq!(line(&lines, "to"), rotation["to"].as_str().unwrap());
            // The other tenant's key may have been made meanwhile: under the new root key too.
            let left = format!(
                "SELECT count(*) FROM sgx.sealing_keys WHERE encode(root_key_id, 'hex') <> '{}'",
                rotation["to"].as_str().unwrap()
            );
            assert_eq!(world.number(&left).await, 0, "while the clients go on");
            let retired = "SELECT count(*) FROM sgx.root_keys WHERE state = 'retired'";
            assert_eq!(world.number(retired).await, round);
        }
    };
    under_64_clients(&[(&world.app, ACME), (&second, OTHER)], rotations).await;
    world.assert_events_match_items().await;
    second.shut_down().await;
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "old").await, "at rest");
    let both = [(ACME, "k0"), (OTHER, "k7")];
    for (bearer, key) in both {
        world.app.get(&path("load", key)).bearer(bearer).send().await.expect(StatusCode::OK);
    }
}
