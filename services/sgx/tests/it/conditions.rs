//! Conditions on the version, and writers that meet.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use futures::future::join_all;
use serde_json::json;

use crate::world::{BYTES, World, assert_problem};

const WRITERS: usize = 32;

#[tokio::test]
async fn if_match_takes_the_version_that_is_there() {
    let world = World::new().await;
    world.store("demo", "k", "one").await;
    let put = |tag: &'static str| world.put("demo", "k").header("if-match", tag).bytes(BYTES, tag).send();
    let response = put("\"1\"").await.expect(StatusCode::OK);
    assert_eq!(response.header("etag"), "\"2\"");
    for stale in ["\"1\"", "\"3\"", "\"0\""] {
        let response = put(stale).await;
        assert_problem(&response, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
        assert!(response.text().contains("version 2"), "{}", response.text());
    }
    assert_eq!(put("\"7\", \"2\"").await.expect(StatusCode::OK).json()["version"], 3);
    assert_eq!(put("*").await.expect(StatusCode::OK).json()["version"], 4);
    assert_eq!(world.value("demo", "k").await, "*");
}

#[tokio::test]
async fn if_match_refuses_what_is_not_there() {
    let world = World::new().await;
    world.store("demo", "deleted", "one").await;
    world.delete("demo", "deleted").send().await.expect(StatusCode::NO_CONTENT);
    for key in ["never", "deleted"] {
        for tag in ["\"1\"", "*"] {
            let response = world.put("demo", key).header("if-match", tag).bytes(BYTES, "x").send().await;
            assert_problem(&response, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
        }
    }
}

#[tokio::test]
async fn if_none_match_takes_only_what_is_not_there() {
    let world = World::new().await;
    let put = || world.put("demo", "k").header("if-none-match", "*").bytes(BYTES, "x").send();
    put().await.expect(StatusCode::CREATED);
    assert_problem(&put().await, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    assert_eq!(put().await.expect(StatusCode::CREATED).header("etag"), "\"2\"");
}

#[tokio::test]
async fn a_delete_takes_a_condition_too() {
    let world = World::new().await;
    world.store("demo", "k", "one").await;
    let stale = world.delete("demo", "k").header("if-match", "\"2\"").send().await;
    assert_problem(&stale, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
    assert_eq!(world.value("demo", "k").await, "one");
    world.delete("demo", "k").header("if-match", "\"1\"").send().await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_condition_that_cannot_be_read_is_400() {
    let world = World::new().await;
    world.store("demo", "k", "one").await;
    for (name, value) in
        [("if-match", "1"), ("if-match", "W/\"1\""), ("if-match", "\"x\""), ("if-none-match", "\"1\"")]
    {
        let response = world.put("demo", "k").header(name, value).bytes(BYTES, "x").send().await;
        let named = if name == "if-match" { "If-Match" } else { "If-None-Match" };
        assert_problem(&response, StatusCode::BAD_REQUEST, "core.invalid_condition", named);
    }
    let both = world.put("demo", "k").header("if-match", "*").header("if-none-match", "*").bytes(BYTES, "x");
    assert_problem(&both.send().await, StatusCode::BAD_REQUEST, "core.invalid_condition", "If-Match");
    assert_eq!(world.value("demo", "k").await, "one");
}

#[tokio::test]
async fn of_32_conditional_writers_one_wins_each_version() {
    let world = World::new().await;
    world.store("demo", "k", "start").await;
    for version in 1..=4_usize {
        let tag = format!("\"{version}\"");
        let writes = (0..WRITERS).map(|writer| {
            world.put("demo", "k").header("if-match", &tag).bytes(BYTES, format!("{version} {writer}")).send()
        });
        let answers = join_all(writes).await;
        let winners: Vec<usize> =
            (0..WRITERS).filter(|writer| answers[*writer].status == StatusCode::OK).collect();
        let refused =
            answers.iter().filter(|answer| answer.status == StatusCode::PRECONDITION_FAILED).count();
        assert_eq!((winners.len(), refused), (1, WRITERS - 1));
        assert_eq!(answers[winners[0]].json()["version"], json!(version + 1));
        assert_eq!(world.value("demo", "k").await, format!("{version} {}", winners[0]));
    }
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn of_32_creators_one_wins() {
    let world = World::new().await;
    let writes = (0..WRITERS).map(|writer| {
        world.put("demo", "k").header("if-none-match", "*").bytes(BYTES, writer.to_string()).send()
    });
    let answers = join_all(writes).await;
    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    let refused = answers.iter().filter(|answer| answer.status == StatusCode::PRECONDITION_FAILED).count();
    assert_eq!((created, refused), (1, WRITERS - 1));
}

#[tokio::test]
async fn each_of_32_unconditional_puts_is_a_version_with_its_own_event_and_audit_row() {
    let world = World::new().await;
    let writes = (0..WRITERS).map(|writer| world.put("demo", "k").bytes(BYTES, writer.to_string()).send());
    let answers = join_all(writes).await;
    let versions: BTreeSet<u64> =
        answers.iter().map(|answer| answer.json()["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (1..=32).collect());
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    let last = answers.iter().position(|answer| answer.json()["version"] == 32).unwrap();
    assert_eq!(world.value("demo", "k").await, last.to_string());
    assert_eq!(
        world.number("SELECT count(*) FROM eventsourcing.events WHERE type = 'sgx.item_put'").await,
        32
    );
    let audited = "SELECT count(DISTINCT metadata->>'version') FROM monitoring.audit_logs \
                   WHERE action = 'SEAL_ITEM' AND result = 'Success' AND resource_id = 'demo/k'";
    assert_eq!(world.number(audited).await, 32);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn puts_and_deletes_that_meet_leave_one_history() {
    let world = World::new().await;
    let writes = (0..WRITERS).map(async |number| {
        let key = format!("k{}", number % 4);
        let status = if number % 3 == 0 {
            world.delete("demo", &key).send().await.status
        } else {
            world.put("demo", &key).bytes(BYTES, number.to_string()).send().await.status
        };
        let allowed = [StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::NOT_FOUND];
        assert!(allowed.contains(&status), "{status}");
    });
    join_all(writes).await;
    world.assert_events_match_items().await;
    let changes = world.number("SELECT count(*) FROM eventsourcing.events").await;
    let audited = world.number("SELECT count(*) FROM monitoring.audit_logs WHERE result = 'Success'").await;
    assert_eq!(audited, changes);
}
