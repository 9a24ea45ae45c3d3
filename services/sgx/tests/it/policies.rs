//! Sealing policies, and reads under their rules.

use axum::http::{Method, StatusCode};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use nsl_testkit::Request;
use serde_json::{Value, json};

use crate::world::{ACME, ACME_READER, BYTES, OTHER, World, assert_problem, path};

const PLACE: &str = "/api/v1/sgx/policies";

impl World {
    fn policies(&self, method: Method, rest: &str) -> Request<'_> {
        self.app.request(method, &format!("{PLACE}{rest}")).bearer(ACME)
    }

    async fn make(&self, policy: &Value) -> Value {
        let made = self.policies(Method::POST, "").json(policy).send().await;
        made.expect(StatusCode::CREATED).json()
    }

    /// Puts a value under a policy.
    async fn under(&self, policy: &str, key: &str, value: &str) -> Value {
        let place = format!("{}?policy={policy}", path("demo", key));
        let put = self.app.put(&place).bearer(ACME).bytes(BYTES, value.to_owned()).send().await;
        assert!(put.status.is_success(), "{}", put.text());
        put.json()
    }

    /// The results of the reads of an item, in their order.
    async fn reads(&self, key: &str) -> Vec<Value> {
        let rows = self
            .rows(&format!(
                "SELECT result FROM monitoring.audit_logs WHERE action = 'UNSEAL_ITEM' AND resource_id = 'demo/{key}' \
                 ORDER BY id"
            ))
            .await;
        rows.iter().map(|row| row["result"].clone()).collect()
    }
}

#[tokio::test]
async fn the_five_are_there_and_never_change() {
    let world = World::new().await;
    let page = world.policies(Method::GET, "").send().await.expect(StatusCode::OK).json();
    let names: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|policy| &policy["name"]).collect();
    assert_eq!(names, ["Default_MRENCLAVE", "Default_MRSIGNER", "Ephemeral", "HighSecurity", "LongTerm"]);
    let high = world.policies(Method::GET, "/HighSecurity").send().await.expect(StatusCode::OK).json();
    let expected = json!({
        "name": "HighSecurity", "type": "CUSTOM", "expirationHours": 6, "allowUnseal": true,
        "requireAttestation": true, "minIsvSvn": 1, "isActive": true, "builtIn": true,
        "description": high["description"],
    });
    assert_eq!(high, expected);
    assert_eq!(page["items"][3], expected);
    let body = json!({"type": "CUSTOM"});
    let put = world.policies(Method::PUT, "/HighSecurity").json(&body).send().await;
    let delete = world.policies(Method::DELETE, "/HighSecurity").send().await;
    let post = json!({"name": "HighSecurity", "type": "CUSTOM"});
    let post = world.policies(Method::POST, "").json(&post).send().await;
    for response in [put, delete, post] {
        assert_problem(&response, StatusCode::CONFLICT, "sgx.builtin_policy", "");
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.policies").await, 0);
}

