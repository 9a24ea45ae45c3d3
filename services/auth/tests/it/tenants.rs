//! Tenants: made and suspended by the operator, and closed to everyone else's administrators.

use axum::http::StatusCode;
use nsl_core::ids::TenantId;
use nsl_testkit::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, World, id, refusal};

const TENANTS: &str = "/api/v1/core/tenants";

fn says(response: &Response, status: u16, code: &str) {
    assert_eq!(refusal(response), (status, code.to_owned()));
}

async fn make(world: &World, token: &str, body: &Value) -> Response {
    world.app.post(TENANTS).bearer(token).json(body).send().await
}

async fn set(world: &World, token: &str, tenant: Uuid, body: &Value) -> Response {
    world.app.patch(&format!("{TENANTS}/{tenant}")).bearer(token).json(body).send().await
}

fn members(tenant: Uuid) -> String {
    format!("{TENANTS}/{tenant}/members")
}

#[tokio::test]
async fn the_operator_makes_tenants_with_an_administrator() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let administrator = json!({"username": "carla", "password": PASSWORD, "email": "carla@example.org"});
    let body = json!({"name": "acme", "displayName": "Acme, Inc.", "administrator": administrator});
    let made = make(&world, &admin, &body).await.expect(StatusCode::CREATED);
    let tenant = id(&made.json());
    assert_eq!(made.header("location"), format!("{TENANTS}/{tenant}"));
    assert_eq!(
        (&made.json()["name"], &made.json()["displayName"], &made.json()["status"]),
        (&json!("acme"), &json!("Acme, Inc."), &json!("active"))
    );
    assert!(!made.text().contains("password"));
    let read = world.app.get(&format!("{TENANTS}/{tenant}")).bearer(&admin).send().await;
    assert_eq!(read.expect(StatusCode::OK).json(), made.json());
    let list = world.app.get(TENANTS).bearer(&admin).send().await.expect(StatusCode::OK).json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|tenant| tenant["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "acme"]);

    // By name, by id, and by default: the only one she is a member of.
    for named in [json!("acme"), json!(tenant), Value::Null] {
        let body = json!({"username": "carla", "password": PASSWORD, "tenant": named});
        let login = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
        let me = world.me(login.json()["accessToken"].as_str().unwrap()).await.expect(StatusCode::OK).json();
        assert_eq!((&me["tenantId"], &me["roles"]), (&json!(tenant), &json!(["Administrator"])));
    }
    for named in ["default", "nobody-has-this", "Not a name", ""] {
        let body = json!({"username": "carla", "password": PASSWORD, "tenant": named});
        says(&world.app.post("/api/v1/auth/login").json(&body).send().await, 403, "auth.not_a_member");
    }

    says(&make(&world, &admin, &json!({"name": "acme"})).await, 409, "core.tenant_taken");
    let wrong = json!({"name": "A b", "displayName": "",
                       "administrator": {"username": "x", "password": "short"}});
    let response = make(&world, &admin, &wrong).await;
    says(&response, 422, "auth.invalid_field");
    let errors = response.json()["errors"].clone();
    let pointers: Vec<&str> =
        errors.as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/name", "/displayName", "/administrator/username", "/administrator/password"]);
    // A name that is taken leaves no tenant behind.
    let taken = json!({"name": "third", "administrator": {"username": "carla", "password": PASSWORD}});
    says(&make(&world, &admin, &taken).await, 409, "auth.username_taken");
    make(&world, &admin, &json!({"name": "third", "administrator": {"username": "carla"}}))
        .await
        .expect(StatusCode::CREATED);
    world.tokens_in("carla", "third").await;
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_makes_one_tenant() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"name": "acme", "administrator": {"username": "carla", "password": PASSWORD}});
    let send = || world.app.post(TENANTS).bearer(&admin).header("idempotency-key", "one").json(&body).send();
    let first = send().await.expect(StatusCode::CREATED).json();
    let again = send().await.expect(StatusCode::CREATED);
    assert_eq!((again.json(), again.header("idempotency-replayed")), (first, "true"));
    Ok(())
}

