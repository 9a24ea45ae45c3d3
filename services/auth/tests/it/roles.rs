//! Roles: built-in and a tenant's own, given with an end and taken away.

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_testkit::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, World, claims, refusal};

async fn make(world: &World, token: &str, name: &str, permissions: &[&str]) -> Response {
    let body = json!({"name": name, "permissions": permissions});
    world.app.post("/api/v1/auth/roles").bearer(token).json(&body).send().await
}

async fn assign(world: &World, token: &str, user: Uuid, role: &str, body: &Value) -> Response {
    let path = format!("/api/v1/auth/users/{user}/roles/{role}");
    world.app.put(&path).bearer(token).json(body).send().await
}

async fn take(world: &World, token: &str, user: Uuid, role: &str) -> Response {
    let path = format!("/api/v1/auth/users/{user}/roles/{role}");
    world.app.delete(&path).bearer(token).send().await
}

async fn at(world: &World, token: &str, role: &str) -> Response {
    world.app.get(&format!("/api/v1/auth/roles/{role}")).bearer(token).send().await
}

fn says(response: &Response, status: u16, code: &str) {
    assert_eq!(refusal(response), (status, code.to_owned()));
}

#[tokio::test]
async fn a_tenant_makes_changes_and_deletes_roles_of_its_own() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let response = make(&world, &admin, "Night shift", &["sgx:read", "auth:self"]).await;
    let made = response.expect(StatusCode::CREATED);
    assert_eq!(made.header("location"), "/api/v1/auth/roles/Night%20shift");
    let made = made.json();
    assert_eq!(
        (&made["name"], &made["builtin"], &made["permissions"]),
        (&json!("Night shift"), &json!(false), &json!(["auth:self", "sgx:read"]))
    );
    assert_eq!(at(&world, &admin, "night%20SHIFT").await.expect(StatusCode::OK).json(), made);
    let page = world.app.get("/api/v1/auth/roles").bearer(&admin).send().await.expect(StatusCode::OK).json();
    let names: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Administrator", "User", "Developer", "Auditor", "Operator", "Night shift"]);

    let changes = json!({"description": "After ten", "permissions": ["sgx:*"]});
    let path = "/api/v1/auth/roles/Night%20shift";
    let changed = world.app.patch(path).bearer(&admin).json(&changes).send().await.expect(StatusCode::OK);
    let changed = changed.json();
    assert_eq!((&changed["description"], &changed["permissions"]), (&json!("After ten"), &json!(["sgx:*"])));
    // Taken, whatever the case, by a built-in one too.
    for name in ["NIGHT SHIFT", "operator"] {
        says(&make(&world, &admin, name, &[]).await, 409, "auth.role_taken");
    }
    says(&make(&world, &admin, "a/b", &["nonsense"]).await, 422, "auth.invalid_field");

    let ann = world.add("ann", &["night shift"]).await;
    says(&world.app.delete(path).bearer(&admin).send().await, 409, "auth.role_in_use");
    take(&world, &admin, ann, "Night%20shift").await.expect(StatusCode::NO_CONTENT);
    world.app.delete(path).bearer(&admin).send().await.expect(StatusCode::NO_CONTENT);
    says(&at(&world, &admin, "Night%20shift").await, 404, "auth.role_not_found");
    says(&at(&world, &admin, "%00").await, 404, "auth.role_not_found");
    Ok(())
}

