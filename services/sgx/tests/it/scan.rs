//! Scans: somebody with a superuser's psql changes what is stored, and the scan names it. And nobody does, and it names
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_sgx::SgxConfig;
use nsl_testkit::eventually;
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{ACME, ACME_READER, BYTES, OTHER, Settings, World, assert_problem, path};

const SCANS: &str = "/api/v1/sgx/scans";

async fn ended(world: &World, id: &str) -> Value {
    let place = format!("{SCANS}/{id}");
    let mut scan = Value::Null;
    eventually(LIMIT, "the scan ends", async || {
        scan = world.app.get(&place).bearer(ACME).send().await.expect(StatusCode::OK).json();
        scan["state"] != "running"
    })
    .await;
    scan
}

pub(crate) async fn scanned(world: &World) -> Value {
    let scan = world.app.post(SCANS).bearer(ACME).send().await.expect(StatusCode::ACCEPTED).json();
    ended(world, scan["scanId"].as_str().unwrap()).await
}

/// [kind, key] of each finding, in order.
pub(crate) fn kinds(scan: &Value) -> Vec<Value> {
    let mut found: Vec<Value> =
        scan["findings"].as_array().unwrap().iter().map(|f| json!([f["kind"], f["key"]])).collect();
    found.sort_by_key(ToString::to_string);
    found
}

async fn planted(keys: &[&str]) -> World {
    let world = World::new().await;
    for key in keys {
        world.store("demo", key, &format!("value of {key}")).await;
    }
    let scan = scanned(&world).await;
    assert_eq!((&scan["state"], &scan["findingCount"]), (&json!("completed"), &json!(0)), "{scan}");
    assert_eq!(scan["checked"], keys.len());
    world
}

/// Keeps the tables of sealed storage as they are now, as a backup does.
async fn back_up(world: &World) {
    world.as_attacker("CREATE TABLE public.items AS SELECT * FROM sgx.sealed_data_items").await;
    world.as_attacker("CREATE TABLE public.versions AS SELECT * FROM sgx.item_versions").await;
}

async fn restore(world: &World, key: &str) {
    world.as_attacker(&format!("DELETE FROM sgx.sealed_data_items WHERE key = '{key}'")).await;
    world
        .as_attacker(&format!(
            "INSERT INTO sgx.sealed_data_items SELECT * FROM public.items WHERE key = '{key}'"
        ))
        .await;
}

#[tokio::test]
async fn five_attacks_are_five_named_findings() {
    let world = planted(&["flipped", "a", "b", "old", "gone", "fine"]).await;
    back_up(&world).await;
    world.store("demo", "old", "a newer value").await;

    let flip = "sealed_data = set_byte(sealed_data, 20, get_byte(sealed_data, 20) # 1)";
    world.as_attacker(&format!("UPDATE sgx.sealed_data_items SET {flip} WHERE key = 'flipped'")).await;
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items i SET sealed_data = o.sealed_data, wrapped_data_key = o.wrapped_data_key, \
                 fingerprint = o.fingerprint, original_size = o.original_size, sealed_size = o.sealed_size \
             FROM public.items o WHERE (i.key, o.key) IN (('a', 'b'), ('b', 'a'))",
        )
        .await;
    restore(&world, "old").await;
    world.as_attacker("DELETE FROM sgx.sealed_data_items WHERE key = 'gone'").await;
    world
        .as_attacker(
            "INSERT INTO sgx.sealed_data_items SELECT (jsonb_populate_record(i, jsonb_build_object( \
                 'key', 'new', 'item_id', gen_random_uuid()))).* FROM sgx.sealed_data_items i WHERE key = 'fine'",
        )
        .await;

    let scan = scanned(&world).await;
    let expected = [
        json!(["damaged", "flipped"]),
        json!(["invented", "new"]),
        json!(["misplaced", "a"]),
        json!(["misplaced", "b"]),
        json!(["rolled_back", "old"]),
        json!(["vanished", "gone"]),
    ];
    assert_eq!(kinds(&scan), expected, "{scan}");
    assert_eq!((&scan["state"], &scan["findingCount"]), (&json!("completed"), &json!(6)));
    let swapped = scan["findings"].as_array().unwrap().iter().find(|finding| finding["key"] == "a").unwrap();
    assert!(swapped["detail"].as_str().unwrap().contains("those of demo/b"), "{swapped}");

    let alarms = world
        .rows(
            "SELECT event_data->>'kind' AS kind, event_data->>'key' AS key FROM monitoring.security_events \
             WHERE event_type = 'sgx.scan_finding' AND severity = 'Critical' ORDER BY 1, 2",
        )
        .await;
    let alarms: Vec<Value> = alarms.iter().map(|row| json!([row["kind"], row["key"]])).collect();
    assert_eq!(alarms, expected);
    let audit =
        "SELECT result, metadata FROM monitoring.audit_logs WHERE action = 'SCAN_COMPLETED' ORDER BY id DESC";
    let audit = world.rows(audit).await;
    assert_eq!(audit[0]["result"], "Failure");
    assert_eq!(audit[0]["metadata"]["findings"], 6);
    assert!(!scan.to_string().contains("value of"), "nothing of a value is shown");
}

