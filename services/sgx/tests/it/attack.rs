//! Somebody changes the tables behind the service's back, as a superuser can. Whatever was changed, a read says
//! `sgx.integrity_violation`, raises a security event, and shows nothing.

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_testkit::Response;
use serde_json::json;

use crate::world::{BYTES, OTHER, World, assert_problem, path};

const SECRET: &str = "what nobody else may read";

/// A read of a damaged item: refused, alarmed, audited, and nothing of the value in the answer.
async fn assert_found_out(world: &World, place: &str, what: &str) {
    assert_refused(
        world,
        world.get("demo", place).send().await,
        "UNSEAL_ITEM",
        &format!("demo/{place}"),
        what,
    )
    .await;
}

async fn assert_refused(world: &World, response: Response, action: &str, resource: &str, what: &str) {
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {}", response.text());
    assert_problem(&response, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
    assert!(!response.text().contains("data") && !response.headers.contains_key("etag"), "{what}");
    let (service, key) = resource.split_once('/').unwrap();
    let alarms = world
        .rows(&format!(
            "SELECT event_type, severity, source, status, user_id FROM monitoring.security_events \
             WHERE event_data->>'service' = '{service}' AND event_data->>'key' = '{key}'"
        ))
        .await;
    let alarm = json!({
        "event_type": "sgx.integrity_violation", "severity": "Critical", "source": "sgx", "status": "Open",
        "user_id": crate::world::USER,
    });
    assert_eq!(alarms, [alarm], "{what}");
    let audits = world
        .rows(&format!(
            "SELECT action, result FROM monitoring.audit_logs WHERE resource_id = '{resource}' ORDER BY id DESC LIMIT 1"
        ))
        .await;
    assert_eq!(audits, [json!({"action": action, "result": "Failure"})], "{what}");
}

/// An item with something in each column.
async fn plant(world: &World, key: &str) {
    let expires = world.after(SignedDuration::from_hours(24)).to_string();
    let body = json!({"data": base64(SECRET), "metadata": {"a": 1}, "expiresAt": expires});
    world.put("demo", key).json(&body).send().await.expect(StatusCode::CREATED);
    assert_eq!(world.value("demo", key).await, SECRET);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What an attacker who can compute SHA-256 sets beside other bytes.
const FITTING: &str = "fingerprint = 'sha256:' || encode(sha256(";

#[tokio::test]
async fn a_change_in_any_column_is_found_out() {
    let world = World::new().await;
    let flip =
        |column: &str, byte: i32| format!("set_byte({column}, {byte}, get_byte({column}, {byte}) # 1)");
    let forged = "'forged'::bytea";
    let changes = [
        ("sealed_data", format!("sealed_data = {}", flip("sealed_data", 20))),
        (
            "sealed_data-and-fingerprint",
            format!("sealed_data = {0}, {FITTING}{0}), 'hex')", flip("sealed_data", 20)),
        ),
        ("format", format!("sealed_data = {0}, {FITTING}{0}), 'hex')", flip("sealed_data", 0))),
        ("nonce", format!("sealed_data = {0}, {FITTING}{0}), 'hex')", flip("sealed_data", 1))),
        ("tag", format!("sealed_data = {0}, {FITTING}{0}), 'hex')", flip("sealed_data", 53))),
        ("cut-off", format!("sealed_data = '', sealed_size = 0, original_size = 0, {FITTING}''::bytea), 'hex')")),
        ("wrapped_data_key", format!("wrapped_data_key = {}", flip("wrapped_data_key", 30))),
        ("wrapped_data_key-cut-off", "wrapped_data_key = ''".to_owned()),
        (
            "fingerprint",
            "fingerprint = overlay(fingerprint placing \
             CASE right(fingerprint, 1) WHEN '0' THEN '1' ELSE '0' END from 71)"
                .to_owned(),
        ),
        ("version", "version = version + 1, revision = revision + 1".to_owned()),
        ("policy_type", "policy_type = 'MRENCLAVE'".to_owned()),
        ("policy_type-custom", "policy_type = 'CUSTOM'".to_owned()),
        ("item_id", "item_id = gen_random_uuid()".to_owned()),
        ("metadata", "metadata = '{\"a\": 2}'".to_owned()),
        ("metadata-type", "metadata = '{\"a\": \"1\"}'".to_owned()),
        ("metadata-gone", "metadata = NULL".to_owned()),
        ("metadata-null", "metadata = 'null'".to_owned()),
        ("expires_at", "expires_at = expires_at + interval '1 microsecond'".to_owned()),
        ("expires_at-past", "expires_at = now() - interval '1 day'".to_owned()),
        ("expires_at-gone", "expires_at = NULL".to_owned()),
        ("created_at", "created_at = created_at - interval '1 microsecond'".to_owned()),
        ("created_by", "created_by = created_by || ' '".to_owned()),
        ("updated_at", "updated_at = updated_at + interval '1 microsecond'".to_owned()),
        ("updated_by", "updated_by = 'eve'".to_owned()),
        ("original_size", "original_size = original_size + 1".to_owned()),
        ("sealed_size", "sealed_size = sealed_size + 1".to_owned()),
        ("sealing_key_version", "sealing_key_version = 2".to_owned()),
        ("sealing_key_version-negative", "sealing_key_version = -1".to_owned()),
        // Its ciphertext passed off as the value.
        (
            "encryption",
            "encryption = 'none', sealing_key_version = NULL, wrapped_data_key = NULL, original_size = sealed_size"
                .to_owned(),
        ),
        // And a value of the attacker's own.
        (
            "encryption-forged",
            format!(
                "encryption = 'none', sealing_key_version = NULL, wrapped_data_key = NULL, sealed_data = {forged}, \
                 original_size = 6, sealed_size = 6, {FITTING}{forged}), 'hex')"
            ),
        ),
    ];
    for (key, set) in changes {
        plant(&world, key).await;
        let sql = format!("UPDATE sgx.sealed_data_items SET {set} WHERE key = '{key}'");
        assert_eq!(world.as_attacker(&sql).await, 1);
        assert_found_out(&world, key, key).await;
    }
}

#[tokio::test]
async fn two_rows_whose_sealed_bytes_are_swapped_do_not_open() {
    let world = World::new().await;
    for (columns, name) in
        [("sealed_data, fingerprint", "bytes"), ("sealed_data, fingerprint, wrapped_data_key", "all")]
    {
        let keys = [format!("{name}-one"), format!("{name}-two")];
        for key in &keys {
            plant(&world, key).await;
        }
        let values = columns.split(", ").map(|column| format!("o.{column}")).collect::<Vec<_>>().join(", ");
        let swap = format!(
            "UPDATE sgx.sealed_data_items i SET ({columns}) = ({values}) FROM sgx.sealed_data_items o \
             WHERE i.key LIKE '{name}-%' AND o.key LIKE '{name}-%' AND o.key <> i.key"
        );
        assert_eq!(world.as_attacker(&swap).await, 2);
        for key in &keys {
            assert_found_out(&world, key, name).await;
        }
    }
}

/// A copy of the row of `original` with some columns set anew.
fn copy(changed: &str) -> String {
    format!(
        "INSERT INTO sgx.sealed_data_items \
         SELECT (jsonb_populate_record(i, '{changed}')).* FROM sgx.sealed_data_items i WHERE key = 'original'"
    )
}

#[tokio::test]
async fn a_row_copied_to_another_name_does_not_open() {
    let world = World::new().await;
    plant(&world, "original").await;
    world.as_attacker(&copy("{\"key\": \"copied\"}")).await;
    assert_found_out(&world, "copied", "another key").await;
    world.as_attacker(&copy("{\"service_name\": \"demo2\"}")).await;
    let response = world.get("demo2", "original").send().await;
    assert_refused(&world, response, "UNSEAL_ITEM", "demo2/original", "another service").await;
    world.as_attacker("UPDATE sgx.sealed_data_items SET key = 'renamed' WHERE key = 'copied'").await;
    assert_found_out(&world, "renamed", "renamed").await;
    assert_eq!(world.value("demo", "original").await, SECRET);
}

#[tokio::test]
async fn a_row_copied_to_another_tenant_does_not_open() {
    for has_key in [false, true] {
        let world = World::new().await;
        if has_key {
            world
                .app
                .put(&path("demo", "own"))
                .bearer(OTHER)
                .bytes(BYTES, "x")
                .send()
                .await
                .expect(StatusCode::CREATED);
        }
        plant(&world, "original").await;
        world.as_attacker(&copy(&format!("{{\"tenant_id\": \"{}\"}}", world.other))).await;
        let response = world.app.get(&path("demo", "original")).bearer(OTHER).send().await;
        assert_refused(&world, response, "UNSEAL_ITEM", "demo/original", "another tenant").await;
    }
}

#[tokio::test]
async fn a_tenant_s_sealing_key_is_of_no_use_to_another_tenant() {
    let world = World::new().await;
    plant(&world, "original").await;
    world.as_attacker(&copy(&format!("{{\"tenant_id\": \"{}\"}}", world.other))).await;
    let sql = format!(
        "INSERT INTO sgx.sealing_keys SELECT (jsonb_populate_record(k, '{{\"tenant_id\": \"{}\"}}')).* \
         FROM sgx.sealing_keys k WHERE tenant_id = '{}'",
        world.other, world.acme
    );
    assert_eq!(world.as_attacker(&sql).await, 1);
    let response = world.app.get(&path("demo", "original")).bearer(OTHER).send().await;
    assert_refused(&world, response, "UNSEAL_ITEM", "demo/original", "the key's row copied too").await;
}

#[tokio::test]
async fn an_older_version_s_bytes_do_not_open_as_the_current_one() {
    let world = World::new().await;
    world.store("demo", "k", "the old value").await;
    world.as_attacker("CREATE TABLE public.kept AS SELECT * FROM sgx.sealed_data_items").await;
    world.store("demo", "k", "the new value").await;
    let restore = "UPDATE sgx.sealed_data_items i SET sealed_data = o.sealed_data, wrapped_data_key = o.wrapped_data_key, \
                   fingerprint = o.fingerprint, original_size = o.original_size, sealed_size = o.sealed_size, \
                   updated_at = o.updated_at FROM public.kept o";
    assert_eq!(world.as_attacker(restore).await, 1);
    assert_found_out(&world, "k", "an older version").await;
}

#[tokio::test]
async fn a_damaged_item_can_be_put_again() {
    let world = World::new().await;
    plant(&world, "k").await;
    world.as_attacker("UPDATE sgx.sealed_data_items SET updated_by = 'eve'").await;
    assert_found_out(&world, "k", "damaged").await;
    assert_eq!(world.store("demo", "k", "healed").await.header("etag"), "\"2\"");
    assert_eq!(world.value("demo", "k").await, "healed");
}

#[tokio::test]
async fn a_changed_sealing_key_neither_opens_nor_seals() {
    let world = World::new().await;
    plant(&world, "k").await;
    let flip =
        "UPDATE sgx.sealing_keys SET wrapped_key = set_byte(wrapped_key, 30, get_byte(wrapped_key, 30) # 1)";
    assert_eq!(world.as_attacker(flip).await, 1);
    // The former process has the key in memory.
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    assert_found_out(&world, "k", "wrapped_key").await;
    let put = world.put("demo", "new").bytes(BYTES, "x").send().await;
    assert_refused(&world, put, "SEAL_ITEM", "demo/new", "wrapped_key").await;
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 1);
}

#[tokio::test]
async fn a_lost_sealing_key_is_found_out() {
    let world = World::new().await;
    plant(&world, "k").await;
    assert_eq!(world.as_attacker("DELETE FROM sgx.sealing_keys").await, 1);
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    assert_found_out(&world, "k", "no sealing key").await;
}