#[tokio::test]
async fn built_in_roles_never_change() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    for role in ["Administrator", "user"] {
        let path = format!("/api/v1/auth/roles/{role}");
        let body = json!({"permissions": ["*"]});
        says(&world.app.patch(&path).bearer(&admin).json(&body).send().await, 409, "auth.role_builtin");
        says(&world.app.delete(&path).bearer(&admin).send().await, 409, "auth.role_builtin");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_makes_changes_gives_or_takes_what_they_lack() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    make(&world, &admin, "Clerk", &["auth:self", "auth:users", "auth:roles"])
        .await
        .expect(StatusCode::CREATED);
    make(&world, &admin, "Strong", &["sgx:delete"]).await.expect(StatusCode::CREATED);
    let clerk_id = world.add("clerk", &["Clerk"]).await;
    let ann = world.add("ann", &["Strong"]).await;
    let clerk = world.tokens("clerk").await.access;

    let exceeds = |response: Response| says(&response, 403, "auth.role_exceeds_caller");
    for permissions in [&["sgx:read"][..], &["*"], &["auth:*"], &["auth:self", "sgx:*"]] {
        exceeds(make(&world, &clerk, "New", permissions).await);
    }
    let weak = make(&world, &clerk, "Weak", &["auth:self"]).await.expect(StatusCode::CREATED).json();
    assert_eq!(weak["permissions"], json!(["auth:self"]));
    let raise = json!({"permissions": ["auth:self", "sgx:read"]});
    exceeds(world.app.patch("/api/v1/auth/roles/Weak").bearer(&clerk).json(&raise).send().await);
    // Nor is a stronger role weakened, deleted, given or taken away by the weaker.
    let weaken = json!({"permissions": []});
    exceeds(world.app.patch("/api/v1/auth/roles/Strong").bearer(&clerk).json(&weaken).send().await);
    exceeds(world.app.delete("/api/v1/auth/roles/Strong").bearer(&clerk).send().await);
    for role in ["Administrator", "Strong"] {
        exceeds(assign(&world, &clerk, clerk_id, role, &json!({})).await);
    }
    exceeds(take(&world, &clerk, ann, "Strong").await);
    assign(&world, &clerk, ann, "weak", &json!({})).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_role_that_is_given_is_in_the_next_token_and_one_that_is_taken_ends_the_sessions()
-> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    let before = world.tokens("ann").await;
    let member = assign(&world, &admin, ann, "operator", &json!({})).await.expect(StatusCode::OK).json();
    assert_eq!(member["roles"], json!(["Operator", "User"]));
    // The token that is about keeps what it carries until the next refresh.
    let roles = |token: &str| claims(token)["roles"].clone();
    assert_eq!(roles(&before.access), json!(["User"]));
    world.me(&before.access).await.expect(StatusCode::OK);
    let after = crate::world::Tokens::of(&world.refresh(&before.refresh).await.expect(StatusCode::OK));
    assert_eq!(roles(&after.access), json!(["Operator", "User"]));

    take(&world, &admin, ann, "Operator").await.expect(StatusCode::NO_CONTENT);
    for token in [&before.access, &after.access] {
        says(&world.me(token).await, 401, "auth.session_ended");
    }
    says(&world.refresh(&after.refresh).await, 401, "auth.refresh_token_invalid");
    assert_eq!(roles(&world.tokens("ann").await.access), json!(["User"]));
    says(&take(&world, &admin, ann, "Operator").await, 404, "auth.role_not_assigned");
    says(&take(&world, &admin, ann, "Emperor").await, 404, "auth.role_not_found");
    says(&assign(&world, &admin, Uuid::now_v7(), "User", &json!({})).await, 404, "auth.user_not_found");
    Ok(())
}

#[tokio::test]
async fn a_role_with_an_end_ends_and_its_token_with_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let clock = world.app.context().clock().clone();
    let ann = world.add("ann", &["User"]).await;
    let soon = clock.now() + SignedDuration::from_mins(5);
    let body = json!({"expiresAt": soon.to_string()});
    assign(&world, &admin, ann, "Operator", &body).await.expect(StatusCode::OK);
    let tokens = world.tokens("ann").await;
    let claims = claims(&tokens.access);
    assert_eq!(claims["roles"], json!(["Operator", "User"]));
    // Not the fifteen minutes of other tokens.
    assert_eq!(claims["exp"].as_i64().unwrap(), soon.as_second());
    clock.advance(SignedDuration::from_mins(5));
    says(&world.me(&tokens.access).await, 401, "auth.token_expired");
    let next = crate::world::Tokens::of(&world.refresh(&tokens.refresh).await.expect(StatusCode::OK));
    assert_eq!(crate::world::claims(&next.access)["roles"], json!(["User"]));

    let past = json!({"expiresAt": (clock.now() - SignedDuration::from_secs(1)).to_string()});
    let admin = world.tokens(ADMIN).await.access;
    says(&assign(&world, &admin, ann, "Operator", &past).await, 422, "auth.invalid_field");
    Ok(())
}

#[tokio::test]
async fn roles_are_of_one_tenant() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    make(&world, &admin, "Clerk", &["auth:self"]).await.expect(StatusCode::CREATED);
    let both = world.add("both", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(both, second).await?;
    let there = world.tokens_in("both", "second").await.access;
    says(&at(&world, &there, "Clerk").await, 404, "auth.role_not_found");
    says(&assign(&world, &there, both, "Clerk", &json!({})).await, 404, "auth.role_not_found");
    // The same name is free there, and means another role.
    make(&world, &there, "Clerk", &["sgx:read"]).await.expect(StatusCode::CREATED);
    let here = at(&world, &admin, "Clerk").await.expect(StatusCode::OK).json();
    assert_eq!(here["permissions"], json!(["auth:self"]));
    Ok(())
}