#[tokio::test]
async fn an_administrator_of_one_tenant_is_nobody_in_another() -> anyhow::Result<()> {
    let world = World::new().await?;
    let operator = world.tokens(ADMIN).await.access;
    let (acme, other) = (world.tenant("acme", "carla").await, world.tenant("other", "olaf").await);
    let carla = world.tokens("carla").await.access;
    let olaf = id(&world.me(&world.tokens("olaf").await.access).await.json());

    // Carla may do everything in acme, and nothing that is the operator's.
    let operators = |response: Response| says(&response, 403, "core.operators_only");
    operators(make(&world, &carla, &json!({"name": "mine"})).await);
    operators(world.app.get(TENANTS).bearer(&carla).send().await);
    operators(world.app.get(&format!("{TENANTS}/{acme}")).bearer(&carla).send().await);
    operators(set(&world, &carla, acme, &json!({"status": "suspended"})).await);
    world.app.get(&members(acme)).bearer(&carla).send().await.expect(StatusCode::OK);

    // Other tenants' members are not hers, and that there are such tenants is not told; the operator's neither.
    let join = json!({"username": "carla", "roles": ["Administrator"]});
    let nowhere = Uuid::now_v7();
    for tenant in [other, TenantId::DEFAULT.0, nowhere] {
        let path = members(tenant);
        says(&world.app.get(&path).bearer(&carla).send().await, 404, "core.tenant_not_found");
        says(&world.app.post(&path).bearer(&carla).json(&join).send().await, 404, "core.tenant_not_found");
        let member = format!("{path}/{olaf}");
        says(&world.app.delete(&member).bearer(&carla).send().await, 404, "core.tenant_not_found");
    }
    // Nor is the operator one of acme's, which has an administrator of its own.
    let path = members(acme);
    says(&world.app.get(&path).bearer(&operator).send().await, 404, "core.tenant_not_found");
    let join = json!({"username": ADMIN, "roles": ["Administrator"]});
    says(&world.app.post(&path).bearer(&operator).json(&join).send().await, 404, "core.tenant_not_found");
    let body = json!({"username": ADMIN, "password": PASSWORD, "tenant": "acme"});
    says(&world.app.post("/api/v1/auth/login").json(&body).send().await, 403, "auth.not_a_member");
    Ok(())
}

#[tokio::test]
async fn the_operator_names_the_first_members_until_there_is_an_administrator() -> anyhow::Result<()> {
    let world = World::new().await?;
    let operator = world.tokens(ADMIN).await.access;
    world.add("ann", &["User"]).await;
    let made = make(&world, &operator, &json!({"name": "acme"})).await.expect(StatusCode::CREATED);
    let path = members(id(&made.json()));
    let join = async |user: &str, role: &str| {
        let body = json!({"username": user, "roles": [role]});
        world.app.post(&path).bearer(&operator).json(&body).send().await
    };
    join("ann", "Administrator").await.expect(StatusCode::CREATED);
    says(&join(ADMIN, "User").await, 404, "core.tenant_not_found");
    let ann = world.tokens_in("ann", "acme").await.access;
    let body = json!({"username": ADMIN});
    let send = || world.app.post(&path).bearer(&ann).json(&body).send();
    assert_eq!(send().await.expect(StatusCode::CREATED).json()["roles"], json!(["User"]));
    says(&send().await, 409, "auth.already_member");
    let unknown = json!({"username": "nobody\u{0}"});
    says(&world.app.post(&path).bearer(&ann).json(&unknown).send().await, 422, "auth.invalid_field");
    Ok(())
}

#[tokio::test]
async fn a_suspended_tenant_refuses_logins_and_tokens() -> anyhow::Result<()> {
    let world = World::new().await?;
    let operator = world.tokens(ADMIN).await.access;
    let acme = world.tenant("acme", "carla").await;
    let tokens = world.tokens("carla").await;
    world.me(&tokens.access).await.expect(StatusCode::OK);
    let suspended = json!({"status": "suspended"});
    let status =
        set(&world, &operator, acme, &suspended).await.expect(StatusCode::OK).json()["status"].clone();
    assert_eq!(status, json!("suspended"));
    says(&world.me(&tokens.access).await, 403, "auth.tenant_suspended");
    says(&world.refresh(&tokens.refresh).await, 403, "auth.tenant_suspended");
    says(&world.login("carla", PASSWORD).await, 403, "auth.tenant_suspended");
    // A stranger does not learn it.
    says(&world.login("carla", "a wrong password of the tests").await, 401, "auth.invalid_credentials");
    world.me(&operator).await.expect(StatusCode::OK);
    says(&set(&world, &operator, TenantId::DEFAULT.0, &suspended).await, 409, "core.default_tenant");
    says(&set(&world, &operator, Uuid::now_v7(), &suspended).await, 404, "core.tenant_not_found");

    let changes = json!({"status": "active", "displayName": "Acme again"});
    let active = set(&world, &operator, acme, &changes).await.expect(StatusCode::OK).json();
    assert_eq!((&active["status"], &active["displayName"]), (&json!("active"), &json!("Acme again")));
    // Nothing was ended, only stopped.
    world.me(&tokens.access).await.expect(StatusCode::OK);
    world.refresh(&tokens.refresh).await.expect(StatusCode::OK);
    Ok(())
}
