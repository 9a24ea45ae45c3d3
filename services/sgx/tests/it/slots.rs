//! Slots of the root key: listed, added, tested, retired.

use axum::http::StatusCode;
use nsl_crypto::key::Key256;
use nsl_sgx::StartError;
use nsl_testkit::{Request, Response};
use serde_json::{Value, json};

use crate::world::{ACME, KEY, OPERATOR, OTHER_KEY, Settings, World, assert_problem, start};

const SLOTS: &str = "/api/v1/sgx/slots";
const NOBODYS_KEY: &str = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";

fn post<'w>(world: &'w World, path: &str, body: &Value) -> Request<'w> {
    world.app.post(&format!("{SLOTS}{path}")).bearer(OPERATOR).json(body)
}

async fn add(world: &World, key: &str) -> Response {
    post(world, "", &json!({"kind": "configured", "key": key, "label": "vault"})).send().await
}

async fn slots(world: &World) -> Vec<Value> {
    let listed = world.app.get(SLOTS).bearer(OPERATOR).send().await.expect(StatusCode::OK).json();
    listed["items"].as_array().unwrap().clone()
}

fn path_of(slot: &Value, action: &str) -> String {
    format!("/{}/{action}", slot["id"].as_str().unwrap())
}

fn id(key: &str) -> String {
    hex::encode(Key256::parse(key).unwrap().id())
}

fn settings(key: &'static str) -> Settings {
    Settings { key, ..Settings::default() }
}

#[tokio::test]
async fn any_slot_opens_and_a_retired_one_does_not() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    let first = slots(&world).await.remove(0);
    assert_eq!(
        (&first["openerId"], &first["atHand"], &first["state"]),
        (&json!(id(KEY)), &json!(true), &json!("active"))
    );
    assert_eq!((&first["kind"], &first["rootState"]), (&json!("configured"), &json!("active")));

    let added = add(&world, OTHER_KEY).await.expect(StatusCode::CREATED);
    let second = added.json();
    assert_eq!(added.header("location"), format!("{SLOTS}/{}", second["id"].as_str().unwrap()));
    assert_eq!((&second["openerId"], &second["atHand"]), (&json!(id(OTHER_KEY)), &json!(false)));
    assert_eq!((&second["label"], &second["rootKeyId"]), (&json!("vault"), &first["rootKeyId"]));
    assert_eq!(slots(&world).await.len(), 2);
    post(&world, &path_of(&first, "test"), &json!({})).send().await.expect(StatusCode::OK);
    let given = json!({"key": OTHER_KEY});
    let tested = post(&world, &path_of(&second, "test"), &given).send().await.expect(StatusCode::OK).json();
    assert!(tested["testedAt"].as_str() > second["testedAt"].as_str(), "{tested}");

    for key in [OTHER_KEY, KEY] {
        let other = start(&world.test, world.acme, world.other, &settings(key)).await.unwrap();
        let got = other.get("/api/v1/sgx/items/demo/k").bearer(ACME).send().await.expect(StatusCode::OK);
        assert_eq!(got.json()["data"], "aGVsbG8=", "opened with {}", id(key));
    }

    let retire = path_of(&first, "retire");
    let retired = post(&world, &retire, &json!({})).send().await.expect(StatusCode::OK).json();
    assert_eq!((&retired["state"], retired["retiredAt"].is_string()), (&json!("retired"), true));
    assert_eq!(world.value("demo", "k").await, "hello", "what is open stays open");
    add(&world, NOBODYS_KEY).await.expect(StatusCode::CREATED);
    let again = post(&world, &retire, &json!({})).send().await;
    assert_problem(&again, StatusCode::CONFLICT, "sgx.slot_retired", "");
    let refused = start(&world.test, world.acme, world.other, &settings(KEY)).await.err().unwrap();
    let Some(StartError::RetiredSlot { given, needs }) = refused.downcast_ref() else { panic!("{refused}") };
    let mut openers = [OTHER_KEY, NOBODYS_KEY].map(|key| format!("configured key {}", id(key)));
    openers.sort();
    assert_eq!((given, needs), (&id(KEY), &openers.join(" or ")));
    let world = world.restart(settings(OTHER_KEY)).await;
    assert_eq!(world.value("demo", "k").await, "hello");
    let wiped = "SELECT count(*) FROM sgx.root_slots WHERE state = 'retired' AND wrapped_root IS NULL";
    assert_eq!(world.number(wiped).await, 1);
}

