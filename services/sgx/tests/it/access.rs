//! Who may call: no credential, no permission.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::world::{ACME_READER, BYTES, World, assert_problem, path};

#[tokio::test]
async fn a_stranger_gets_401_whatever_else_is_wrong() {
    let world = World::new().await;
    let routes = [
        (Method::GET, path("demo", "k")),
        (Method::HEAD, path("demo", "k")),
        (Method::PUT, path("demo", "k")),
        (Method::DELETE, path("demo", "k")),
        (Method::PUT, path("demo", "../k") + "?policy=nonsense"),
        (Method::GET, "/api/v1/sgx/items?limit=0&nonsense=1".to_owned()),
    ];
    for (method, path) in routes {
        for header in ["", "Bearer forged", "Basic YWNtZTphY21l"] {
            let request = world.app.request(method.clone(), &path).header("if-match", "nonsense");
            let request = if header.is_empty() { request } else { request.header("authorization", header) };
            let response = request.bytes("text/plain", "{").send().await.expect(StatusCode::UNAUTHORIZED);
            assert_eq!(response.header("www-authenticate"), "Bearer", "{method} {path}");
        }
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 0);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    let place = path("demo", "k");
    world.app.get(&place).bearer(ACME_READER).send().await.expect(StatusCode::OK);
    let put = world.app.put(&place).bearer(ACME_READER).bytes(BYTES, "other").send().await;
    assert_problem(&put, StatusCode::FORBIDDEN, "core.permission_missing", "");
    assert!(put.text().contains("sgx:write"));
    let delete = world.app.delete(&place).bearer(ACME_READER).send().await;
    assert_problem(&delete, StatusCode::FORBIDDEN, "core.permission_missing", "");
    assert!(delete.text().contains("sgx:delete"));
    let denied = world
        .rows("SELECT actor, action, resource_id, details FROM monitoring.audit_logs WHERE result = 'Denied' ORDER BY id")
        .await;
    let expected = [Method::PUT, Method::DELETE].map(|method| {
        json!({"actor": ACME_READER, "action": "REFUSE_REQUEST", "resource_id": format!("{method} {place}"),
               "details": "403 core.permission_missing"})
    });
    assert_eq!(denied, expected);
    assert_eq!(world.value("demo", "k").await, "hello");
    assert_eq!(world.get("demo", "k").send().await.json()["version"], json!(1));
}
