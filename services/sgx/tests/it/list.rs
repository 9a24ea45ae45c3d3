//! Listing.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{World, assert_problem, escape};

/// The names on a page, as `service/key`.
fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| format!("{}/{}", item["service"].as_str().unwrap(), item["key"].as_str().unwrap()))
        .collect()
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let page = world.list(query).send().await.expect(StatusCode::OK).json();
    assert_eq!(page.get("nextCursor"), None);
    names(&page)
}

#[tokio::test]
async fn items_come_by_service_and_key_in_byte_order() {
    let world = World::new().await;
    for (service, key) in [
        ("b", "x"),
        ("a", "z"),
        ("a", "é"),
        ("a", "Z"),
        ("a", "a/b"),
        ("a", "a"),
        ("a", "a!"),
        ("B", "x"),
        ("ab", "1"),
    ] {
        world.store(service, key, "v").await;
    }
    let expected = ["B/x", "a/Z", "a/a", "a/a!", "a/a/b", "a/z", "a/é", "ab/1", "b/x"];
    assert_eq!(listed(&world, "").await, expected);
}

#[tokio::test]
async fn a_list_shows_items_without_their_values() {
    let world = World::new().await;
    let put = world.put("demo", "k").json(&json!({"data": "aGk=", "metadata": {"a": 1}})).send().await.json();
    let page = world.list("").send().await.expect(StatusCode::OK).json();
    assert_eq!(page, json!({"items": [put]}));
    assert_eq!(page["items"][0].get("data"), None);
}

#[tokio::test]
async fn a_service_and_a_prefix_narrow_the_list() {
    let world = World::new().await;
    for (service, key) in [
        ("one", "app/a"),
        ("one", "app/b"),
        ("one", "apple"),
        ("one", "b"),
        ("two", "app/a"),
        ("one", "app%x"),
        ("one", "ap_"),
    ] {
        world.store(service, key, "v").await;
    }
    assert_eq!(listed(&world, "?service=two").await, ["two/app/a"]);
    assert_eq!(listed(&world, "?service=one&prefix=app/").await, ["one/app/a", "one/app/b"]);
    assert_eq!(listed(&world, "?prefix=app/").await, ["one/app/a", "one/app/b", "two/app/a"]);
    // Not patterns.
    assert_eq!(listed(&world, "?prefix=app%25").await, ["one/app%x"]);
    assert_eq!(listed(&world, "?prefix=ap_").await, ["one/ap_"]);
    assert_eq!(listed(&world, "?service=on").await, Vec::<String>::new());
}

#[tokio::test]
async fn pages_join_without_a_gap_or_a_repetition() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for number in 0..25 {
        let (service, key) = (format!("s{}", number / 10), format!("k{number:02}"));
        world.store(&service, &key, "v").await;
        expected.push(format!("{service}/{key}"));
    }
    for limit in [1, 7, 24, 25, 1000] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let query = match &cursor {
                Some(cursor) => format!("?limit={limit}&cursor={}", escape(cursor)),
                None => format!("?limit={limit}"),
            };
            let page = world.list(&query).send().await.expect(StatusCode::OK).json();
            pages += 1;
            assert!(names(&page).len() <= limit);
            found.extend(names(&page));
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "limit {limit}");
        assert_eq!(pages, 25_usize.div_ceil(limit), "limit {limit}");
    }
}

#[tokio::test]
async fn a_page_holds_100_items_where_no_limit_is_given() {
    let world = World::new().await;
    futures::future::join_all((0..101).map(async |number| {
        world.store("demo", &format!("k{number:03}"), "v").await;
    }))
    .await;
    let page = world.list("").send().await.expect(StatusCode::OK).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    let cursor = escape(page["nextCursor"].as_str().unwrap());
    assert_eq!(listed(&world, &format!("?cursor={cursor}")).await, ["demo/k100"]);
}