#[tokio::test]
async fn what_was_deleted_and_comes_back_is_named() {
    let world = planted(&["backup", "flag", "purged", "hidden", "destroyed"]).await;
    back_up(&world).await;
    for key in ["backup", "flag", "purged"] {
        world.delete("demo", key).send().await.expect(StatusCode::NO_CONTENT);
    }
    world.as_attacker("UPDATE sgx.sealed_data_items SET deleted_at = NULL WHERE key = 'flag'").await;
    restore(&world, "backup").await;
    // As the purge does it.
    world
        .as_attacker(
            "WITH gone AS (DELETE FROM sgx.sealed_data_items WHERE key = 'purged' RETURNING *) \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, data, actor) \
             SELECT core.uuid_v7(), tenant_id, 'sgx.item/' || item_id, revision + 1, 'sgx.item_purged', \
                 jsonb_build_object('service', service_name, 'key', key, 'itemId', item_id, 'version', version), 'test' \
             FROM gone",
        )
        .await;
    world.as_attacker("UPDATE sgx.sealed_data_items SET deleted_at = now() WHERE key = 'hidden'").await;
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items SET deleted_at = now(), destroyed_at = now(), sealed_data = NULL, \
             wrapped_data_key = NULL WHERE key = 'destroyed'",
        )
        .await;
    let expected = [
        json!(["undeleted", "backup"]),
        json!(["undeleted", "flag"]),
        json!(["vanished", "destroyed"]),
        json!(["vanished", "hidden"]),
    ];
    let scan = scanned(&world).await;
    assert_eq!(kinds(&scan), expected, "a purge is no loss: {scan}");
    restore(&world, "purged").await;
    let scan = scanned(&world).await;
    assert!(kinds(&scan).contains(&json!(["undeleted", "purged"])), "{scan}");
}

#[tokio::test]
async fn moved_rows_and_former_versions_are_looked_at() {
    let world = planted(&["x", "y", "z", "w"]).await;
    for key in ["x", "z", "w"] {
        world.store("demo", key, "the second value").await;
    }
    let scan = scanned(&world).await;
    assert_eq!((&scan["checked"], &scan["findingCount"]), (&json!(7), &json!(0)), "{scan}");
    // Two rows change places, with everything in them.
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items SET key = CASE key WHEN 'x' THEN 'y-' ELSE 'x-' END WHERE key IN ('x', 'y')",
        )
        .await;
    world
        .as_attacker("UPDATE sgx.sealed_data_items SET key = rtrim(key, '-') WHERE key IN ('x-', 'y-')")
        .await;
    // A former version is damaged, another is of no item.
    let flip = "sealed_data = set_byte(sealed_data, 20, get_byte(sealed_data, 20) # 1)";
    world.as_attacker(&format!("UPDATE sgx.item_versions SET {flip} WHERE key = 'z'")).await;
    world.as_attacker("UPDATE sgx.item_versions SET item_id = gen_random_uuid() WHERE key = 'w'").await;
    // A value that was never sealed.
    world
        .as_attacker(
            "UPDATE sgx.sealed_data_items SET encryption = 'none', sealing_key_version = NULL, wrapped_data_key = NULL \
             WHERE key = 'w'",
        )
        .await;
    let scan = scanned(&world).await;
    let expected = [
        json!(["damaged", "z"]),
        json!(["invented", "w"]),
        json!(["misplaced", "x"]),
        json!(["misplaced", "y"]),
        json!(["unsealed", "w"]),
        // What the log has of it is not there any more.
        json!(["vanished", "w"]),
    ];
    assert_eq!(kinds(&scan), expected, "{scan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_under_puts_deletes_and_rotations_finds_nothing() {
    let world = World::new().await;
    for number in 0..150 {
        world.store("demo", &format!("k{number}"), "at rest").await;
    }
    let stop = AtomicBool::new(false);
    let client = async |number: usize| {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            let key = format!("hot{}", (number + round) % 12);
            world.store("demo", &key, &format!("{number}/{round}")).await;
            if round % 5 == 0 {
                // Another client may have been first.
                world.delete("demo", &key).send().await;
            }
            round += 1;
        }
    };
    let scans = async {
        for body in [json!({}), json!({"reseal": true}), json!({})] {
            world.app.post(crate::rotation::ROTATE).bearer(ACME).json(&body).send().await;
            let scan = scanned(&world).await;
            assert_eq!((&scan["state"], &scan["findings"]), (&json!("completed"), &json!([])), "{scan}");
            assert!(scan["checked"].as_i64().unwrap() >= 150);
        }
        stop.store(true, Ordering::Relaxed);
    };
    futures::future::join(futures::future::join_all((0..16).map(client)), scans).await;
}

