//! Requests that are refused, and leave nothing.

use axum::http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::json;

use crate::world::{ACME, BYTES, World, assert_problem, path};

const JSON: &str = "application/json";

#[tokio::test]
async fn a_wrong_body_names_its_field() {
    let world = World::new().await;
    let past = world.after(-SignedDuration::from_secs(1)).to_string();
    let (malformed, unfit) = (StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY);
    let cases = [
        ("", malformed, "core.malformed_json", ""),
        ("{", malformed, "core.malformed_json", ""),
        ("{\"data\": \"aGk=\"} x", malformed, "core.malformed_json", ""),
        ("{\"data\": \"a\\u00zz\"}", malformed, "core.malformed_json", ""),
        ("[]", malformed, "core.invalid_body", ""),
        ("\"aGk=\"", malformed, "core.invalid_body", ""),
        ("{}", malformed, "core.invalid_body", ""),
        ("{\"data\": 7}", malformed, "core.invalid_body", "/data"),
        ("{\"data\": null}", malformed, "core.invalid_body", "/data"),
        ("{\"data\": \"aGk=\", \"dat\": 1}", malformed, "core.invalid_body", "/dat"),
        ("{\"data\": \"aGk=\", \"data\": \"aGk=\"}", malformed, "core.invalid_body", ""),
        ("{\"data\": \"aGk\"}", malformed, "sgx.invalid_base64", "/data"),
        ("{\"data\": \"a-_=\"}", malformed, "sgx.invalid_base64", "/data"),
        ("{\"data\": \"aGk=\\n\"}", malformed, "sgx.invalid_base64", "/data"),
        ("{\"data\": \"\\u0000\"}", malformed, "sgx.invalid_base64", "/data"),
        ("{\"data\": \"aGk=\", \"policy\": \"CUSTOM\"}", unfit, "sgx.unknown_policy", "/policy"),
        ("{\"data\": \"aGk=\", \"policy\": \"mrsigner\"}", unfit, "sgx.unknown_policy", "/policy"),
        ("{\"data\": \"aGk=\", \"expiresAt\": \"tomorrow\"}", malformed, "core.invalid_body", "/expiresAt"),
        ("{\"data\": \"aGk=\", \"expiresAt\": \"PAST\"}", unfit, "sgx.invalid_expiry", "/expiresAt"),
        ("{\"data\": \"aGk=\", \"metadata\": [1]}", unfit, "sgx.invalid_metadata", "/metadata"),
        ("{\"data\": \"aGk=\", \"metadata\": \"x\"}", unfit, "sgx.invalid_metadata", "/metadata"),
        (
            "{\"data\": \"aGk=\", \"metadata\": {\"a\": \"b\\u0000\"}}",
            unfit,
            "sgx.invalid_metadata",
            "/metadata",
        ),
        ("{\"data\": \"aGk=\", \"metadata\": {\"a\\u0000\": 1}}", unfit, "sgx.invalid_metadata", "/metadata"),
        (
            "{\"data\": \"aGk=\", \"metadata\": {\"a\": [{\"b\": \"\\u0000\"}]}}",
            unfit,
            "sgx.invalid_metadata",
            "/metadata",
        ),
        ("{\"data\": \"aGk=\", \"metadata\": {\"a\": \"LONG\"}}", unfit, "sgx.invalid_metadata", "/metadata"),
    ];
    for (body, status, code, pointer) in cases {
        let body = body.replace("PAST", &past).replace("LONG", &"x".repeat(16 << 10));
        let response = world.put("demo", "k").bytes(JSON, body).send().await;
        assert_problem(&response, status, code, pointer);
    }
    let unknown = world.put("demo", "k").json(&json!({"data": "aGk=", "lifetime": 1})).send().await;
    assert!(unknown.text().contains("lifetime"));
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_body_that_is_no_json_at_all_is_400() {
    let world = World::new().await;
    for body in [&b"\xff\xfe{}"[..], b"{\"data\": \"\xff\"}"] {
        let response = world.put("demo", "k").bytes(JSON, body.to_vec()).send().await;
        assert_problem(&response, StatusCode::BAD_REQUEST, "core.malformed_json", "");
    }
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_wrong_name_is_422_for_every_method() {
    let world = World::new().await;
    let long = "k".repeat(256);
    let wide = "\u{1f511}".repeat(256);
    for (service, key, field) in [
        ("demo", long.as_str(), "key"),
        ("demo", &wide, "key"),
        ("demo", "a\0b", "key"),
        ("demo", "a\nb", "key"),
        ("demo", "a\u{7f}", "key"),
        ("demo", "a\u{85}b", "key"),
        ("demo", "..", "key"),
        ("demo", "a/../b", "key"),
        ("demo", "./a", "key"),
        ("demo", "a//b", "key"),
        ("demo", "a/", "key"),
        ("a\0b", "k", "service"),
        ("a\tb", "k", "service"),
        (&long[..101], "k", "service"),
    ] {
        let code = format!("sgx.invalid_{field}");
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            let request = world.app.request(method, &path(service, key)).bearer(ACME).bytes(BYTES, "x");
            assert_problem(&request.send().await, StatusCode::UNPROCESSABLE_ENTITY, &code, field);
        }
    }
    let slash = world.app.get("/api/v1/sgx/items/a%2Fb/k").bearer(ACME).send().await;
    assert_problem(&slash, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_service", "service");
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_400() {
    let world = World::new().await;
    for path in ["/api/v1/sgx/items/demo/%FF", "/api/v1/sgx/items/%C3/k"] {
        let response = world.app.put(path).bearer(ACME).bytes(BYTES, "x").send().await;
        assert_problem(&response, StatusCode::BAD_REQUEST, "core.invalid_path", "");
    }
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let world = World::new().await;
    let mut requests = vec![("no body", world.put("demo", "k"))];
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""]
    {
        requests.push((kind, world.put("demo", "k").bytes(kind, "{\"data\": \"aGk=\"}")));
    }
    for (kind, request) in requests {
        let response = request.send().await;
        assert_problem(&response, StatusCode::UNSUPPORTED_MEDIA_TYPE, "core.media_type", "");
        assert!(response.text().contains("application/octet-stream"), "{kind}");
    }
    assert_nothing_left(&world).await;
    // With a parameter and in capitals it is still JSON.
    let put =
        world.put("demo", "k").bytes("Application/JSON; charset=utf-8", "{\"data\": \"aGk=\"}").send().await;
    put.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_wrong_query_is_400_and_named() {
    let world = World::new().await;
    let past = format!("?expiresAt={}", world.after(-SignedDuration::from_secs(1)));
    let refused = StatusCode::BAD_REQUEST;
    for (query, kind, status, code, says) in [
        ("?lifetime=1", BYTES, refused, "core.invalid_query", "lifetime"),
        ("?policy=Nothing", BYTES, StatusCode::UNPROCESSABLE_ENTITY, "sgx.unknown_policy", "Nothing"),
        ("?expiresAt=tomorrow", BYTES, refused, "core.invalid_query", "expiresAt"),
        ("?policy=MRSIGNER", JSON, refused, "sgx.option_in_query", "body"),
        (&past, BYTES, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_expiry", "past"),
    ] {
        let request =
            world.app.put(&(path("demo", "k") + query)).bearer(ACME).bytes(kind, "{\"data\": \"aGk=\"}");
        let response = request.send().await.expect(status);
        assert_eq!(response.json()["code"], code, "{query}");
        assert!(response.json()["detail"].as_str().unwrap().contains(says), "{query}: {}", response.text());
    }
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn an_option_that_does_not_exist_is_not_passed_over() {
    let world = World::new().await;
    world.store("demo", "k", "one").await;
    world.store("demo", "k", "two").await;
    for (method, option) in [
        (Method::GET, "revision=1"),
        (Method::GET, "version=x"),
        (Method::DELETE, "version=1"),
        (Method::PUT, "version=1"),
    ] {
        let place = format!("{}?{option}", path("demo", "k"));
        let response = world.app.request(method, &place).bearer(ACME).bytes(BYTES, "x").send().await;
        assert_problem(&response, StatusCode::BAD_REQUEST, "core.invalid_query", "");
    }
    let head =
        world.app.request(Method::HEAD, &(path("demo", "k") + "?revision=1")).bearer(ACME).send().await;
    head.expect(StatusCode::BAD_REQUEST);
    assert_eq!(world.value("demo", "k").await, "two");
}

#[tokio::test]
async fn a_method_or_path_that_does_not_exist_is_a_problem_too() {
    let world = World::new().await;
    let post = world.app.post(&path("demo", "k")).bearer(ACME).json(&json!({})).send().await;
    assert_problem(&post, StatusCode::METHOD_NOT_ALLOWED, "core.method_not_allowed", "");
    for path in ["/api/v1/sgx/items/demo", "/api/v1/sgx/items/demo/", "/api/v1/sgx/nothing"] {
        let response = world.app.put(path).bearer(ACME).bytes(BYTES, "x").send().await;
        assert_problem(&response, StatusCode::NOT_FOUND, "core.no_such_route", "");
    }
    assert_nothing_left(&world).await;
}

/// Neither an item nor a trace of one, but for audit rows of what was refused.
async fn assert_nothing_left(world: &World) {
    for table in [
        "sgx.sealed_data_items",
        "sgx.item_versions",
        "sgx.sealing_keys",
        "sgx.usage_changes",
        "eventsourcing.events",
    ] {
        assert_eq!(world.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    let done = "SELECT count(*) FROM monitoring.audit_logs WHERE result = 'Success'";
    assert_eq!(world.number(done).await, 0);
}
