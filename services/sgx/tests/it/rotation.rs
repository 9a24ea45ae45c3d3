//! Rotation of a tenant's sealing key: no downtime, nothing left under the former key, and a statement that says so.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use nsl_crypto::digest::{Sha256Digest, sha256};
use nsl_crypto::merkle::{leaf_hash, root};
use nsl_crypto::note::VerifierKey;
use nsl_testkit::{Request, Response, TestApp, eventually};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{ACME, ACME_READER, BYTES, OTHER, Settings, World, assert_problem, path, start};

pub(crate) const ROTATE: &str = "/api/v1/sgx/sealing-keys/rotate";

fn rotate<'w>(world: &'w World, body: &Value) -> Request<'w> {
    world.app.post(ROTATE).bearer(ACME).json(body)
}

/// Starts a rotation and waits for its end.
async fn rotated(world: &World, body: &Value) -> Value {
    let started = rotate(world, body).send().await.expect(StatusCode::ACCEPTED).json();
    ended(world, ACME, &started["rotationId"]).await
}

pub(crate) async fn ended(world: &World, bearer: &str, id: &Value) -> Value {
    let place = format!("/api/v1/sgx/rotations/{}", id.as_str().unwrap());
    let mut rotation = Value::Null;
    eventually(LIMIT, "the rotation ends", async || {
        rotation = world.app.get(&place).bearer(bearer).send().await.expect(StatusCode::OK).json();
        rotation["state"] != "running"
    })
    .await;
    rotation
}

pub(crate) async fn statement(world: &World, bearer: &str, rotation: &Value) -> Response {
    let id = rotation["rotationId"].as_str().unwrap();
    world.app.get(&format!("/api/v1/sgx/rotations/{id}/statement")).bearer(bearer).send().await
}

/// The lines of a statement after its signature was verified with the key that the service gives.
pub(crate) async fn verified(world: &World, bearer: &str, rotation: &Value) -> Vec<(String, String)> {
    let note = statement(world, bearer, rotation).await.expect(StatusCode::OK);
    assert_eq!(note.header("content-type"), "text/plain; charset=utf-8");
    let keys = world.app.get("/api/v1/sgx/sealing-keys").bearer(bearer).send().await.expect(StatusCode::OK);
    let key = VerifierKey::parse(keys.json()["statementKey"].as_str().unwrap()).unwrap();
    let text = key.open(&note.text()).unwrap().to_owned();
    assert!(key.open(&note.text().replace("under-former-keys 0", "under-former-keys 1")).is_err());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("nsl.sgx/rotation-statement/v1"));
    lines
        .map(|line| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect()
}

pub(crate) fn line<'l>(lines: &'l [(String, String)], name: &str) -> &'l str {
    &lines.iter().find(|(found, _)| found == name).unwrap().1
}

/// What the statement's Merkle root is over, from the tables alone.
async fn merkle_root(world: &World) -> String {
    let rows = world
        .rows(
            "SELECT encode(leaf, 'hex') AS leaf FROM ( \
                 SELECT 1 AS part, service_name, key, NULL::uuid AS id, 0::bigint AS v, \
                     uuid_send(tenant_id) || uuid_send(item_id) || int8send(version) || int4send(sealing_key_version) \
                         || sha256(wrapped_data_key) AS leaf FROM sgx.sealed_data_items WHERE wrapped_data_key IS NOT NULL \
                 UNION ALL \
                 SELECT 2, '', '', item_id, version, \
                     uuid_send(tenant_id) || uuid_send(item_id) || int8send(version) || int4send(sealing_key_version) \
                         || sha256(wrapped_data_key) FROM sgx.item_versions WHERE wrapped_data_key IS NOT NULL) AS leaves \
             ORDER BY part, service_name COLLATE \"C\", key COLLATE \"C\", id, v",
        )
        .await;
    let leaves: Vec<Sha256Digest> =
        rows.iter().map(|row| leaf_hash(&hex::decode(row["leaf"].as_str().unwrap()).unwrap())).collect();
    assert_ne!(root(&leaves), sha256(&[]), "there is something in it");
    format!("sha256:{}", hex::encode(root(&leaves)))
}

const UNDER: &str = "SELECT sealing_key_version AS key, count(*) AS rows FROM ( \
                         SELECT sealing_key_version FROM sgx.sealed_data_items UNION ALL \
                         SELECT sealing_key_version FROM sgx.item_versions) AS all_rows GROUP BY 1 ORDER BY 1";

