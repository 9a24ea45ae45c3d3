//! Copying and renaming.

use axum::http::StatusCode;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{ACME_READER, ACME_WRITER, World, assert_problem};

fn to(from: &str, target: &str) -> Value {
    json!({"service": "demo", "key": from, "to": {"service": "other", "key": target}})
}

#[tokio::test]
async fn a_copy_is_a_value_of_its_own() {
    let world = World::new().await;
    let body = json!({"data": "b25l", "metadata": {"n": 1}, "policy": "LongTerm"});
    let source = world.put("demo", "k").json(&body).send().await.json();
    world.keep("demo", "k", "two").await;
    let mut request = to("k", "a/b");
    request["version"] = json!(1);
    let copied = world.act("copy", &request).send().await.expect(StatusCode::CREATED);
    let copy = copied.json();
    assert_eq!(copied.header("etag"), "\"1\"");
    assert_eq!(
        (&copy["service"], &copy["key"], &copy["version"]),
        (&json!("other"), &json!("a/b"), &json!(1))
    );
    assert_eq!((&copy["metadata"], &copy["expiresAt"]), (&source["metadata"], &source["expiresAt"]));
    assert_ne!(copy["fingerprint"], source["fingerprint"]);
    assert_eq!(world.value("other", "a/b").await, "one");
    assert_eq!(world.value("demo", "k").await, "two");
    // What becomes of the source does not concern it.
    world.act("destroy", &json!({"service": "demo", "key": "k"})).send().await.expect(StatusCode::OK);
    assert_eq!(world.value("other", "a/b").await, "one");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_renamed_item_leaves_its_history_under_the_old_name() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.keep("demo", "k", "two").await;
    let renamed = world.act("rename", &to("k", "new")).send().await.expect(StatusCode::CREATED);
    assert_eq!((renamed.header("etag"), &renamed.json()["key"]), ("\"1\"", &json!("new")));
    assert_eq!(world.value("other", "new").await, "two");
    assert_problem(&world.get("demo", "k").send().await, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    assert_eq!(world.versions("demo", "k").await, [json!([2, false, false]), json!([1, false, false])]);
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;

    let back = json!({"service": "demo", "key": "k", "version": 1});
    world.act("restore", &back).send().await.expect(StatusCode::OK);
    assert_eq!(world.value("demo", "k").await, "one");
    assert_eq!(world.value("other", "new").await, "two");
    let audits = world.rows("SELECT resource_id, metadata->>'to' AS target FROM monitoring.audit_logs WHERE action = 'RENAME_ITEM'").await;
    assert_eq!(audits, [json!({"resource_id": "demo/k", "target": "other/new"})]);
}

#[tokio::test]
async fn a_target_that_is_alive_stays_as_it_is() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.keep("other", "t", "there").await;
    for action in ["copy", "rename"] {
        let taken = world.act(action, &to("k", "t")).send().await;
        assert_problem(&taken, StatusCode::CONFLICT, "sgx.target_exists", "");
        let itself = json!({"service": "demo", "key": "k", "to": {"service": "demo", "key": "k"}});
        let itself = world.act(action, &itself).send().await;
        assert_problem(&itself, StatusCode::UNPROCESSABLE_ENTITY, "sgx.same_address", "/to");
        let none = world.act(action, &to("none", "x")).send().await;
        assert_problem(&none, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
        let odd = world.act(action, &to("k", "a/../b")).send().await;
        assert_problem(&odd, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_key", "key");
    }
    assert_eq!(world.value("demo", "k").await, "one");
    assert_eq!(world.value("other", "t").await, "there");
    // A deleted one goes on counting.
    world.delete("other", "t").send().await.expect(StatusCode::NO_CONTENT);
    let done = world.act("rename", &to("k", "t")).send().await.expect(StatusCode::CREATED);
    assert_eq!(done.header("etag"), "\"2\"");
    assert_eq!(world.value("other", "t").await, "one");
    assert_eq!(world.version("other", "t", 1).await.text(), "there");
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}

#[tokio::test]
async fn a_transfer_needs_what_it_does_on_both_sides() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    for (action, bearer, needs) in [
        ("copy", ACME_READER, "sgx:write"),
        ("copy", ACME_WRITER, "sgx:read"),
        ("rename", ACME_WRITER, "sgx:delete"),
    ] {
        let place = format!("/api/v1/sgx/item-actions/{action}");
        let denied = world.app.post(&place).bearer(bearer).json(&to("k", "x")).send().await;
        assert_problem(&denied, StatusCode::FORBIDDEN, "core.permission_missing", "");
        assert!(denied.text().contains(needs), "{}", denied.text());
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 1);
}

#[tokio::test]
async fn of_many_renames_to_one_name_one_wins() {
    let world = World::new().await;
    for number in 0..8 {
        world.keep("demo", &format!("k{number}"), &number.to_string()).await;
    }
    let renames =
        (0..8).map(async |number| world.act("rename", &to(&format!("k{number}"), "t")).send().await.status);
    let answers = join_all(renames).await;
    assert_eq!(answers.iter().filter(|status| **status == StatusCode::CREATED).count(), 1, "{answers:?}");
    assert!(
        answers.iter().all(|status| [StatusCode::CREATED, StatusCode::CONFLICT].contains(status)),
        "{answers:?}"
    );
    // Crosswise: each waits for the rows of the other in the same order.
    let (first, second) = (
        json!({"service": "demo", "key": "k0", "to": {"service": "demo", "key": "z"}}),
        json!({"service": "demo", "key": "z", "to": {"service": "demo", "key": "k0"}}),
    );
    let crosswise = (0..16).map(async |number| {
        let request = if number % 2 == 0 { &first } else { &second };
        let status = world.act("rename", request).send().await.status;
        assert!(status.as_u16() < 500, "{status}");
    });
    join_all(crosswise).await;
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}