#[tokio::test]
async fn what_is_deleted_or_expired_is_not_listed() {
    let world = World::new().await;
    for key in ["alive", "deleted", "expired"] {
        let hours = if key == "expired" { 1 } else { 100 };
        let expires = world.after(SignedDuration::from_hours(hours)).to_string();
        world.put("demo", key).json(&json!({"data": "aGk=", "expiresAt": expires})).send().await;
    }
    assert_eq!(listed(&world, "").await.len(), 3);
    world.delete("demo", "deleted").send().await.expect(StatusCode::NO_CONTENT);
    world.advance(SignedDuration::from_hours(2));
    assert_eq!(listed(&world, "").await, ["demo/alive"]);
}

#[tokio::test]
async fn metadata_are_searched_by_what_they_contain() {
    let world = World::new().await;
    for (key, metadata) in [
        ("a", json!({"kind": "invoice", "year": 2026, "tags": ["x", "y"]})),
        ("b", json!({"kind": "invoice", "year": 2025, "of": {"name": "Ann", "age": 7}})),
        ("c", json!({"kind": "letter"})),
        ("d", json!(null)),
    ] {
        let mut body = json!({"data": "aGk="});
        if metadata.is_object() {
            body["metadata"] = metadata;
        }
        world.put("demo", key).json(&body).send().await.expect(StatusCode::CREATED);
    }
    for (metadata, expected) in [
        (json!({"kind": "invoice"}), vec!["demo/a", "demo/b"]),
        (json!({"kind": "invoice", "year": 2026.0}), vec!["demo/a"]),
        (json!({"tags": ["y"]}), vec!["demo/a"]),
        (json!({"of": {"name": "Ann"}}), vec!["demo/b"]),
        (json!({"kind": "' OR true --"}), vec![]),
        (json!({}), vec!["demo/a", "demo/b", "demo/c"]),
    ] {
        let query = format!("?metadata={}", escape(&metadata.to_string()));
        assert_eq!(listed(&world, &query).await, expected, "{metadata}");
    }
    // Pages join, and another filter narrows further.
    let query = format!("?limit=1&metadata={}", escape(&json!({"kind": "invoice"}).to_string()));
    let page = world.list(&query).send().await.expect(StatusCode::OK).json();
    let next = format!("{query}&cursor={}", escape(page["nextCursor"].as_str().unwrap()));
    assert_eq!(
        (names(&page), listed(&world, &next).await),
        (vec!["demo/a".to_owned()], vec!["demo/b".to_owned()])
    );
    assert_eq!(listed(&world, &(query + "&prefix=b")).await, ["demo/b"]);
    for wrong in ["1", "[]", "{", "\"kind\"", "{\"a\":\"\\u0000\"}"] {
        let response = world.list(&format!("?metadata={}", escape(wrong))).send().await;
        assert_problem(&response, StatusCode::BAD_REQUEST, "core.invalid_query", "metadata");
    }
}

#[tokio::test]
async fn a_wrong_query_is_400_and_named() {
    let world = World::new().await;
    let cursor = |value: &Value| format!("?cursor={}", URL_SAFE_NO_PAD.encode(value.to_string()));
    for (query, code, says) in [
        ("?limit=0".to_owned(), "core.invalid_query", "1 to 1000"),
        ("?limit=1001".to_owned(), "core.invalid_query", "1 to 1000"),
        ("?limit=x".to_owned(), "core.invalid_query", "1 to 1000"),
        ("?nonsense=1".to_owned(), "core.invalid_query", "nonsense"),
        ("?prefix=a&prefix=b".to_owned(), "core.invalid_query", "prefix"),
        ("?prefix=%00".to_owned(), "core.invalid_query", "U+0000"),
        ("?service=a%00".to_owned(), "core.invalid_query", "U+0000"),
        ("?cursor=!".to_owned(), "core.invalid_cursor", "cursor"),
        (cursor(&json!(7)), "core.invalid_cursor", "cursor"),
        (cursor(&json!(["a\0", "b"])), "core.invalid_cursor", "cursor"),
        (cursor(&json!(["a", "b\0"])), "core.invalid_cursor", "cursor"),
    ] {
        let response = world.list(&query).send().await.expect(StatusCode::BAD_REQUEST);
        let problem = response.json();
        assert_eq!(problem["code"], code, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{query}: {problem}");
    }
    let foreign = world.list("?cursor=Nw").send().await;
    assert_problem(&foreign, StatusCode::BAD_REQUEST, "core.invalid_cursor", "cursor");
}