#[tokio::test]
async fn the_last_slot_stays() {
    let world = World::new().await;
    let only = slots(&world).await.remove(0);
    let refused = post(&world, &path_of(&only, "retire"), &json!({})).send().await;
    assert_problem(&refused, StatusCode::CONFLICT, "sgx.last_slot", "");
    add(&world, OTHER_KEY).await.expect(StatusCode::CREATED);
    // Each of two would leave the other as the last one.
    let retirements = slots(&world)
        .await
        .into_iter()
        .map(async |slot| post(&world, &path_of(&slot, "retire"), &json!({})).send().await.status);
    let mut outcomes = futures::future::join_all(retirements).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [StatusCode::OK, StatusCode::CONFLICT]);
    let left = "SELECT count(*) FROM sgx.root_slots WHERE wrapped_root IS NOT NULL AND state = 'active'";
    assert_eq!(world.number(left).await, 1);
    // A platform's key that no process has may be that of an enclave that is no more: no reserve.
    let lost = "INSERT INTO sgx.root_slots (slot_id, root_key_id, kind, opener_id, wrapped_root) \
                SELECT gen_random_uuid(), root_key_id, 'mrenclave', '\\x0102030405060708', '\\x00' FROM sgx.root_keys";
    world.as_attacker(lost).await;
    let kept = slots(&world)
        .await
        .into_iter()
        .find(|slot| slot["kind"] == "configured" && slot["state"] == "active");
    let refused = post(&world, &path_of(&kept.unwrap(), "retire"), &json!({})).send().await;
    assert_problem(&refused, StatusCode::CONFLICT, "sgx.last_slot", "");
}

