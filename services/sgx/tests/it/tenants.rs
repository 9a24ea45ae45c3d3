//! Two tenants never meet.

use axum::http::{Method, StatusCode};

use crate::world::{BYTES, OTHER, World, assert_problem, path};

#[tokio::test]
async fn the_same_name_is_another_item_in_another_tenant() {
    let world = World::new().await;
    let place = path("demo", "k");
    let other_value = async || {
        world.app.get(&place).bearer(OTHER).header("accept", BYTES).send().await.expect(StatusCode::OK).text()
    };
    world.store("demo", "k", "acme's").await;
    let put = world.app.put(&place).bearer(OTHER).bytes(BYTES, "other's").send().await;
    assert_eq!(put.expect(StatusCode::CREATED).json()["version"], 1);
    assert_eq!(
        (world.value("demo", "k").await, other_value().await),
        ("acme's".to_owned(), "other's".to_owned())
    );
    world.store("demo", "k", "acme's next").await;
    assert_eq!(other_value().await, "other's");
    world.delete("demo", "k").send().await.expect(StatusCode::NO_CONTENT);
    assert_eq!(other_value().await, "other's");
    world.get("demo", "k").send().await.expect(StatusCode::NOT_FOUND);
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn another_tenant_s_item_is_404() {
    let world = World::new().await;
    world.store("demo", "k", "acme's").await;
    for method in [Method::GET, Method::DELETE] {
        let response = world.app.request(method, &path("demo", "k")).bearer(OTHER).send().await;
        assert_problem(&response, StatusCode::NOT_FOUND, "sgx.item_not_found", "");
    }
    world
        .app
        .request(Method::HEAD, &path("demo", "k"))
        .bearer(OTHER)
        .send()
        .await
        .expect(StatusCode::NOT_FOUND);
    let conditional =
        world.app.put(&path("demo", "k")).bearer(OTHER).header("if-match", "\"1\"").bytes(BYTES, "x");
    conditional.send().await.expect(StatusCode::PRECONDITION_FAILED);
    let listed = world.app.get("/api/v1/sgx/items").bearer(OTHER).send().await.expect(StatusCode::OK);
    assert_eq!(listed.text(), "{\"items\":[]}");
    assert_eq!(world.value("demo", "k").await, "acme's");
}

#[tokio::test]
async fn tenants_that_put_at_once_share_batches_and_nothing_else() {
    let world = World::new().await;
    let writes = (0..40).map(async |number| {
        let token = if number % 2 == 0 { crate::world::ACME } else { OTHER };
        let key = format!("k{}", number / 2);
        let put = world.app.put(&path("demo", &key)).bearer(token).bytes(BYTES, format!("{token} {key}"));
        put.send().await.expect(StatusCode::CREATED);
    });
    futures::future::join_all(writes).await;
    for token in [crate::world::ACME, OTHER] {
        for number in 0..20 {
            let key = format!("k{number}");
            let got = world.app.get(&path("demo", &key)).bearer(token).header("accept", BYTES).send().await;
            assert_eq!(got.text(), format!("{token} {key}"));
        }
    }
    for table in ["sgx.sealed_data_items", "eventsourcing.events"] {
        for tenant in [world.acme, world.other] {
            let count = format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}'");
            assert_eq!(world.number(&count).await, 20, "{table}");
        }
    }
    world.assert_events_match_items().await;
}
