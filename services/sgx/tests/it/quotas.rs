//! Quotas, and statistics that are never counted.

use axum::http::{Method, StatusCode};
use futures::future::join_all;
use nsl_testkit::{Response, eventually};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{ACME, ACME_READER, BYTES, OTHER, World, assert_problem, path};

const PLACE: &str = "/api/v1/sgx/quotas";

impl World {
    async fn set_quota(&self, body: &Value) -> Response {
        self.app.put(PLACE).bearer(ACME).json(body).send().await
    }

    async fn statistics(&self) -> Value {
        self.app.get("/api/v1/sgx/statistics").bearer(ACME).send().await.expect(StatusCode::OK).json()
    }
}

#[tokio::test]
async fn statistics_follow_each_change() {
    let world = World::new().await;
    assert_eq!(world.statistics().await, json!({"items": 0, "versions": 0, "bytes": 0, "services": []}));
    let mut bytes = 0;
    for (service, key, value) in
        [("a", "k", "one"), ("a", "k", "second"), ("a", "l", "x"), ("b", "k", "a value of some length")]
    {
        bytes += world.keep(service, key, value).await.json()["sealedSize"].as_i64().unwrap();
    }
    let told = world.statistics().await;
    assert_eq!((&told["items"], &told["versions"], &told["bytes"]), (&json!(3), &json!(4), &json!(bytes)));
    assert_eq!((&told["services"][0]["service"], &told["services"][0]["items"]), (&json!("a"), &json!(2)));
    assert_eq!(told["services"][0]["versions"], 3);
    world.assert_usage_is_true().await;

    world.delete("a", "k").send().await.expect(StatusCode::NO_CONTENT);
    let deleted = world.statistics().await;
    // What a deleted item holds is still there.
    assert_eq!(
        (&deleted["items"], &deleted["versions"], &deleted["bytes"]),
        (&json!(2), &json!(4), &json!(bytes))
    );
    world.act("restore", &json!({"service": "a", "key": "k"})).send().await.expect(StatusCode::OK);
    world
        .act("destroy", &json!({"service": "a", "key": "k", "version": 1}))
        .send()
        .await
        .expect(StatusCode::OK);
    let route = json!({"service": "b", "key": "k", "to": {"service": "c", "key": "k"}});
    world.act("rename", &route).send().await.expect(StatusCode::CREATED);
    world.assert_usage_is_true().await;
    let told = world.statistics().await;
    assert_eq!((&told["items"], &told["versions"]), (&json!(3), &json!(4)));

    // Folding changes nothing that is told; another tenant has nothing.
    let settings = world.settings.clone();
    let world = world.restart(settings).await;
    eventually(LIMIT, "the changes are folded", async || {
        world.number("SELECT count(*) FROM sgx.usage_changes").await == 0
    })
    .await;
    assert_eq!(world.statistics().await, told);
    world.assert_usage_is_true().await;
    let other = world.app.get("/api/v1/sgx/statistics").bearer(OTHER).send().await.json();
    assert_eq!(other["items"], 0);
}