#[tokio::test]
async fn a_wrong_key_a_changed_slot_and_no_slot_each_have_their_code() {
    let world = World::new().await;
    let first = slots(&world).await.remove(0);
    let second = add(&world, OTHER_KEY).await.expect(StatusCode::CREATED).json();
    let test = path_of(&second, "test");
    let not_at_hand = post(&world, &test, &json!({})).send().await;
    assert_problem(&not_at_hand, StatusCode::CONFLICT, "sgx.slot_key_not_at_hand", "");
    let wrong = post(&world, &test, &json!({"key": NOBODYS_KEY})).send().await;
    assert_problem(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "sgx.wrong_key_slot", "/key");
    for action in ["test", "retire"] {
        let unknown = format!("/00000000-0000-7000-8000-000000000000/{action}");
        let unknown = post(&world, &unknown, &json!({})).send().await;
        assert_problem(&unknown, StatusCode::NOT_FOUND, "sgx.slot_not_found", "");
    }
    let taken = add(&world, KEY).await;
    assert_problem(&taken, StatusCode::CONFLICT, "sgx.slot_exists", "");

    let flip = "UPDATE sgx.root_slots SET wrapped_root = set_byte(wrapped_root, 40, get_byte(wrapped_root, 40) # 1) \
                WHERE slot_id::text = ";
    world.as_attacker(&format!("{flip}'{}'", second["id"].as_str().unwrap())).await;
    let damaged = post(&world, &test, &json!({"key": OTHER_KEY})).send().await;
    assert_problem(&damaged, StatusCode::INTERNAL_SERVER_ERROR, "sgx.slot_damaged", "");
    let alarm = "SELECT count(*) FROM monitoring.security_events \
                 WHERE event_type = 'sgx.slot_damaged' AND severity = 'Critical'";
    assert_eq!(world.number(alarm).await, 1);

    let actions = "SELECT resource_id, result FROM monitoring.audit_logs \
                   WHERE action = 'TEST_SLOT' AND actor = 'operator' ORDER BY id";
    let failure = json!({"resource_id": second["id"], "result": "Failure"});
    let audits = world.rows(actions).await;
    assert_eq!(audits.iter().filter(|row| **row == failure).count(), 3, "{audits:?}");
    post(&world, &path_of(&first, "test"), &json!({})).send().await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_key_makes_no_slot() {
    let world = World::new().await;
    let weak = [
        json!({"kind": "configured"}),
        json!({"kind": "configured", "key": "c2hvcnQ="}),
        json!({"kind": "configured", "key": "your_sgx_encryption_key_here_32_bytes"}),
        json!({"kind": "configured", "key": "00".repeat(32)}),
        json!({"kind": "configured", "key": "g".repeat(43)}),
    ];
    for body in weak {
        let refused = post(&world, "", &body).send().await;
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_key", "/key");
    }
    let platform = post(&world, "", &json!({"kind": "mrsigner"})).send().await;
    assert_problem(&platform, StatusCode::CONFLICT, "sgx.platform_key_unavailable", "");
    let given = post(&world, "", &json!({"kind": "mrenclave", "key": OTHER_KEY})).send().await;
    assert_problem(&given, StatusCode::UNPROCESSABLE_ENTITY, "sgx.slot_key_not_taken", "/key");
    let label = json!({"kind": "configured", "key": OTHER_KEY, "label": "a\nb"});
    let label = post(&world, "", &label).send().await;
    assert_problem(&label, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_label", "/label");
    for body in [
        json!({"kind": "tpm"}),
        json!({"kind": "configured", "key": 7}),
        json!({"kind": "configured", "kez": ""}),
    ] {
        post(&world, "", &body).send().await.expect(StatusCode::BAD_REQUEST);
    }
    assert_eq!(slots(&world).await.len(), 1);
}

#[tokio::test]
async fn a_tenant_s_administrator_is_no_operator() {
    let world = World::new().await;
    let first = slots(&world).await.remove(0);
    let (test, retire) = (path_of(&first, "test"), path_of(&first, "retire"));
    let body = json!({"kind": "configured", "key": OTHER_KEY});
    let requests = [
        world.app.get(SLOTS),
        world.app.post(SLOTS).json(&body),
        world.app.post(&format!("{SLOTS}{test}")).json(&json!({})),
        world.app.post(&format!("{SLOTS}{retire}")).json(&json!({})),
    ];
    for request in requests {
        let refused = request.bearer(ACME).send().await;
        assert_problem(&refused, StatusCode::FORBIDDEN, "sgx.operator_only", "");
    }
    let denied =
        "SELECT count(*) FROM monitoring.audit_logs WHERE result = 'Denied' AND resource_type = 'root_slot'";
    assert_eq!(world.number(denied).await, 4);
    assert_eq!(slots(&world).await.len(), 1);
}

#[tokio::test]
async fn a_repeated_request_makes_one_slot_and_the_key_is_kept_nowhere() {
    let world = World::new().await;
    let send = async |key: &str| {
        let body = json!({"kind": "configured", "key": key});
        post(&world, "", &body).header("idempotency-key", "once").send().await
    };
    let first = send(OTHER_KEY).await.expect(StatusCode::CREATED);
    let again = send(OTHER_KEY).await.expect(StatusCode::CREATED);
    assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"));
    let reused = send(NOBODYS_KEY).await;
    assert_problem(&reused, StatusCode::UNPROCESSABLE_ENTITY, "core.idempotency_key_reused", "");
    let recorded = [
        "SELECT convert_from(body, 'UTF8') AS text FROM core.idempotency_keys WHERE body IS NOT NULL",
        "SELECT to_jsonb(a)::text AS text FROM monitoring.audit_logs a",
        "SELECT to_jsonb(s)::text AS text FROM monitoring.security_events s",
        "SELECT to_jsonb(r)::text AS text FROM sgx.root_slots r",
    ];
    for query in recorded {
        let rows = world.rows(query).await;
        assert!(!rows.is_empty(), "{query}");
        for row in rows {
            let text = row["text"].as_str().unwrap();
            assert!(!text.contains(OTHER_KEY) && !text.contains(NOBODYS_KEY), "{text}");
        }
    }
    let events = "SELECT count(*) FROM monitoring.security_events WHERE event_type = 'sgx.slot_added'";
    assert_eq!(world.number(events).await, 1);
}
