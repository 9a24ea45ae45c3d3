//! Scans of former versions: one that a put kept is there until something that the log tells of removed it.

use std::sync::Arc;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_sgx::SgxConfig;
use nsl_testkit::eventually;
use serde_json::{Value, json};

use crate::LIMIT;
use crate::scan::scanned;
use crate::world::{Settings, World};

fn keeping(count: u32, like: &Settings) -> Settings {
    let adjust = move |config: &mut SgxConfig| {
        config.database.keep_versions = count;
        // Months pass here, and only one scan runs at a time.
        config.database.enable_integrity_checking = false;
    };
    Settings { adjust: Arc::new(adjust), ..like.clone() }
}

async fn puts(world: &World, key: &str, count: usize) {
    for number in 0..count {
        world.store("demo", key, &format!("value {number}")).await;
    }
}

/// [kind, key, version] of each finding, in order.
async fn found(world: &World) -> Vec<Value> {
    let scan = scanned(world).await;
    assert_eq!(scan["state"], "completed", "{scan}");
    let findings = scan["findings"].as_array().unwrap();
    let mut found: Vec<Value> =
        findings.iter().map(|found| json!([found["kind"], found["key"], found["version"]])).collect();
    found.sort_by_key(ToString::to_string);
    found
}

async fn remove(world: &World, key: &str, which: &str) -> u64 {
    world.as_attacker(&format!("DELETE FROM sgx.item_versions WHERE key = '{key}' AND {which}")).await
}

#[tokio::test]
async fn a_former_version_that_went_is_named() {
    let world = World::new().await;
    puts(&world, "many", 13).await;
    puts(&world, "few", 3).await;
    puts(&world, "whole", 5).await;
    // Deleted, its versions are still there to be restored.
    world.delete("demo", "few").send().await.expect(StatusCode::NO_CONTENT);
    assert_eq!(found(&world).await, Vec::<Value>::new(), "what puts trim is no loss");
    // The oldest that is kept, one in the middle and the newest; and all of an item.
    assert_eq!(remove(&world, "many", "version IN (4, 8, 12)").await, 3);
    assert_eq!(remove(&world, "few", "true").await, 2);
    let expected = [("few", 1), ("few", 2), ("many", 12), ("many", 4), ("many", 8)];
    let expected = expected.map(|(key, version)| json!(["vanished", key, version]));
    assert_eq!(found(&world).await, expected);
}

#[tokio::test]
async fn versions_that_went_by_rule_are_no_findings() {
    let settings = keeping(3, &Settings::default());
    let world = World::with(settings.clone()).await;
    puts(&world, "more", 6).await;
    puts(&world, "untouched", 6).await;
    puts(&world, "destroyed", 4).await;
    let destroy = json!({"service": "demo", "key": "destroyed", "version": 3});
    world.act("destroy", &destroy).send().await.expect(StatusCode::OK);
    // More are kept from now on: what was trimmed before does not come back.
    let world = world.restart(keeping(10, &settings)).await;
    puts(&world, "more", 2).await;
    world.delete("demo", "untouched").send().await.expect(StatusCode::NO_CONTENT);
    let restore = json!({"service": "demo", "key": "untouched"});
    world.act("restore", &restore).send().await.expect(StatusCode::OK);
    assert_eq!(found(&world).await, Vec::<Value>::new());
    // Fewer are kept: what is there is more than has to be.
    let world = world.restart(keeping(2, &settings)).await;
    assert_eq!(found(&world).await, Vec::<Value>::new());
    let world = world.restart(keeping(10, &settings)).await;
    assert_eq!(remove(&world, "more", "version = 5").await, 1);
    assert_eq!(found(&world).await, [json!(["vanished", "more", 5])], "and no other than that one");

    // The purge says what it removed.
    world.advance(SignedDuration::from_hours(24 * 91));
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    let left = "SELECT count(*) FROM sgx.item_versions";
    eventually(LIMIT, "the versions are purged", async || world.number(left).await == 0).await;
    assert_eq!(found(&world).await, Vec::<Value>::new());
    puts(&world, "more", 2).await;
    assert_eq!(remove(&world, "more", "version = 9").await, 1);
    assert_eq!(found(&world).await, [json!(["vanished", "more", 9])]);
}

/// Its versions were trimmed after the backup: that is no loss beside the rolled back row.
#[tokio::test]
async fn a_row_of_an_old_backup_is_one_finding() {
    let world = World::with(keeping(3, &Settings::default())).await;
    puts(&world, "old", 4).await;
    world.as_attacker("CREATE TABLE public.items AS SELECT * FROM sgx.sealed_data_items").await;
    puts(&world, "old", 4).await;
    world.as_attacker("DELETE FROM sgx.sealed_data_items").await;
    world.as_attacker("INSERT INTO sgx.sealed_data_items SELECT * FROM public.items").await;
    assert_eq!(found(&world).await, [json!(["rolled_back", "old", 4])]);
}

#[tokio::test]
async fn of_a_program_that_does_not_say_what_it_keeps_nothing_is_missed() {
    let world = World::new().await;
    puts(&world, "old", 4).await;
    world.as_attacker("ALTER TABLE eventsourcing.events DISABLE TRIGGER USER").await;
    assert_eq!(world.as_attacker("UPDATE eventsourcing.events SET data = data - 'keepVersions'").await, 4);
    assert_eq!(remove(&world, "old", "true").await, 3);
    assert_eq!(found(&world).await, Vec::<Value>::new());
    puts(&world, "old", 1).await;
    assert_eq!(remove(&world, "old", "version = 4").await, 1);
    assert_eq!(found(&world).await, [json!(["vanished", "old", 4])]);
}