#[tokio::test]
async fn a_rotation_moves_every_data_key_and_states_it() {
    let world = World::new().await;
    for number in 0..20 {
        let key = format!("k{number}");
        world.store("demo", &key, &format!("value {number}")).await;
        world.store("demo", &key, &format!("newer value {number}")).await;
    }
    world.delete("demo", "k3").send().await.expect(StatusCode::NO_CONTENT);
    world.app.put(&path("demo", "theirs")).bearer(OTHER).bytes(BYTES, "x").send().await;
    let unchanged = "SELECT key, version, revision, fingerprint, encode(sealed_data, 'hex') AS sealed, updated_at \
                     FROM sgx.sealed_data_items WHERE key <> 'theirs' ORDER BY key";
    let before = world.rows(unchanged).await;
    let events =
        world.number("SELECT count(*) FROM eventsourcing.events WHERE stream LIKE 'sgx.item/%'").await;

    let rotation = rotated(&world, &json!({"reason": "a custodian left"})).await;
    assert_eq!(rotation["state"], "completed", "{rotation}");
    assert_eq!(
        (&rotation["from"], &rotation["to"], &rotation["kind"]),
        (&json!("1"), &json!("2"), &json!("tenant"))
    );
    assert_eq!(
        (&rotation["total"], &rotation["done"], &rotation["percent"]),
        (&json!(40), &json!(40), &json!(100))
    );
    assert_eq!(rotation["reason"], "a custodian left");

    // The other tenant's key is not touched.
    assert_eq!(world.rows(UNDER).await, [json!({"key": 1, "rows": 1}), json!({"key": 2, "rows": 40})]);
    assert_eq!(world.rows(unchanged).await, before, "values, revisions and fingerprints stay");
    let after =
        world.number("SELECT count(*) FROM eventsourcing.events WHERE stream LIKE 'sgx.item/%'").await;
    assert_eq!(after, events);
    assert_eq!(world.value("demo", "k7").await, "newer value 7");

    let lines = verified(&world, ACME, &rotation).await;
    assert_eq!(line(&lines, "rotation"), rotation["rotationId"].as_str().unwrap());
    assert_eq!(line(&lines, "tenant"), world.acme.to_string());
    assert_eq!((line(&lines, "from"), line(&lines, "to")), ("1", "2"));
    assert_eq!((line(&lines, "under-new-key"), line(&lines, "under-former-keys")), ("40", "0"));
    world
        .as_attacker(&format!("DELETE FROM sgx.sealed_data_items WHERE tenant_id = '{}'", world.other))
        .await;
    let expected = merkle_root(&world).await;
    assert_eq!(line(&lines, "merkle-root"), expected);

    let audit = world
        .rows("SELECT actor, metadata FROM monitoring.audit_logs WHERE action = 'ROTATION_COMPLETED'")
        .await;
    assert_eq!(audit[0]["actor"], "system:sgx.rotation");
    assert_eq!(audit[0]["metadata"]["rows"], 40);
    assert_eq!(audit[0]["metadata"]["merkleRoot"], expected);
    let event =
        world.rows("SELECT data FROM eventsourcing.events WHERE type = 'sgx.rotation_completed'").await;
    assert_eq!(event[0]["data"]["merkleRoot"], expected);
    let keys = world.app.get("/api/v1/sgx/sealing-keys").bearer(ACME).send().await.json();
    let keys: Vec<_> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| json!([key["version"], key["state"], key["rows"]]))
        .collect();
    assert_eq!(keys, [json!([2, "active", 40]), json!([1, "retired", 0])]);
}

