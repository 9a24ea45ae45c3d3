//! Values too large for one piece: in and out chunk by chunk, and what happens when that breaks off or was tampered with.

use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use nsl_testkit::{TestDb, eventually};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{ACME_READER, BYTES, OTHER, Settings, World, assert_problem, path};

pub(crate) const MIB: usize = 1 << 20;
const CHUNK: usize = MIB / 2;
/// Bytes that a sealed chunk has more.
const TAG: usize = 16;

pub(crate) fn large() -> Settings {
    Settings { max_value_bytes: 8 * MIB, ..Settings::default() }
}

pub(crate) async fn world() -> World {
    World::with(large()).await
}

/// Differs in every chunk.
pub(crate) fn value(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from((i ^ i >> 8 ^ i >> 16) & 255).unwrap()).collect::<Vec<u8>>().into()
}

/// In pieces as a socket would give them, without a length.
fn pieces(value: &Bytes) -> Body {
    let pieces: Vec<io::Result<Bytes>> = (0..value.len())
        .step_by(100_000)
        .map(|at| Ok(value.slice(at..value.len().min(at + 100_000))))
        .collect();
    Body::from_stream(stream::iter(pieces))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "gone")
}

async fn chunks(world: &World) -> i64 {
    world.number("SELECT count(*) FROM sgx.content_chunks").await
}

pub(crate) async fn store(world: &World, key: &str, value: &Bytes) {
    let response = world.put("demo", key).stream(BYTES, pieces(value)).send().await;
    response.expect(StatusCode::CREATED);
}

/// What comes out before the answer ends, and whether it ends well.
async fn read(world: &World, key: &str) -> (StatusCode, Vec<u8>, bool) {
    let answer = world.get("demo", key).header("accept", BYTES).open().await;
    let status = answer.status();
    let mut body = answer.into_body().into_data_stream();
    let mut got = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(_) => return (status, got, false),
        }
    }
    (status, got, true)
}

/// Nothing of an upload is left, and its refusal stands in the audit log.
async fn assert_nothing_stored(world: &World, key: &str) {
    eventually(LIMIT, "the chunks are removed", async || chunks(world).await == 0).await;
    world.get("demo", key).send().await.expect(StatusCode::NOT_FOUND);
    let audit = json!(["SEAL_ITEM", format!("demo/{key}"), "Failure"]);
    eventually(LIMIT, "the failure is recorded", async || world.audits().await.contains(&audit)).await;
    assert_eq!(world.number("SELECT count(*) FROM eventsourcing.events").await, 0);
}