#[tokio::test]
async fn a_tenant_makes_changes_and_removes_its_policies() {
    let world = World::new().await;
    let body = json!({
        "name": "Payroll", "type": "MRENCLAVE", "description": "Wages", "expirationHours": 48,
        "allowedRoles": ["Clerk"], "maxReads": 3, "requireAttestation": true, "minIsvSvn": 2,
    });
    let post = || world.policies(Method::POST, "").header("idempotency-key", "one").json(&body).send();
    let response = post().await.expect(StatusCode::CREATED);
    assert_eq!(
        (response.header("etag"), response.header("location")),
        ("\"1\"", "/api/v1/sgx/policies/Payroll")
    );
    let made = response.json();
    let mut expected = body.clone();
    for (field, value) in [
        ("allowUnseal", json!(true)),
        ("isActive", json!(true)),
        ("builtIn", json!(false)),
        ("version", json!(1)),
        ("createdBy", json!(ACME)),
        ("updatedBy", json!(ACME)),
        ("createdAt", made["createdAt"].clone()),
        ("updatedAt", made["createdAt"].clone()),
    ] {
        expected[field] = value;
    }
    assert_eq!(made, expected);
    assert_eq!(post().await.expect(StatusCode::CREATED).json(), made);
    let again = world.policies(Method::POST, "").json(&body).send().await;
    assert_problem(&again, StatusCode::CONFLICT, "sgx.policy_exists", "");
    let get = world.policies(Method::GET, "/Payroll").send().await.expect(StatusCode::OK);
    assert_eq!((get.header("etag"), get.json()), ("\"1\"", made));
    // The fifth of six, in the order of bytes.
    let page = world.policies(Method::GET, "?limit=5").send().await.json();
    let rest = format!("?cursor={}", page["nextCursor"].as_str().unwrap());
    let rest = world.policies(Method::GET, &rest).send().await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]["name"]), (1, &json!("Payroll")));

    let change = json!({"type": "CUSTOM", "allowUnseal": false});
    let put = |tag: &'static str| {
        world.policies(Method::PUT, "/Payroll").header("if-match", tag).json(&change).send()
    };
    assert_problem(&put("\"2\"").await, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
    let changed = put("\"1\"").await.expect(StatusCode::OK);
    assert_eq!((changed.header("etag"), &changed.json()["allowUnseal"]), ("\"2\"", &json!(false)));
    assert_eq!(changed.json().get("maxReads"), None);

    let delete =
        |tag: &'static str| world.policies(Method::DELETE, "/Payroll").header("if-match", tag).send();
    assert_problem(&delete("\"1\"").await, StatusCode::PRECONDITION_FAILED, "sgx.version_conflict", "");
    delete("\"2\"").await.expect(StatusCode::NO_CONTENT);
    for method in [Method::GET, Method::DELETE] {
        let gone = world.policies(method, "/Payroll").send().await;
        assert_problem(&gone, StatusCode::NOT_FOUND, "sgx.policy_not_found", "");
    }
    let gone = world.policies(Method::PUT, "/Payroll").json(&change).send().await;
    assert_problem(&gone, StatusCode::NOT_FOUND, "sgx.policy_not_found", "");
    let types = world.rows("SELECT type FROM eventsourcing.events ORDER BY id").await;
    assert_eq!(types, ["set", "set", "removed"].map(|what| json!({"type": format!("sgx.policy_{what}")})));
}