#[tokio::test]
async fn what_cannot_be_rotated_is_refused() {
    let world = World::new().await;
    world.store("demo", "k", "x").await;
    for (body, status, code, pointer) in [
        (json!({"scope": "root"}), StatusCode::FORBIDDEN, "sgx.operator_only", ""),
        (
            json!({"scope": "root", "reseal": true}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.reseal_of_root",
            "/reseal",
        ),
        (
            json!({"reason": "x".repeat(501)}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.invalid_reason",
            "/reason",
        ),
    ] {
        assert_problem(&rotate(&world, &body).send().await, status, code, pointer);
    }
    let unknown = rotate(&world, &json!({"soon": true})).send().await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let denied =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'ROTATE_KEYS' AND result = 'Denied'";
    assert_eq!(world.number(denied).await, 1);
    let reader = world.app.post(ROTATE).bearer(ACME_READER).json(&json!({})).send().await;
    assert_eq!(reader.status, StatusCode::FORBIDDEN);
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealing_keys").await, 1, "nothing was made");

    let nobody = "00000000-0000-7000-8000-000000000000";
    let missing = world.app.get(&format!("/api/v1/sgx/rotations/{nobody}")).bearer(ACME).send().await;
    assert_problem(&missing, StatusCode::NOT_FOUND, "sgx.rotation_not_found", "");
}

#[tokio::test]
async fn the_same_idempotency_key_rotates_once() {
    let world = World::new().await;
    let send = || rotate(&world, &json!({})).header("idempotency-key", "one").send();
    let first = send().await.expect(StatusCode::ACCEPTED).json();
    let second = send().await.expect(StatusCode::ACCEPTED).json();
    assert_eq!(first["rotationId"], second["rotationId"]);
    ended(&world, ACME, &first["rotationId"]).await;
    let list = world.app.get("/api/v1/sgx/rotations").bearer(ACME).send().await.expect(StatusCode::OK).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let theirs =
        world.app.get("/api/v1/sgx/rotations").bearer(OTHER).send().await.expect(StatusCode::OK).json();
    assert_eq!(theirs["items"], json!([]));
    let id = first["rotationId"].as_str().unwrap();
    for place in [format!("/api/v1/sgx/rotations/{id}"), format!("/api/v1/sgx/rotations/{id}/statement")] {
        let theirs = world.app.get(&place).bearer(OTHER).send().await;
        assert_problem(&theirs, StatusCode::NOT_FOUND, "sgx.rotation_not_found", "");
    }
}

#[tokio::test]
async fn a_process_that_has_not_heard_of_it_cannot_put_under_the_former_key() {
    let world = World::new().await;
    let second = start(&world.test, world.acme, world.other, &world.settings).await.unwrap();
    let put = async |key: &str| {
        let put = second.put(&path("demo", key)).bearer(ACME).bytes(BYTES, "theirs").send();
        put.await.expect(StatusCode::CREATED);
    };
    put("before").await;
    // The activation behind the back of both: neither forgets its key by itself at once.
    let rotation = rotate(&world, &json!({})).send().await.expect(StatusCode::ACCEPTED).json();
    put("after").await;
    ended(&world, ACME, &rotation["rotationId"]).await;
    put("later").await;
    assert_eq!(world.rows(UNDER).await, [json!({"key": 2, "rows": 3})]);
    assert_eq!(world.value("demo", "after").await, "theirs");
    second.shut_down().await;
}

#[tokio::test]
async fn a_value_that_does_not_open_fails_the_rotation_and_keeps_the_former_key() {
    let world = World::new().await;
    for key in ["a", "b", "c"] {
        world.store("demo", key, key).await;
    }
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items SET wrapped_data_key = set_byte(wrapped_data_key, 30, \
             get_byte(wrapped_data_key, 30) # 1) WHERE key = 'b'",
        )
        .await;
    let rotation = rotated(&world, &json!({})).await;
    assert_eq!(rotation["state"], "failed");
    assert!(rotation["failure"].as_str().unwrap().starts_with("1 values do not open"), "{rotation}");
    assert_problem(
        &statement(&world, ACME, &rotation).await,
        StatusCode::CONFLICT,
        "sgx.rotation_not_completed",
        "",
    );
    let states = world.rows("SELECT version, state FROM sgx.sealing_keys ORDER BY version").await;
    assert_eq!(
        states,
        [json!({"version": 1, "state": "superseded"}), json!({"version": 2, "state": "active"})]
    );
    assert_eq!(world.value("demo", "a").await, "a");
    // Without the damaged row the next one is completed, and retires both former keys.
    world.as_attacker("DELETE FROM sgx.sealed_data_items WHERE key = 'b'").await;
    let rotation = rotated(&world, &json!({})).await;
    assert_eq!(rotation["state"], "completed", "{rotation}");
    let states = world.rows("SELECT version, state FROM sgx.sealing_keys ORDER BY version").await;
    let expected = [(1, "retired"), (2, "retired"), (3, "active")]
        .map(|(version, state)| json!({"version": version, "state": state}));
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_rotation_goes_on_in_another_process() {
    let world = World::with(Settings { rotation_rows_per_second: 40, ..Settings::default() }).await;
    for number in 0..300 {
        world.store("demo", &format!("k{number:03}"), "x").await;
    }
    let rotation = rotate(&world, &json!({})).send().await.expect(StatusCode::ACCEPTED).json();
    let moved = "SELECT count(*) FROM sgx.sealed_data_items WHERE sealing_key_version = 2";
    eventually(LIMIT, "it has begun", async || world.number(moved).await > 0).await;
    assert!(world.number(moved).await < 300, "it is throttled");
    let again = rotate(&world, &json!({})).send().await;
    assert_problem(&again, StatusCode::CONFLICT, "sgx.rotation_running", "");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealing_keys").await, 2, "no third key was made");
    let early = statement(&world, ACME, &rotation).await;
    assert_problem(&early, StatusCode::CONFLICT, "sgx.rotation_not_completed", "");
    let world = world.restart(Settings::default()).await;
    let rotation = ended(&world, ACME, &rotation["rotationId"]).await;
    assert_eq!(rotation["state"], "completed", "{rotation}");
    assert_eq!(world.number(moved).await, 300);
    assert_eq!(line(&verified(&world, ACME, &rotation).await, "under-new-key"), "300");
}

/// 64 clients put and get, each as one of these callers at one of these processes, until something has happened. None is
/// refused.
pub(crate) async fn under_64_clients(callers: &[(&TestApp, &str)], until: impl Future<Output = ()>) {
    let stop = AtomicBool::new(false);
    let client = async |number: usize| {
        let (app, bearer) = callers[number % callers.len()];
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            let place = path("load", &format!("k{}", (number * 7 + round) % 96));
            let value = format!("{number}/{round}");
            let put = app.put(&place).bearer(bearer).bytes(BYTES, value).send().await;
            assert!(put.status.is_success(), "{}", put.text());
            let get = app.get(&place).bearer(bearer).header("accept", BYTES).send().await;
            assert_eq!(get.status, StatusCode::OK, "{}", get.text());
            round += 1;
        }
        round
    };
    let clients = futures::future::join_all((0..64).map(client));
    let until = async {
        until.await;
        stop.store(true, Ordering::Relaxed);
    };
    let (rounds, ()) = futures::future::join(clients, until).await;
    assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_64_clients_refuses_nobody() {
    let world = World::new().await;
    for number in 0..200 {
        world.store("demo", &format!("old{number}"), "at rest").await;
    }
    let rotations = async {
        for _ in 0..3 {
            let last = rotated(&world, &json!({})).await;
            assert_eq!(last["state"], "completed", "{last}");
            let to = last["to"].as_str().unwrap();
            let left = format!("SELECT count(*) FROM sgx.sealed_data_items WHERE sealing_key_version < {to}");
            assert_eq!(world.number(&left).await, 0, "while the clients go on");
            let lines = verified(&world, ACME, &last).await;
            assert!(line(&lines, "under-new-key").parse::<u64>().unwrap() >= 200);
        }
    };
    under_64_clients(&[(&world.app, ACME)], rotations).await;
    world.assert_events_match_items().await;
    assert_eq!(world.value("demo", "old7").await, "at rest");
}

#[tokio::test]
async fn values_are_sealed_anew_on_demand() {
    let world = World::new().await;
    world.store("demo", "k", "first").await;
    world.store("demo", "k", "second").await;
    world.store("demo", "untouched", "third").await;
    let look = "SELECT i.key, i.version, i.revision, i.fingerprint, encode(i.sealed_data, 'hex') AS sealed, \
                    v.fingerprint AS former FROM sgx.sealed_data_items i \
                LEFT JOIN sgx.item_versions v USING (tenant_id, item_id) ORDER BY i.key";
    let before = world.rows(look).await;
    let rotation = rotated(&world, &json!({"reseal": true})).await;
    assert_eq!(
        (&rotation["state"], &rotation["kind"]),
        (&json!("completed"), &json!("reseal")),
        "{rotation}"
    );
    assert_eq!(rotation["done"], 3);
    let after = world.rows(look).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["version"], after["version"]);
        assert_eq!(before["revision"].as_i64().unwrap() + 1, after["revision"].as_i64().unwrap());
        assert_ne!(before["sealed"], after["sealed"]);
        assert_ne!(before["fingerprint"], after["fingerprint"]);
    }
    assert_ne!(before[0]["former"], after[0]["former"]);
    world.assert_events_match_items().await;
    let event = world
        .rows("SELECT data FROM eventsourcing.events WHERE type = 'sgx.item_resealed' AND data->>'key' = 'k'")
        .await;
    assert_eq!(event[0]["data"]["fingerprint"], after[0]["fingerprint"]);
    assert_eq!(event[0]["data"]["versions"], json!([{"version": 1, "fingerprint": after[0]["former"]}]));
    assert_eq!(world.value("demo", "k").await, "second");
    assert_eq!(world.value("demo", "untouched").await, "third");
    assert_eq!(line(&verified(&world, ACME, &rotation).await, "under-new-key"), "3");
}
