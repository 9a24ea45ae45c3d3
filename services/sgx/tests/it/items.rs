//! Putting, getting, looking at and deleting one item.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{ACME, BYTES, World, assert_problem};

const MIB: usize = 1 << 20;

/// Bytes that no compression makes smaller and no text decoder takes.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[3]
        })
        .collect()
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

fn names(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

const FIELDS: [&str; 11] = [
    "service",
    "key",
    "version",
    "size",
    "sealedSize",
    "fingerprint",
    "policy",
    "encryption",
    "createdAt",
    "updatedAt",
    "expiresAt",
];

#[tokio::test]
async fn a_put_of_json_answers_201_and_then_200_with_the_next_version() {
    let world = World::new().await;
    let body =
        json!({"data": STANDARD.encode("hello"), "metadata": {"b": 1, "a": ["x"]}, "policy": "MRENCLAVE"});
    let first = world.put("demo", "greeting").json(&body).send().await.expect(StatusCode::CREATED);
    assert_eq!(first.header("etag"), "\"1\"");
    let view = first.json();
    assert_eq!(names(&view), sorted(&[&FIELDS[..], &["metadata"]].concat()));
    assert_eq!(view["service"], "demo");
    assert_eq!(view["key"], "greeting");
    assert_eq!(view["version"], 1);
    assert_eq!(view["size"], 5);
    // Format, nonce, tag (crypto::envelope).
    assert_eq!(view["sealedSize"], 5 + 29);
    let digest = view["fingerprint"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert_eq!(hex::decode(digest).unwrap().len(), 32);
    assert_eq!(view["policy"], "MRENCLAVE");
    assert_eq!(view["encryption"], "aes-256-gcm");
    assert_eq!(view["metadata"], json!({"a": ["x"], "b": 1}));
    assert_eq!(view["createdAt"], view["updatedAt"]);
    assert_eq!(view["expiresAt"], Value::Null);

    let second = json!({"data": STANDARD.encode("hello again")});
    let second = world.put("demo", "greeting").json(&second).send().await.expect(StatusCode::OK);
    assert_eq!(second.header("etag"), "\"2\"");
    let next = second.json();
    assert_eq!(names(&next), sorted(&FIELDS), "what is not given is not kept");
    assert_eq!((&next["version"], &next["policy"]), (&json!(2), &json!("MRSIGNER")));
    assert_eq!(next["createdAt"], view["createdAt"]);
    assert!(next["updatedAt"].as_str() > view["updatedAt"].as_str());
}

#[tokio::test]
async fn a_put_of_bytes_takes_its_options_from_the_query() {
    let world = World::new().await;
    let value = noise(1000);
    let path =
        format!("{}?policy=MRENCLAVE&expiresAt=2999-01-01T00:00:00Z", crate::world::path("demo", "blob"));
    let put = world.app.put(&path).bearer(ACME).bytes(BYTES, value.clone()).send().await;
    let view = put.expect(StatusCode::CREATED).json();
    assert_eq!((&view["policy"], &view["size"]), (&json!("MRENCLAVE"), &json!(1000)));
    assert_eq!(view["expiresAt"], "2999-01-01T00:00:00Z");
    let got = world.get("demo", "blob").header("accept", BYTES).send().await.expect(StatusCode::OK);
    assert_eq!(got.body, value);
}

#[tokio::test]
async fn a_get_answers_the_put_s_view_and_the_value() {
    let world = World::new().await;
    let body = json!({
        "data": STANDARD.encode(noise(77)), "metadata": {"n": 0.1, "deep": {"list": [1, 2.5, "ü", null, true]}},
        // Finer than PostgreSQL keeps.
        "expiresAt": "2999-12-31T23:59:59.123456789Z",
    });
    let put = world.put("demo", "k").json(&body).send().await.expect(StatusCode::CREATED).json();
    let got = world.get("demo", "k").send().await.expect(StatusCode::OK);
    assert_eq!(got.header("etag"), "\"1\"");
    assert_eq!(got.header("cache-control"), "no-store");
    assert_eq!(got.header("content-type"), "application/json");
    let mut view = got.json();
    let data = view.as_object_mut().unwrap().remove("data").unwrap();
    assert_eq!(data, STANDARD.encode(noise(77)));
    assert_eq!(view, put);

    let bytes = world.get("demo", "k").header("accept", BYTES).send().await.expect(StatusCode::OK);
    assert_eq!((bytes.header("etag"), bytes.header("content-type")), ("\"1\"", BYTES));
    assert_eq!(bytes.header("cache-control"), "no-store");
    assert_eq!(bytes.body, noise(77));
}

#[tokio::test]
async fn numbers_in_metadata_survive_jsonb() {
    let world = World::new().await;
    // Doubles whose shortest decimal is easily read as a neighbour, and such as jsonb writes in another way.
    let numbers = "[0.30000000000000004, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 1e23, 8.41e21, \
                   9007199254740993, 18446744073709551615, 18446744073709551616, -9223372036854775808, -0.0, 1.0, 1e3, \
                   123456789012345680000.5, 6.02214076e23, 1.1e-7, 0.1e-6, 4.35, 2.675e15, 9.5367431640625e-7]";
    let body = format!("{{\"data\": \"aGk=\", \"metadata\": {{\"n\": {numbers}}}}}");
    world.put("demo", "k").bytes("application/json", body).send().await.expect(StatusCode::CREATED);
    let got = world.get("demo", "k").send().await.expect(StatusCode::OK).json();
    let sent: Vec<f64> = serde_json::from_str(numbers).unwrap();
    let read: Vec<f64> = serde_json::from_value(got["metadata"]["n"].clone()).unwrap();
    assert_eq!(read, sent);
}

#[tokio::test]
async fn a_head_answers_the_value_s_size_and_no_body() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    world.store("demo", "k", "hello world").await;
    let head = world.head("demo", "k").send().await.expect(StatusCode::OK);
    assert_eq!((head.header("content-length"), head.header("etag")), ("11", "\"2\""));
    assert_eq!(head.header("cache-control"), "no-store");
    assert!(head.body.is_empty());
    world.head("demo", "none").send().await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_deleted_item_is_gone_and_goes_on_counting_when_it_is_put_again() {
    let world = World::new().await;
    let before = world.store("demo", "k", "one").await.json();
    let deleted = world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    assert!(deleted.body.is_empty());
    for request in [world.get("demo", "k"), world.delete("demo", "k")] {
        assert_problem(&request.send().await, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    }
    world.head("demo", "k").send().await.expect(StatusCode::NOT_FOUND);
    let again = world.store("demo", "k", "two").await.expect(StatusCode::CREATED);
    assert_eq!(again.header("etag"), "\"2\"");
    assert!(again.json()["createdAt"].as_str() > before["createdAt"].as_str());
    assert_eq!(world.value("demo", "k").await, "two");
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn an_expired_item_is_gone_and_goes_on_counting_when_it_is_put_again() {
    let world = World::new().await;
    let body = json!({"data": "aGk=", "expiresAt": world.after(SignedDuration::from_hours(1)).to_string()});
    world.put("demo", "k").json(&body).send().await.expect(StatusCode::CREATED);
    world.get("demo", "k").send().await.expect(StatusCode::OK);
    world.advance(SignedDuration::from_hours(1));
    for request in [world.get("demo", "k"), world.delete("demo", "k")] {
        assert_problem(&request.send().await, StatusCode::NOT_FOUND, "sgx.item_expired", "");
    }
    let again = world.put("demo", "k").header("if-none-match", "*").bytes(BYTES, "two").send().await;
    assert_eq!(again.expect(StatusCode::CREATED).header("etag"), "\"2\"");
    assert_eq!(world.value("demo", "k").await, "two");
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn a_key_may_be_nearly_any_text() {
    let world = World::new().await;
    let long = "\u{1f511}".repeat(255);
    let keys = [
        "a/b/c",
        "a:b:c",
        "ключ/鍵 ü",
        "100%",
        "%2e%2e",
        "a+b&c=d?e#f",
        "...",
        ".hidden",
        " ",
        "'\"\\",
        &long,
    ];
    for (number, key) in keys.iter().enumerate() {
        let put = world.store("démo service", key, &number.to_string()).await.json();
        assert_eq!((&put["service"], &put["key"]), (&json!("démo service"), &json!(key)));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(world.value("démo service", key).await, number.to_string(), "{key}");
    }
    let listed = world.list("").send().await.expect(StatusCode::OK).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), keys.len());
    world.store(&"\u{1f4e6}".repeat(100), &long, "the longest").await;
}

#[tokio::test]
async fn an_escaped_slash_is_a_slash() {
    let world = World::new().await;
    world.store("demo", "a/b", "hello").await;
    let got = world.app.get("/api/v1/sgx/items/demo/a%2Fb").bearer(ACME).header("accept", BYTES).send().await;
    assert_eq!(got.expect(StatusCode::OK).text(), "hello");
}

#[tokio::test]
async fn an_empty_value_is_a_value() {
    let world = World::new().await;
    let put = world.store("demo", "bytes", "").await.json();
    assert_eq!((&put["size"], &put["sealedSize"]), (&json!(0), &json!(29)));
    world.put("demo", "json").json(&json!({"data": ""})).send().await.expect(StatusCode::CREATED);
    for key in ["bytes", "json"] {
        assert_eq!(world.get("demo", key).send().await.expect(StatusCode::OK).json()["data"], "");
        assert_eq!(world.value("demo", key).await, "");
        assert_eq!(world.head("demo", key).send().await.header("content-length"), "0");
    }
}

#[tokio::test]
async fn a_value_of_one_mib_passes() {
    let world = World::new().await;
    let value = noise(MIB);
    world.put("demo", "bytes").bytes(BYTES, value.clone()).send().await.expect(StatusCode::CREATED);
    let metadata = json!({"m": "x".repeat(16_000)});
    let body = json!({"data": STANDARD.encode(&value), "metadata": metadata});
    world.put("demo", "json").json(&body).send().await.expect(StatusCode::CREATED);
    for key in ["bytes", "json"] {
        let got = world.get("demo", key).header("accept", BYTES).send().await.expect(StatusCode::OK);
        assert!(got.body == value);
    }
    let got = world.get("demo", "json").send().await.expect(StatusCode::OK).json();
    assert!(got["data"] == STANDARD.encode(&value) && got["metadata"] == metadata);
}

#[tokio::test]
async fn one_byte_more_is_413_and_stores_nothing() {
    let world = World::new().await;
    let value = noise(MIB + 1);
    let length = value.len().to_string();
    let json = json!({"data": STANDARD.encode(&value)}).to_string();
    let too_much_json = format!("{{\"data\": \"{}\"}}", "A".repeat(2 * MIB));
    let refused = [
        ("undeclared", world.put("demo", "k").bytes(BYTES, value.clone())),
        ("declared", world.put("demo", "k").bytes(BYTES, value).header("content-length", &length)),
        // Nothing is there to be read: what is declared is enough.
        ("declared only", world.put("demo", "k").bytes(BYTES, "").header("content-length", &length)),
        ("json", world.put("demo", "k").bytes("application/json", json)),
        ("json beyond reading", world.put("demo", "k").bytes("application/json", too_much_json)),
        (
            "json declared only",
            world.put("demo", "k").bytes("application/json", "").header("content-length", "9999999"),
        ),
    ];
    for (name, request) in refused {
        let response = request.send().await;
        assert_problem(&response, StatusCode::PAYLOAD_TOO_LARGE, "sgx.value_too_large", "");
        assert!(response.text().contains("1048576"), "{name}");
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 0);
}