#[tokio::test]
async fn a_scan_is_of_one_tenant_and_one_at_a_time() {
    let world = World::new().await;
    world.store("demo", "k", "x").await;
    world.app.put(&path("demo", "k")).bearer(OTHER).bytes(BYTES, "theirs").send().await;
    let reader = world.app.post(SCANS).bearer(ACME_READER).send().await;
    assert_eq!(reader.status, StatusCode::FORBIDDEN);
    let post = || world.app.post(SCANS).bearer(ACME).header("idempotency-key", "one").send();
    let first = post().await.expect(StatusCode::ACCEPTED).json();
    assert_eq!(post().await.expect(StatusCode::ACCEPTED).json()["scanId"], first["scanId"]);
    let id = first["scanId"].as_str().unwrap();
    let scan = ended(&world, id).await;
    assert_eq!((&scan["checked"], &scan["percent"]), (&json!(1), &json!(100)));
    let theirs = world.app.get(&format!("{SCANS}/{id}")).bearer(OTHER).send().await;
    assert_problem(&theirs, StatusCode::NOT_FOUND, "sgx.scan_not_found", "");
    let list = world.app.get(SCANS).bearer(ACME).send().await.expect(StatusCode::OK).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_scan_waits_for_the_first_which_goes_on_in_another_process() {
    let world = World::with(Settings {
        adjust: Arc::new(|config| config.scan.rows_per_second = 16),
        ..Settings::default()
    })
    .await;
    for number in 0..40 {
        world.store("demo", &format!("k{number}"), "x").await;
    }
    let first = world.app.post(SCANS).bearer(ACME).send().await.expect(StatusCode::ACCEPTED).json();
    let id = first["scanId"].as_str().unwrap();
    let second = world.app.post(SCANS).bearer(ACME).send().await;
    assert_problem(&second, StatusCode::CONFLICT, "sgx.scan_running", "");
    let begun = "SELECT count(*) FROM sgx.scans WHERE checked > 0";
    eventually(LIMIT, "it has begun", async || world.number(begun).await == 1).await;
    let world = world.restart(Settings::default()).await;
    let scan = ended(&world, id).await;
    assert_eq!(
        (&scan["state"], &scan["checked"], &scan["findings"]),
        (&json!("completed"), &json!(40), &json!([]))
    );
}

#[tokio::test]
async fn scans_come_by_themselves_unless_they_are_turned_off() {
    let by_itself =
        "SELECT count(*) FROM sgx.scans WHERE requested_by = 'system:sgx.scan' AND state = 'completed'";
    let clock = Settings::default().clock;
    for scheduled_scans in [true, false] {
        let adjust =
            move |config: &mut SgxConfig| config.database.enable_integrity_checking = scheduled_scans;
        let settings = Settings { adjust: Arc::new(adjust), clock: clock.clone(), ..Settings::default() };
        let world = World::with(settings).await;
        world.store("demo", "k", "x").await;
        world.advance(SignedDuration::from_hours(25));
        // The schedule is looked at when the process starts, and every minute.
        let settings = world.settings.clone();
        let world = world.restart(settings).await;
        if scheduled_scans {
            eventually(LIMIT, "a scan has run", async || world.number(by_itself).await == 1).await;
        } else {
            // One on demand still runs, and is alone.
            scanned(&world).await;
            assert_eq!(world.number("SELECT count(*) FROM sgx.scans").await, 1);
        }
    }
}