#[tokio::test]
async fn quotas_are_set_listed_and_removed() {
    let world = World::new().await;
    let whole = world.set_quota(&json!({"maxBytes": 1000})).await.expect(StatusCode::OK).json();
    assert_eq!(
        (whole.get("service"), &whole["maxBytes"], &whole["updatedBy"]),
        (None, &json!(1000), &json!(ACME))
    );
    let own = world.set_quota(&json!({"service": "demo", "maxItems": 5, "maxBytes": 10})).await.json();
    let list = world.app.get(PLACE).bearer(ACME).send().await.expect(StatusCode::OK).json();
    assert_eq!(list, json!({"items": [whole, own]}));
    world.set_quota(&json!({"service": "demo", "maxItems": 6})).await.expect(StatusCode::OK);
    let list = world.app.get(PLACE).bearer(ACME).send().await.json();
    assert_eq!((&list["items"][1]["maxItems"], list["items"][1].get("maxBytes")), (&json!(6), None));
    assert_eq!(world.statistics().await["maxBytes"], 1000);

    for (body, pointer) in [
        (json!({}), "/maxBytes"),
        (json!({"service": "demo", "maxBytes": -1}), "/maxBytes"),
        (json!({"maxItems": -1}), "/maxItems"),
    ] {
        let wrong = world.set_quota(&body).await;
        assert_problem(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_quota", pointer);
    }
    let name = world.set_quota(&json!({"service": "a/b", "maxItems": 1})).await;
    assert_problem(&name, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_service", "service");

    let remove = |query: &str| world.app.delete(&format!("{PLACE}{query}")).bearer(ACME).send();
    remove("?service=demo").await.expect(StatusCode::NO_CONTENT);
    remove("").await.expect(StatusCode::NO_CONTENT);
    for query in ["?service=demo", "", "?service=a%00"] {
        assert_problem(&remove(query).await, StatusCode::NOT_FOUND, "sgx.quota_not_found", "");
    }
    let denied = world.app.get(PLACE).bearer(ACME_READER).send().await;
    assert_problem(&denied, StatusCode::FORBIDDEN, "core.permission_missing", "");
}

#[tokio::test]
async fn what_exceeds_a_quota_is_not_stored() {
    let world = World::new().await;
    world.keep("demo", "k", "one").await;
    world.set_quota(&json!({"service": "demo", "maxBytes": 100})).await.expect(StatusCode::OK);
    // A plain put too.
    let put = world.put("demo", "big").bytes(BYTES, "x".repeat(200)).send().await;
    assert_problem(&put, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "");
    assert!(put.text().contains("service demo") && put.text().contains("100 bytes"), "{}", put.text());
    world.put("elsewhere", "big").bytes(BYTES, "x".repeat(200)).send().await.expect(StatusCode::CREATED);
    world
        .app
        .put(&(path("demo", "big") + "?policy=LongTerm"))
        .bearer(OTHER)
        .bytes(BYTES, "x".repeat(200))
        .send()
        .await
        .expect(StatusCode::CREATED);
    // Former versions count: three of some 31 bytes fit, a fourth does not.
    world.keep("demo", "k", "two").await;
    world.keep("demo", "k", "333").await;
    let more = world.put("demo", "k").bytes(BYTES, "444").send().await;
    assert_problem(&more, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "");
    assert_eq!(world.value("demo", "k").await, "333");
    // Destroying makes room, deleting does not.
    world
        .act("destroy", &json!({"service": "demo", "key": "k", "version": 1}))
        .send()
        .await
        .expect(StatusCode::OK);
    world.keep("demo", "k", "444").await;
    let refused =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'SEAL_ITEM' AND result = 'Failure'";
    assert_eq!(world.number(refused).await, 2);
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
    world.set_quota(&json!({"service": "demo", "maxBytes": 10_000})).await.expect(StatusCode::OK);
    world.put("demo", "big").bytes(BYTES, "x".repeat(200)).send().await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn nothing_slips_past_the_number_of_items() {
    let world = World::new().await;
    world.keep("demo", "k", "x").await;
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    world.set_quota(&json!({"maxItems": 5})).await.expect(StatusCode::OK);
    let puts = (0..16).map(async |number| {
        world.put(&format!("s{}", number % 3), &format!("k{number}")).bytes(BYTES, "x").send().await
    });
    let answers = join_all(puts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 5);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        assert_problem(answer, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "");
        assert!(answer.text().contains("the tenant allows 5 items"), "{}", answer.text());
    }
    let restore = world.act("restore", &json!({"service": "demo", "key": "k"})).send().await;
    assert_problem(&restore, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "");
    let some = world.list("?limit=1").send().await.json();
    let (service, key) = (some["items"][0]["service"].clone(), some["items"][0]["key"].clone());
    let target = json!({"service": "demo", "key": "new"});
    let route = json!({"service": service, "key": key, "to": target});
    let copy = world.act("copy", &route).send().await;
    assert_problem(&copy, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "");
    // A new value in an item's place takes no more, nor does another name.
    world.act("rename", &route).send().await.expect(StatusCode::CREATED);
    world.put("demo", "new").bytes(BYTES, "y").send().await.expect(StatusCode::OK);
    assert_eq!(world.statistics().await["items"], 5);
    world.assert_usage_is_true().await;
    let gone = world.app.request(Method::DELETE, PLACE).bearer(ACME).send().await;
    gone.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_batch_keeps_the_quota_as_a_whole() {
    let world = World::new().await;
    world.set_quota(&json!({"service": "demo", "maxItems": 3})).await.expect(StatusCode::OK);
    let batch = |atomic: bool, names: &[&str]| {
        let items: Vec<Value> =
            names.iter().map(|key| json!({"service": "demo", "key": key, "data": "aGk="})).collect();
        let body = json!({"atomic": atomic, "items": items});
        world.app.post("/api/v1/sgx/items/batch-put").bearer(ACME).json(&body).send()
    };
    let refused = batch(true, &["d", "c", "b", "a"]).await;
    assert_problem(&refused, StatusCode::INSUFFICIENT_STORAGE, "sgx.quota_exceeded", "/items/3");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 0);
    let done = batch(true, &["d", "c"]).await.expect(StatusCode::OK).json();
    assert_eq!(done["items"][1]["status"], 201);
    let each = batch(false, &["b", "a"]).await.expect(StatusCode::OK).json();
    let mut statuses: Vec<i64> =
        each["items"].as_array().unwrap().iter().map(|item| item["status"].as_i64().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 507]);
    world.assert_events_match_items().await;
    world.assert_usage_is_true().await;
}