#[tokio::test]
async fn a_large_value_comes_back_as_it_was_put() {
    let world = world().await;
    let value = value(3 * MIB + 12_345);
    let put = world
        .put("demo", "large")
        .bytes(BYTES, value.clone())
        .send()
        .await
        .expect(StatusCode::CREATED)
        .json();
    assert_eq!(put["size"], value.len());
    let sealed = put["sealedSize"].as_u64().unwrap();
    assert!(sealed > (value.len() + 7 * TAG) as u64, "{put}");
    let answer = world.get("demo", "large").header("accept", BYTES).send().await.expect(StatusCode::OK);
    assert_eq!(answer.body, value);
    assert_eq!(answer.header("content-length"), value.len().to_string());
    assert_eq!(answer.header("etag"), "\"1\"");
    assert_eq!(answer.header("cache-control"), "no-store");
    let head = world.head("demo", "large").send().await.expect(StatusCode::OK);
    assert_eq!(head.header("content-length"), value.len().to_string());
    // Seven chunks, none of which shows a piece of the value.
    let rows = world
        .rows("SELECT count(*) AS chunks, sum(octet_length(sealed)) AS bytes FROM sgx.content_chunks")
        .await;
    assert_eq!(rows, [json!({"chunks": 7, "bytes": value.len() + 7 * TAG})]);
    let part = hex::encode(&value[..32]);
    let shown =
        format!("SELECT count(*) FROM sgx.content_chunks WHERE position('\\x{part}'::bytea IN sealed) > 0");
    assert_eq!(world.number(&shown).await, 0);
    let sealed = |action: &str| json!([action, "demo/large", "Success"]);
    assert_eq!(world.audits().await, [sealed("SEAL_ITEM"), sealed("UNSEAL_ITEM"), sealed("STAT_ITEM")]);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn every_size_around_a_border_comes_back() {
    let world = world().await;
    for length in [MIB - 1, MIB, MIB + 1, MIB + CHUNK - 1, MIB + CHUNK, MIB + CHUNK + 1, 2 * MIB, 8 * MIB] {
        let value = value(length);
        for (how, body) in [("length", Body::from(value.clone())), ("pieces", pieces(&value))] {
            let key = format!("{how}-{length}");
            world.put("demo", &key).stream(BYTES, body).send().await.expect(StatusCode::CREATED);
            let (status, got, whole) = read(&world, &key).await;
            assert!(status.is_success() && whole && got == value, "{key}");
        }
        let stored = world
            .rows(&format!("SELECT content_id IS NOT NULL AS streamed FROM sgx.sealed_data_items WHERE original_size = {length}"))
            .await;
        let streamed = json!({"streamed": length > MIB});
        assert_eq!(stored, [streamed.clone(), streamed], "{length}");
    }
    // Small ones also without a length, and an empty one.
    for length in [0, 5] {
        let value = value(length);
        world.put("demo", "small").stream(BYTES, pieces(&value)).send().await;
        assert_eq!(read(&world, "small").await, (StatusCode::OK, value.to_vec(), true));
    }
}

#[tokio::test]
async fn json_takes_and_shows_small_values_only() {
    let world = world().await;
    store(&world, "large", &value(2 * MIB)).await;
    let refused = world.get("demo", "large").send().await;
    assert_problem(&refused, StatusCode::NOT_ACCEPTABLE, "sgx.value_streamed", "");
    let body = |length: usize| {
        use base64::Engine as _;
        json!({"data": base64::engine::general_purpose::STANDARD.encode(value(length))})
    };
    world.put("demo", "json").json(&body(MIB)).send().await.expect(StatusCode::CREATED);
    for length in [MIB + 1, 2 * MIB] {
        let refused = world.put("demo", "json").json(&body(length)).send().await;
        assert_problem(&refused, StatusCode::PAYLOAD_TOO_LARGE, "sgx.value_too_large_for_json", "");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_leaves_nothing() {
    let world = world().await;
    let value = value(8 * MIB + 1);
    for (key, body) in [("declared", Body::from(value.clone())), ("pieces", pieces(&value))] {
        let mut put = world.put("demo", key).stream(BYTES, body);
        if key == "declared" {
            put = put.header("content-length", &value.len().to_string());
        }
        let refused = put.send().await;
        assert_problem(&refused, StatusCode::PAYLOAD_TOO_LARGE, "sgx.value_too_large", "");
        assert_nothing_stored(&world, key).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_leaves_nothing() {
    let world = world().await;
    let value = value(3 * MIB);
    for (key, declared) in [("shorter", 3 * MIB + 1), ("longer", 3 * MIB - 1)] {
        let put = world.put("demo", key).stream(BYTES, pieces(&value));
        let refused = put.header("content-length", &declared.to_string()).send().await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "sgx.truncated", "");
        assert_nothing_stored(&world, key).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let world = world().await;
    let start = stream::iter([Ok(value(3 * MIB)), Err(broken())]);
    let refused = world.put("demo", "broken").stream(BYTES, Body::from_stream(start)).send().await;
    assert_problem(&refused, StatusCode::BAD_REQUEST, "sgx.truncated", "");
    assert_nothing_stored(&world, "broken").await;
    // Before the first chunk too.
    let start = stream::iter([Ok(value(5)), Err(broken())]);
    let refused = world.put("demo", "early").stream(BYTES, Body::from_stream(start)).send().await;
    assert_problem(&refused, StatusCode::BAD_REQUEST, "sgx.truncated", "");
    assert_nothing_stored(&world, "early").await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing() {
    let world = world().await;
    let stalled = stream::iter([Ok::<_, io::Error>(value(3 * MIB))]).chain(stream::pending());
    let put = world.put("demo", "stalled").stream(BYTES, Body::from_stream(stalled)).send();
    tokio::select! {
        answer = put => panic!("{}", answer.text()),
        () = eventually(LIMIT, "chunks are staged", async || chunks(&world).await > 0) => {}
    }
    assert_nothing_stored(&world, "stalled").await;
}

#[tokio::test]
async fn a_put_that_is_refused_in_the_end_leaves_no_chunks() {
    let world = world().await;
    world.store("demo", "taken", "small").await;
    let put = world.put("demo", "taken").header("if-none-match", "*").stream(BYTES, pieces(&value(2 * MIB)));
    let refused = put.send().await;
    assert_problem(&refused, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
    assert_eq!(chunks(&world).await, 0);
    assert_eq!(world.value("demo", "taken").await, "small");
    let put = world.app.put(&path("demo", "mine")).bearer(ACME_READER).stream(BYTES, pieces(&value(2 * MIB)));
    put.send().await.expect(StatusCode::FORBIDDEN);
    let past = format!("{}?expiresAt=2001-01-01T00:00:00Z", path("demo", "late"));
    let put = world.app.put(&past).bearer(crate::world::ACME).stream(BYTES, pieces(&value(2 * MIB)));
    assert_problem(&put.send().await, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_expiry", "/expiresAt");
    assert_eq!(chunks(&world).await, 0);
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_it() {
    let world = world().await;
    store(&world, "large", &value(2 * MIB)).await;
    let get = world.app.get(&path("demo", "large")).bearer(OTHER).header("accept", BYTES);
    get.send().await.expect(StatusCode::NOT_FOUND);
}

/// A change behind the service's back, and how many chunks come out before it is found.
pub(crate) type Attack = (&'static str, &'static str, usize);

const IS: &str = "content_id = (SELECT content_id FROM sgx.sealed_data_items WHERE key = 'large')";

pub(crate) const ATTACKS: [Attack; 9] = [
    (
        "a flipped bit in the first chunk",
        "UPDATE sgx.content_chunks SET sealed = set_bit(sealed, 7, 1 - get_bit(sealed, 7)) WHERE number = 0 AND {is}",
        0,
    ),
    (
        "a flipped bit in the middle",
        "UPDATE sgx.content_chunks SET sealed = set_bit(sealed, 99, 1 - get_bit(sealed, 99)) WHERE number = 3 AND {is}",
        3,
    ),
    (
        "a flipped bit in the last tag",
        "UPDATE sgx.content_chunks SET sealed = set_byte(sealed, octet_length(sealed) - 1, 255 - get_byte(sealed, octet_length(sealed) - 1)) WHERE number = 6 AND {is}",
        6,
    ),
    (
        "two chunks swapped",
        "UPDATE sgx.content_chunks c SET sealed = o.sealed FROM sgx.content_chunks o WHERE c.{is} AND o.content_id = c.content_id AND c.number IN (2, 3) AND o.number = 5 - c.number",
        2,
    ),
    ("a missing chunk", "DELETE FROM sgx.content_chunks WHERE number = 4 AND {is}", 4),
    (
        "a chunk doubled over the next",
        "UPDATE sgx.content_chunks c SET sealed = o.sealed FROM sgx.content_chunks o WHERE c.{is} AND o.content_id = c.content_id AND c.number = 1 AND o.number = 0",
        1,
    ),
    (
        "a shortened chunk",
        "UPDATE sgx.content_chunks SET sealed = substr(sealed, 1, octet_length(sealed) - 1) WHERE number = 5 AND {is}",
        5,
    ),
    (
        "the last chunk in place of an earlier one",
        "UPDATE sgx.content_chunks c SET sealed = o.sealed FROM sgx.content_chunks o WHERE c.{is} AND o.content_id = c.content_id AND c.number = 5 AND o.number = 6",
        5,
    ),
    (
        "chunks of another value",
        "UPDATE sgx.content_chunks c SET sealed = o.sealed FROM sgx.content_chunks o WHERE c.{is} AND o.content_id <> c.content_id AND c.number = 2 AND o.number = 2",
        2,
    ),
];

#[tokio::test]
async fn no_byte_of_a_damaged_chunk_leaves() {
    let value = value(3 * MIB + 77);
    for (what, attack, survives) in ATTACKS {
        let world = world().await;
        store(&world, "large", &value).await;
        store(&world, "other", &value).await;
        assert!(world.as_attacker(&attack.replace("{is}", IS)).await > 0, "{what}");
        let (status, got, whole) = read(&world, "large").await;
        if survives == 0 {
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{what}");
        } else {
            assert!(!whole && got == value[..survives * CHUNK], "{what}: {} bytes", got.len());
        }
        let alarms = "SELECT count(*) FROM monitoring.security_events WHERE event_type = 'sgx.integrity_violation' \
                      AND severity = 'Critical' AND event_data->>'key' = 'large'";
        assert_eq!(world.number(alarms).await, 1, "{what}");
        let audits = world.audits().await;
        assert_eq!(audits.last(), Some(&json!(["UNSEAL_ITEM", "demo/large", "Failure"])), "{what}");
        assert_eq!(read(&world, "other").await, (StatusCode::OK, value.to_vec(), true), "{what}");
    }
}

#[tokio::test]
async fn a_row_that_names_another_content_or_length_does_not_open() {
    let value = value(2 * MIB);
    for attack in [
        "UPDATE sgx.sealed_data_items SET content_id = (SELECT content_id FROM sgx.sealed_data_items WHERE key = 'other') WHERE key = 'large'",
        "UPDATE sgx.sealed_data_items SET content_id = NULL WHERE key = 'large'",
        "UPDATE sgx.sealed_data_items SET original_size = original_size - 1 WHERE key = 'large'",
        "UPDATE sgx.sealed_data_items SET sealed_size = sealed_size - 1 WHERE key = 'large'",
        "UPDATE sgx.sealed_data_items i SET sealed_data = o.sealed_data, wrapped_data_key = o.wrapped_data_key, \
            fingerprint = o.fingerprint, content_id = o.content_id FROM sgx.sealed_data_items o WHERE i.key = 'large' AND o.key = 'other'",
    ] {
        let world = world().await;
        store(&world, "large", &value).await;
        store(&world, "other", &value).await;
        assert_eq!(world.as_attacker(attack).await, 1, "{attack}");
        for accept in [BYTES, "application/json"] {
            let refused = world.get("demo", "large").header("accept", accept).send().await;
            assert_problem(&refused, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
        }
    }
}

#[tokio::test]
async fn a_chunk_too_many_is_not_read() {
    let world = world().await;
    let value = value(2 * MIB);
    store(&world, "large", &value).await;
    let more = "INSERT INTO sgx.content_chunks (tenant_id, content_id, number, sealed) \
                SELECT tenant_id, content_id, 4, sealed FROM sgx.content_chunks WHERE number = 3";
    assert_eq!(world.as_attacker(more).await, 1);
    assert_eq!(read(&world, "large").await, (StatusCode::OK, value.to_vec(), true));
}

#[tokio::test]
async fn chunks_that_nothing_needs_are_purged_after_a_day() {
    let test = TestDb::new().await.unwrap();
    let world = World::on(test, large()).await;
    let value = value(2 * MIB);
    store(&world, "kept", &value).await;
    let broken = "INSERT INTO sgx.content_chunks (tenant_id, content_id, number, sealed, created_at) \
                  SELECT tenant_id, core.uuid_v7(), 1, sealed, now() - make_interval(hours => h) \
                  FROM sgx.content_chunks, unnest('{23, 25}'::int[]) AS h WHERE number = 0";
    assert_eq!(world.as_attacker(broken).await, 2);
    world
        .as_attacker("UPDATE sgx.content_chunks SET created_at = now() - interval '9 days' WHERE number <> 1")
        .await;
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    eventually(LIMIT, "the old one is gone", async || chunks(&world).await == 4 + 1).await;
    assert_eq!(read(&world, "kept").await, (StatusCode::OK, value.to_vec(), true));
}

#[tokio::test]
async fn while_encryption_is_off_large_values_come_and_go_too() {
    let world = World::with(Settings { encrypt: false, ..large() }).await;
    let value = value(2 * MIB);
    store(&world, "large", &value).await;
    let stored = world.rows("SELECT encryption FROM sgx.sealed_data_items").await;
    assert_eq!(stored, [json!({"encryption": "none"})] as [Value; 1]);
    assert_eq!(read(&world, "large").await, (StatusCode::OK, value.to_vec(), true));
}