#[tokio::test]
async fn what_no_policy_can_say_is_refused_and_named() {
    let world = World::new().await;
    for (body, status, code, pointer) in [
        (
            json!({"name": "a b", "type": "CUSTOM"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.invalid_policy",
            "/name",
        ),
        (
            json!({"name": "P", "type": "CUSTOM", "maxReads": 0}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.invalid_policy",
            "/maxReads",
        ),
        (
            json!({"name": "P", "type": "CUSTOM", "minIsvSvn": 1}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.invalid_policy",
            "/minIsvSvn",
        ),
        (json!({"name": "P", "type": "SIGNER"}), StatusCode::BAD_REQUEST, "core.invalid_body", ""),
        (json!({"name": "P"}), StatusCode::BAD_REQUEST, "core.invalid_body", ""),
        (
            json!({"name": "P", "type": "CUSTOM", "maxRead": 1}),
            StatusCode::BAD_REQUEST,
            "core.invalid_body",
            "",
        ),
        (
            json!({"name": "P", "type": "CUSTOM", "builtIn": true}),
            StatusCode::BAD_REQUEST,
            "core.invalid_body",
            "",
        ),
    ] {
        let response = world.policies(Method::POST, "").json(&body).send().await;
        assert_eq!(response.status, status, "{body}: {}", response.text());
        assert_eq!(response.json()["code"], code, "{body}");
        if !pointer.is_empty() {
            assert_eq!(response.json()["errors"][0]["pointer"], pointer, "{body}");
        }
    }
    let unknown = json!({"type": "CUSTOM", "maxRead": 1});
    let unknown =
        world.policies(Method::PUT, "/P").json(&unknown).send().await.expect(StatusCode::BAD_REQUEST);
    assert!(unknown.text().contains("maxRead"));
    assert_eq!(world.number("SELECT count(*) FROM sgx.policies").await, 0);
    let failures =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'CREATE_POLICY' AND result = 'Failure'";
    assert_eq!(world.number(failures).await, 3);
}

#[tokio::test]
async fn a_policy_is_of_one_tenant() {
    let world = World::new().await;
    world.make(&json!({"name": "Ours", "type": "CUSTOM"})).await;
    let foreign = world.app.get(&format!("{PLACE}/Ours")).bearer(OTHER).send().await;
    assert_problem(&foreign, StatusCode::NOT_FOUND, "sgx.policy_not_found", "");
    let list = world.app.get(PLACE).bearer(OTHER).send().await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 5);
    let place = path("demo", "k") + "?policy=Ours";
    let put = world.app.put(&place).bearer(OTHER).bytes(BYTES, "x").send().await;
    assert_problem(&put, StatusCode::UNPROCESSABLE_ENTITY, "sgx.unknown_policy", "/policy");
    let denied = world.app.get(PLACE).bearer(ACME_READER).send().await;
    assert_problem(&denied, StatusCode::FORBIDDEN, "core.permission_missing", "");
}

#[tokio::test]
async fn a_put_takes_type_and_end_from_its_policy() {
    let world = World::new().await;
    world.make(&json!({"name": "Idle", "type": "CUSTOM", "isActive": false})).await;
    let ends = |item: &Value| item["expiresAt"].as_str().unwrap().parse::<Timestamp>().unwrap();
    for (policy, hours) in [("Ephemeral", 1), ("LongTerm", 168)] {
        let item = world.under(policy, policy, "x").await;
        assert_eq!(item["policy"], policy);
        let updated: Timestamp = item["updatedAt"].as_str().unwrap().parse().unwrap();
        assert_eq!(ends(&item).duration_since(updated), SignedDuration::from_hours(hours), "{policy}");
        assert_eq!(world.value("demo", policy).await, "x");
        let head = world.list(&format!("?prefix={policy}")).send().await.json();
        assert_eq!(head["items"][0], item);
    }
    // The earlier of the two ends counts.
    for (asked, kept) in [(1, 1), (1000, 168)] {
        let end = world.after(SignedDuration::from_hours(asked));
        let body = json!({"data": "aGk=", "policy": "LongTerm", "expiresAt": end.to_string()});
        let item = world.put("demo", "k").json(&body).send().await.json();
        let off = ends(&item).duration_since(world.after(SignedDuration::from_hours(kept))).abs();
        assert!(off < SignedDuration::from_secs(30), "{asked}: {item}");
    }
    world.advance(SignedDuration::from_hours(2));
    let expired = world.get("demo", "Ephemeral").send().await;
    assert_problem(&expired, StatusCode::NOT_FOUND, "sgx.item_expired", "");

    for (policy, code) in
        [("Idle", "sgx.inactive_policy"), ("Unheard", "sgx.unknown_policy"), ("a%00b", "sgx.unknown_policy")]
    {
        let place = format!("{}?policy={policy}", path("demo", "new"));
        let put = world.app.put(&place).bearer(ACME).bytes(BYTES, "x").send().await;
        assert_problem(&put, StatusCode::UNPROCESSABLE_ENTITY, code, "/policy");
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items WHERE key = 'new'").await, 0);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn a_plain_put_takes_the_rules_away_with_the_value() {
    let world = World::new().await;
    world.make(&json!({"name": "Closed", "type": "CUSTOM", "allowUnseal": false})).await;
    world.under("Closed", "k", "one").await;
    world.get("demo", "k").send().await.expect(StatusCode::FORBIDDEN);
    let put = world.store("demo", "k", "two").await.json();
    assert_eq!((&put["policy"], &put["expiresAt"]), (&json!("MRSIGNER"), &json!(null)));
    assert_eq!(world.value("demo", "k").await, "two");
}

#[tokio::test]
async fn a_closed_policy_lets_nobody_read() {
    let world = World::new().await;
    world.make(&json!({"name": "Closed", "type": "CUSTOM", "allowUnseal": false})).await;
    world.under("Closed", "k", "a secret").await;
    let read = world.get("demo", "k").send().await;
    assert_problem(&read, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    assert!(!read.text().contains("data") && !read.headers.contains_key("etag"));
    let version = world.version("demo", "k", 1).await;
    assert_problem(&version, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    world.head("demo", "k").send().await.expect(StatusCode::OK);
    assert_eq!(world.reads("k").await, ["Denied", "Denied"]);
    // A copy has the same rules.
    let copy = json!({"service": "demo", "key": "k", "to": {"service": "demo", "key": "copy"}});
    world.act("copy", &copy).send().await.expect(StatusCode::CREATED);
    let copied = world.get("demo", "copy").send().await;
    assert_problem(&copied, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
}

#[tokio::test]
async fn only_the_roles_that_are_allowed_read() {
    let world = World::new().await;
    world.make(&json!({"name": "Clerks", "type": "CUSTOM", "allowedRoles": ["Chief", "Clerk"]})).await;
    world.under("Clerks", "k", "wages").await;
    let place = path("demo", "k");
    let clerk = world.app.get(&place).bearer(ACME_READER).header("accept", BYTES).send().await;
    assert_eq!(clerk.expect(StatusCode::OK).text(), "wages");
    let operator = world.get("demo", "k").send().await;
    assert_problem(&operator, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    assert_eq!(world.reads("k").await, ["Success", "Denied"]);
}

#[tokio::test]
async fn so_many_reads_and_not_one_more() {
    let world = World::new().await;
    world.make(&json!({"name": "Five", "type": "CUSTOM", "maxReads": 5})).await;
    world.under("Five", "k", "one").await;
    let answers = join_all((0..16).map(|_| world.get("demo", "k").send())).await;
    let read = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(read, 5);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_problem(answer, StatusCode::FORBIDDEN, "sgx.reads_exhausted", "");
    }
    let mut results = world.reads("k").await;
    results.sort_by_key(Value::to_string);
    assert_eq!(results, [vec![json!("Denied"); 11], vec![json!("Success"); 5]].concat());

    // The next version starts anew, and the former one stays used up; neither a copy nor a restored value gets more.
    world.under("Five", "k", "two").await;
    assert_eq!(world.value("demo", "k").await, "two");
    let former = world.version("demo", "k", 1).await;
    assert_problem(&former, StatusCode::FORBIDDEN, "sgx.reads_exhausted", "");
    let copy = json!({"service": "demo", "key": "k", "version": 1, "to": {"service": "demo", "key": "copy"}});
    world.act("copy", &copy).send().await.expect(StatusCode::CREATED);
    let restore = json!({"service": "demo", "key": "k", "version": 1});
    world.act("restore", &restore).send().await.expect(StatusCode::OK);
    for key in ["copy", "k"] {
        let read = world.get("demo", key).send().await;
        assert_problem(&read, StatusCode::FORBIDDEN, "sgx.reads_exhausted", "");
    }
    let counted = world.version("demo", "k", 2).await;
    assert_eq!(counted.expect(StatusCode::OK).text(), "two");
    assert_eq!(world.number("SELECT reads FROM sgx.item_versions WHERE version = 2").await, 2);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn simulation_takes_no_attestation() {
    let world = World::new().await;
    world.under("HighSecurity", "k", "x").await;
    world.under("Default_MRENCLAVE", "e", "x").await;
    for key in ["k", "e"] {
        let id = uuid::Uuid::now_v7().to_string();
        for read in [world.get("demo", key), world.get("demo", key).header("x-attestation-id", &id)] {
            let read = read.send().await;
            assert_problem(&read, StatusCode::CONFLICT, "sgx.attestation_unavailable", "");
        }
        assert_eq!(world.reads(key).await, ["Denied", "Denied"]);
    }
    let odd = world.get("demo", "k").header("x-attestation-id", "mine").send().await;
    assert_problem(&odd, StatusCode::BAD_REQUEST, "sgx.invalid_attestation_id", "X-Attestation-Id");
}

#[tokio::test]
async fn a_policy_that_becomes_stricter_counts_and_one_that_becomes_looser_does_not() {
    let world = World::new().await;
    let open = json!({"type": "CUSTOM"});
    let closed = json!({"type": "CUSTOM", "allowUnseal": false});
    let idle = json!({"type": "CUSTOM", "isActive": false});
    world.make(&json!({"name": "P", "type": "CUSTOM"})).await;
    world.under("P", "open", "x").await;
    let change = async |body: &Value| {
        world.policies(Method::PUT, "/P").json(body).send().await.expect(StatusCode::OK);
    };
    change(&closed).await;
    world.under("P", "closed", "x").await;
    for key in ["open", "closed"] {
        let read = world.get("demo", key).send().await;
        assert_problem(&read, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    }
    change(&open).await;
    world.get("demo", "open").send().await.expect(StatusCode::OK);
    let bound = world.get("demo", "closed").send().await;
    assert_problem(&bound, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    change(&idle).await;
    let inactive = world.get("demo", "open").send().await;
    assert_problem(&inactive, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
    // Without the policy, what is bound to the value is all there is.
    world.policies(Method::DELETE, "/P").send().await.expect(StatusCode::NO_CONTENT);
    world.get("demo", "open").send().await.expect(StatusCode::OK);
    let bound = world.get("demo", "closed").send().await;
    assert_problem(&bound, StatusCode::FORBIDDEN, "sgx.policy_violation", "");
}

#[tokio::test]
async fn rules_that_somebody_wrote_into_the_row_are_a_damage() {
    let world = World::new().await;
    world.make(&json!({"name": "Closed", "type": "CUSTOM", "allowUnseal": false})).await;
    for (key, change) in [
        ("opened", "access = jsonb_set(access, '{allowUnseal}', 'true')"),
        ("freed", "access = NULL"),
        ("renamed", "policy_name = 'LongTerm'"),
        ("plain", "access = NULL, policy_name = NULL"),
        ("plain-signer", "access = NULL, policy_name = NULL, policy_type = 'MRSIGNER'"),
        ("retyped", "policy_type = 'MRSIGNER'"),
        ("nonsense", "access = '[1]'"),
    ] {
        world.under("Closed", key, "a secret").await;
        let sql = format!("UPDATE sgx.sealed_data_items SET {change} WHERE key = '{key}'");
        assert_eq!(world.as_attacker(&sql).await, 1);
        let read = world.get("demo", key).send().await;
        assert_problem(&read, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
        assert_eq!(world.reads(key).await, ["Failure"], "{key}");
    }
    // Nor does a plain value take rules from nowhere.
    world.store("demo", "k", "x").await;
    let sql = "UPDATE sgx.sealed_data_items SET policy_name = 'LongTerm' WHERE key = 'k'";
    assert_eq!(world.as_attacker(sql).await, 1);
    let read = world.get("demo", "k").send().await;
    assert_problem(&read, StatusCode::INTERNAL_SERVER_ERROR, "sgx.integrity_violation", "");
}

#[tokio::test]
async fn rules_hold_in_batches_too() {
    let world = World::new().await;
    world.make(&json!({"name": "Once", "type": "CUSTOM", "maxReads": 1})).await;
    let item =
        |key: &str, policy: &str| json!({"service": "demo", "key": key, "data": "aGk=", "policy": policy});
    let put = |items: Value| {
        let body = json!({"atomic": true, "items": items});
        world.app.post("/api/v1/sgx/items/batch-put").bearer(ACME).json(&body).send()
    };
    let refused = put(json!([item("a", "Once"), item("b", "Unheard")])).await;
    assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.unknown_policy", "/policy");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 0);
    put(json!([item("a", "Once"), item("b", "MRENCLAVE")])).await.expect(StatusCode::OK);
    let body = json!({"items": [{"service": "demo", "key": "a"}, {"service": "demo", "key": "b"}]});
    for status in [200, 403] {
        let got = world.app.post("/api/v1/sgx/items/batch-get").bearer(ACME).json(&body).send().await;
        let got = got.expect(StatusCode::OK).json();
        assert_eq!(
            (&got["items"][0]["status"], &got["items"][1]["status"]),
            (&json!(status), &json!(200)),
            "{got}"
        );
    }
}
