//! Versions: reading, listing, restoring and destroying them.

use axum::http::{Method, StatusCode};
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{ACME, ACME_READER, OTHER, World, assert_problem, path};

fn of(key: &str, version: Option<i64>) -> Value {
    match version {
        Some(version) => json!({"service": "demo", "key": key, "version": version}),
        None => json!({"service": "demo", "key": key}),
    }
}

#[tokio::test]
async fn a_former_version_is_read_as_it_was() {
    let world = World::new().await;
    let body = json!({"data": "b25l", "metadata": {"n": 1}, "policy": "LongTerm"});
    let first = world.put("demo", "k").json(&body).send().await.expect(StatusCode::CREATED).json();
    world.keep("demo", "k", "two").await;
    world.keep("demo", "k", "three").await;

    let place = path("demo", "k");
    let read = world.app.get(&format!("{place}?version=1")).bearer(ACME).send().await.expect(StatusCode::OK);
    assert_eq!((read.header("etag"), read.header("cache-control")), ("\"1\"", "no-store"));
    let mut expected = first.clone();
    expected["data"] = json!("b25l");
    assert_eq!(read.json(), expected);
    assert_eq!(world.version("demo", "k", 2).await.text(), "two");
    assert_eq!(world.version("demo", "k", 3).await.text(), "three");
    assert_eq!(world.value("demo", "k").await, "three");
    let head = world.app.request(Method::HEAD, &format!("{place}?version=1")).bearer(ACME).send().await;
    assert_eq!((head.header("etag"), head.header("content-length")), ("\"1\"", "3"));

    for version in [0, 4, -1, i64::MAX] {
        let unknown = world.version("demo", "k", version).await;
        assert_problem(&unknown, StatusCode::NOT_FOUND, "sgx.version_not_found", "");
    }
    let foreign = world.app.get(&format!("{place}?version=1")).bearer(OTHER).send().await;
    assert_problem(&foreign, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn versions_are_listed_newest_first() {
    let world = World::new().await;
    let mut put = Vec::new();
    for value in ["one", "two", "three"] {
        put.push(world.keep("demo", "k", value).await.json());
    }
    let place = path("demo", "k").replace("/items/", "/versions/");
    let page = world.app.get(&place).bearer(ACME).send().await.expect(StatusCode::OK).json();
    let expected: Vec<Value> = [3, 2, 1_usize]
        .map(|version| {
            let item = &put[version - 1];
            let mut view = json!({
                "version": version, "size": item["size"], "sealedSize": item["sealedSize"],
                "fingerprint": item["fingerprint"], "policy": "LongTerm", "createdAt": item["updatedAt"],
                "expiresAt": item["expiresAt"], "destroyed": false, "current": version == 3,
            });
            if let Some(next) = put.get(version) {
                view["supersededAt"] = next["updatedAt"].clone();
            }
            view
        })
        .into();
    assert_eq!(page, json!({ "items": expected }));

    let (mut found, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = world.app.get(&(place.clone() + &query)).bearer(ACME).send().await.json();
        found.push(page["items"][0]["version"].clone());
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(found, [3, 2, 1].map(|version| json!(version)));
    let none = world.app.get(&place.replace("/k", "/none")).bearer(ACME).send().await;
    assert_problem(&none, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    let odd = world.app.get(&(place + "?cursor=!")).bearer(ACME).send().await;
    assert_problem(&odd, StatusCode::BAD_REQUEST, "core.invalid_cursor", "cursor");
}

#[tokio::test]
async fn the_last_ten_versions_are_kept() {
    let world = World::new().await;
    for number in 1..=12 {
        world.keep("demo", "k", &number.to_string()).await;
    }
    let kept: Vec<Value> = world.versions("demo", "k").await.iter().map(|row| row[0].clone()).collect();
    assert_eq!(kept, (3..=12).rev().map(Value::from).collect::<Vec<_>>());
    assert_eq!(world.version("demo", "k", 3).await.text(), "3");
    let trimmed = world.version("demo", "k", 2).await;
    assert_problem(&trimmed, StatusCode::NOT_FOUND, "sgx.version_not_found", "");
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_deletion_is_taken_back() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    let put = world.keep("demo", "k", "two").await.json();
    let alive = world.act("restore", &of("k", None)).send().await;
    assert_problem(&alive, StatusCode::CONFLICT, "sgx.not_deleted", "");

    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    for version in [1, 2] {
        let gone = world.version("demo", "k", version).await;
        assert_problem(&gone, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    }
    assert_eq!(world.versions("demo", "k").await, [json!([2, false, false]), json!([1, false, false])]);
    let restored = world.act("restore", &of("k", None)).send().await.expect(StatusCode::OK);
    assert_eq!((restored.header("etag"), restored.json()), ("\"2\"", put));
    assert_eq!(world.value("demo", "k").await, "two");
    assert_eq!(world.version("demo", "k", 1).await.text(), "one");

    let none = world.act("restore", &of("none", None)).send().await;
    assert_problem(&none, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    let types = world.rows("SELECT version, type FROM eventsourcing.events ORDER BY version").await;
    let names = ["sgx.item_put", "sgx.item_put", "sgx.item_deleted", "sgx.item_restored"];
    let expected: Vec<Value> =
        (1..).zip(names).map(|(version, name)| json!({"version": version, "type": name})).collect();
    assert_eq!(types, expected);
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_former_value_becomes_a_new_version() {
    let world = World::new().await;
    let body = json!({"data": "b25l", "metadata": {"n": 1}, "policy": "LongTerm"});
    let first = world.put("demo", "k").json(&body).send().await.json();
    world.keep("demo", "k", "two").await;
    let restored = world.act("restore", &of("k", Some(1))).send().await.expect(StatusCode::OK);
    let item = restored.json();
    assert_eq!((restored.header("etag"), &item["version"]), ("\"3\"", &json!(3)));
    assert_eq!((&item["metadata"], &item["expiresAt"]), (&first["metadata"], &first["expiresAt"]));
    // Sealed anew: under another key, bound to its own version.
    assert_ne!(item["fingerprint"], first["fingerprint"]);
    assert_eq!(world.value("demo", "k").await, "one");
    assert_eq!(world.version("demo", "k", 2).await.text(), "two");

    // A deleted item comes back to life with it.
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    let unknown = world.act("restore", &of("k", Some(9))).send().await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "sgx.version_not_found", "");
    world.act("restore", &of("k", Some(2))).send().await.expect(StatusCode::OK);
    assert_eq!(world.value("demo", "k").await, "two");
    let from = "SELECT data->>'from' AS of, data->>'version' AS version FROM eventsourcing.events \
                WHERE type = 'sgx.item_restored' ORDER BY id";
    assert_eq!(
        world.rows(from).await,
        [json!({"of": "1", "version": "3"}), json!({"of": "2", "version": "4"})]
    );
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn what_has_expired_is_not_restored() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    world.advance(SignedDuration::from_hours(169));
    for version in [None, Some(1)] {
        let expired = world.act("restore", &of("k", version)).send().await;
        assert_problem(&expired, StatusCode::NOT_FOUND, "sgx.item_expired", "");
    }
}

#[tokio::test]
async fn a_version_that_was_destroyed_is_gone_for_good() {
    let world = World::new().await;
    for value in ["one", "two", "three"] {
        world.keep("demo", "k", value).await;
    }
    let done = world.act("destroy", &of("k", Some(1))).send().await.expect(StatusCode::OK).json();
    assert_eq!(done, json!({"service": "demo", "key": "k", "versions": [1]}));
    let read = world.version("demo", "k", 1).await;
    assert_problem(&read, StatusCode::GONE, "sgx.version_destroyed", "");
    for action in ["restore", "destroy"] {
        let again = world.act(action, &of("k", Some(1))).send().await;
        assert_problem(&again, StatusCode::GONE, "sgx.version_destroyed", "");
    }
    let unknown = world.act("destroy", &of("k", Some(7))).send().await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "sgx.version_not_found", "");
    assert_eq!(world.version("demo", "k", 2).await.text(), "two");
    assert_eq!(world.value("demo", "k").await, "three");
    let expected = [json!([3, true, false]), json!([2, false, false]), json!([1, false, true])];
    assert_eq!(world.versions("demo", "k").await, expected);
    let left = "SELECT count(*) FROM sgx.item_versions WHERE version = 1 \
                AND (wrapped_data_key IS NOT NULL OR sealed_data IS NOT NULL OR destroyed_at IS NULL)";
    assert_eq!(world.number(left).await, 0);
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn destroying_an_item_takes_every_version() {
    let world = World::new().await;
    for value in ["one", "two", "three"] {
        world.keep("demo", "k", value).await;
    }
    world.act("destroy", &of("k", Some(2))).send().await.expect(StatusCode::OK);
    let done = world.act("destroy", &of("k", None)).send().await.expect(StatusCode::OK).json();
    assert_eq!(done["versions"], json!([1, 3]));
    assert_problem(&world.get("demo", "k").send().await, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    let all: Vec<Value> = [3, 2, 1].map(|version| json!([version, false, true])).into();
    assert_eq!(world.versions("demo", "k").await, all);
    for version in [None, Some(1), Some(3)] {
        let restore = world.act("restore", &of("k", version)).send().await;
        assert_problem(&restore, StatusCode::GONE, "sgx.version_destroyed", "");
    }
    let again = world.act("destroy", &of("k", None)).send().await;
    assert_problem(&again, StatusCode::GONE, "sgx.version_destroyed", "");
    for table in ["sgx.sealed_data_items", "sgx.item_versions"] {
        let left = format!(
            "SELECT count(*) FROM {table} WHERE wrapped_data_key IS NOT NULL OR sealed_data IS NOT NULL"
        );
        assert_eq!(world.number(&left).await, 0, "{table}");
    }
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;

    // The name goes on counting.
    let put = world.keep("demo", "k", "four").await.expect(StatusCode::CREATED);
    assert_eq!(put.header("etag"), "\"4\"");
    assert_eq!(world.value("demo", "k").await, "four");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn destroying_the_current_version_deletes_the_item() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.keep("demo", "k", "two").await;
    world.act("destroy", &of("k", Some(2))).send().await.expect(StatusCode::OK);
    assert_problem(&world.get("demo", "k").send().await, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    let lost = world.act("restore", &of("k", None)).send().await;
    assert_problem(&lost, StatusCode::GONE, "sgx.version_destroyed", "");
    world.act("restore", &of("k", Some(1))).send().await.expect(StatusCode::OK);
    assert_eq!(world.value("demo", "k").await, "one");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_repeated_request_with_its_key_is_carried_out_once() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.keep("demo", "k", "two").await;
    let restore =
        |version| world.act("restore", &of("k", Some(version))).header("idempotency-key", "once").send();
    let first = restore(1).await.expect(StatusCode::OK).json();
    let again = restore(1).await.expect(StatusCode::OK);
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", first));
    let other = restore(2).await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY, "core.idempotency_key_reused", "");
    assert_eq!(world.get("demo", "k").send().await.json()["version"], 3);

    let destroy = || world.act("destroy", &of("k", None)).header("idempotency-key", "gone").send();
    let first = destroy().await.expect(StatusCode::OK).json();
    assert_eq!(destroy().await.expect(StatusCode::OK).json(), first);
}

#[tokio::test]
async fn each_action_has_its_audit_row_and_its_permission() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    let versions = path("demo", "k").replace("/items/", "/versions/");
    world.app.get(&versions).bearer(ACME).send().await.expect(StatusCode::OK);
    world.version("demo", "k", 1).await.expect(StatusCode::OK);
    world.version("demo", "k", 2).await.expect(StatusCode::NOT_FOUND);
    world.act("restore", &of("k", Some(1))).send().await.expect(StatusCode::OK);
    world.act("restore", &of("k", None)).send().await.expect(StatusCode::CONFLICT);
    world.act("destroy", &of("k", Some(1))).send().await.expect(StatusCode::OK);
    world.act("destroy", &of("k", Some(1))).send().await.expect(StatusCode::GONE);
    let expected = json!([
        ["SEAL_ITEM", "demo/k", "Success"],
        ["LIST_VERSIONS", "demo/k", "Success"],
        ["UNSEAL_ITEM", "demo/k", "Success"],
        ["UNSEAL_ITEM", "demo/k", "Failure"],
        ["RESTORE_ITEM", "demo/k", "Success"],
        ["RESTORE_ITEM", "demo/k", "Failure"],
        ["DESTROY_ITEM", "demo/k", "Success"],
        ["DESTROY_ITEM", "demo/k", "Failure"],
    ]);
    assert_eq!(Value::from(world.audits().await), expected);
    for (action, needs) in [("restore", "sgx:write"), ("destroy", "sgx:delete")] {
        let place = format!("/api/v1/sgx/item-actions/{action}");
        let denied = world.app.post(&place).bearer(ACME_READER).json(&of("k", Some(1))).send().await;
        assert_problem(&denied, StatusCode::FORBIDDEN, "core.permission_missing", "");
        assert!(denied.text().contains(needs));
        let foreign = world.app.post(&place).bearer(OTHER).json(&of("k", Some(1))).send().await;
        assert_problem(&foreign, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    }
}

#[tokio::test]
async fn a_former_version_that_was_changed_does_not_open() {
    let world = World::new().await;
    for (key, change) in [
        ("flipped", "sealed_data = set_byte(sealed_data, 3, get_byte(sealed_data, 3) # 1)"),
        ("renumbered", "version = version + 5"),
        ("freed", "policy_name = NULL, access = NULL"),
        ("prolonged", "expires_at = expires_at + interval '1 year'"),
        ("swapped", "wrapped_data_key = (SELECT wrapped_data_key FROM sgx.sealed_data_items LIMIT 1)"),
    ] {
        world.keep("demo", key, "one").await;
        world.keep("demo", key, "two").await;
        let sql = format!("UPDATE sgx.item_versions SET {change} WHERE key = '{key}'");
        assert_eq!(world.as_attacker(&sql).await, 1);
        let version = if key == "renumbered" { 6 } else { 1 };
        let read = world.version("demo", key, version).await;
        assert_problem(&read, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
        let restore = world.act("restore", &of(key, Some(version))).send().await;
        assert_problem(&restore, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
        assert_eq!(world.value("demo", key).await, "two");
    }
    let alarms =
        "SELECT count(*) FROM monitoring.security_events WHERE event_type = 'sgx.integrity_violation'";
    assert_eq!(world.number(alarms).await, 10);
}

#[tokio::test]
async fn writers_of_every_kind_that_meet_leave_one_history() {
    let world = World::new().await;
    world.keep("demo", "k", "start").await;
    let writes = (0..24).map(async |number| {
        let status = match number % 4 {
            0 => world.act("restore", &of("k", Some(1))).send().await.status,
            1 => world.delete("demo", "k").send().await.status,
            2 => world.act("restore", &of("k", None)).send().await.status,
            _ => world.keep("demo", "k", &number.to_string()).await.status,
        };
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    });
    join_all(writes).await;
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
    let twice = "SELECT count(*) - count(DISTINCT version) FROM sgx.item_versions";
    assert_eq!(world.number(twice).await, 0);
}
