//! Accounts: changed, locked, removed, and by whom they are not.

use axum::http::StatusCode;
use nsl_testkit::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, World, id, refusal};

fn says(response: &Response, status: u16, code: &str) {
    assert_eq!(refusal(response), (status, code.to_owned()));
}

fn path(user: Uuid, rest: &str) -> String {
    format!("/api/v1/auth/users/{user}{rest}")
}

async fn patch(world: &World, token: &str, user: Uuid, body: &Value) -> Response {
    world.app.patch(&path(user, "")).bearer(token).json(body).send().await
}

async fn post(world: &World, token: &str, user: Uuid, what: &str) -> Response {
    world.app.post(&path(user, what)).bearer(token).send().await
}

async fn remove(world: &World, token: &str, user: Uuid) -> Response {
    world.app.delete(&path(user, "")).bearer(token).send().await
}

#[tokio::test]
async fn an_administrator_changes_an_account() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    world.add("bob", &["User"]).await;
    let body = json!({"email": "ann@example.org", "fullName": "Ann"});
    let changed = patch(&world, &admin, ann, &body).await.expect(StatusCode::OK).json();
    assert_eq!((&changed["email"], &changed["fullName"]), (&json!("ann@example.org"), &json!("Ann")));
    // What is not named stays, and null takes away.
    let changed = patch(&world, &admin, ann, &json!({"fullName": null})).await.expect(StatusCode::OK).json();
    assert_eq!((&changed["email"], &changed["fullName"]), (&json!("ann@example.org"), &Value::Null));
    says(&patch(&world, &admin, ann, &json!({"email": "nobody"})).await, 422, "auth.invalid_field");
    says(&patch(&world, &admin, ann, &json!({"username": "x"})).await, 400, "core.invalid_body");
    says(&patch(&world, &admin, ann, &json!({"status": "asleep"})).await, 400, "core.invalid_body");
    let bob = world.create(&admin, &json!({"username": "carl", "password": PASSWORD})).await;
    let bob = id(&bob.expect(StatusCode::CREATED).json());
    says(&patch(&world, &admin, bob, &json!({"email": "Ann@example.org"})).await, 409, "auth.email_taken");
    says(&patch(&world, &admin, Uuid::now_v7(), &json!({})).await, 404, "auth.user_not_found");
    Ok(())
}

#[tokio::test]
async fn a_new_address_has_to_be_confirmed_again() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    let owner = world.db.client("neo_user").await?;
    let verified = async || -> bool {
        let sql = "SELECT email_verified_at IS NOT NULL FROM auth.users WHERE id = $1";
        owner.query_one(sql, &[&ann]).await.unwrap().get(0)
    };
    patch(&world, &admin, ann, &json!({"email": "ann@example.org"})).await.expect(StatusCode::OK);
    owner.execute("UPDATE auth.users SET email_verified_at = now() WHERE id = $1", &[&ann]).await?;
    patch(&world, &admin, ann, &json!({"email": "Ann@example.org"})).await.expect(StatusCode::OK);
    assert!(verified().await);
    patch(&world, &admin, ann, &json!({"email": "eve@example.org"})).await.expect(StatusCode::OK);
    assert!(!verified().await);
    Ok(())
}

#[tokio::test]
async fn who_is_locked_or_disabled_is_out_at_once() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    for (body, status) in [(None, "locked"), (Some(json!({"status": "disabled"})), "disabled")] {
        let tokens = world.tokens("ann").await;
        world.me(&tokens.access).await.expect(StatusCode::OK);
        let response = match body {
            None => post(&world, &admin, ann, "/lock").await,
            Some(body) => patch(&world, &admin, ann, &body).await,
        };
        assert_eq!(response.expect(StatusCode::OK).json()["status"], json!(status));
        says(&world.me(&tokens.access).await, 401, "auth.session_ended");
        says(&world.refresh(&tokens.refresh).await, 401, "auth.refresh_token_invalid");
        says(&world.login("ann", PASSWORD).await, 401, "auth.invalid_credentials");
        let unlocked = post(&world, &admin, ann, "/unlock").await.expect(StatusCode::OK).json();
        assert_eq!(unlocked["status"], json!("active"));
        // A session that has ended stays ended.
        says(&world.me(&tokens.access).await, 401, "auth.session_ended");
        world.tokens("ann").await;
    }
    let owner = world.db.client("neo_user").await?;
    let actions = owner
        .query(
            "SELECT action FROM monitoring.audit_logs WHERE resource_id = $1 AND action LIKE '%\\_USER' ORDER BY id",
            &[&ann.to_string()],
        )
        .await?;
    let actions: Vec<String> = actions.iter().map(|row| row.get(0)).collect();
    assert_eq!(actions, ["CREATE_USER", "LOCK_USER", "UNLOCK_USER", "UPDATE_USER", "UNLOCK_USER"]);
    Ok(())
}

#[tokio::test]
async fn a_removed_user_is_out_and_comes_back_by_the_tenant_that_made_them() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    let tokens = world.tokens("ann").await;
    remove(&world, &admin, ann).await.expect(StatusCode::NO_CONTENT);
    says(&world.me(&tokens.access).await, 401, "auth.session_ended");
    says(&world.login("ann", PASSWORD).await, 401, "auth.invalid_credentials");
    says(&remove(&world, &admin, ann).await, 404, "auth.user_not_found");
    let owner = world.db.client("neo_user").await?;
    let status = owner.query_one("SELECT status FROM auth.users WHERE id = $1", &[&ann]).await?;
    assert_eq!(status.get::<_, String>(0), "disabled");

    let members = format!("/api/v1/core/tenants/{}/members", nsl_core::ids::TenantId::DEFAULT);
    let body = json!({"username": "ann", "roles": ["Auditor"]});
    let back = world.app.post(&members).bearer(&admin).json(&body).send().await.expect(StatusCode::CREATED);
    assert_eq!((&back.json()["status"], &back.json()["roles"]), (&json!("active"), &json!(["Auditor"])));
    world.tokens("ann").await;
    Ok(())
}

#[tokio::test]
async fn a_tenant_keeps_an_administrator() -> anyhow::Result<()> {
    let world = World::new().await?;
    let tokens = world.tokens(ADMIN).await.access;
    let admin = id(&world.me(&tokens).await.json());
    let last = |response: Response| says(&response, 409, "auth.last_administrator");
    last(post(&world, &tokens, admin, "/lock").await);
    last(patch(&world, &tokens, admin, &json!({"status": "disabled"})).await);
    last(remove(&world, &tokens, admin).await);
    let role = path(admin, "/roles/Administrator");
    last(world.app.delete(&role).bearer(&tokens).send().await);
    let soon = json!({"expiresAt": "2100-01-01T00:00:00Z"});
    last(world.app.put(&role).bearer(&tokens).json(&soon).send().await);
    world.me(&tokens).await.expect(StatusCode::OK);

    // Of two who remove each other at the same time one remains.
    let second = world.add("second", &["Administrator"]).await;
    let theirs = world.tokens("second").await.access;
    let other = path(second, "/roles/Administrator");
    let (one, two) = tokio::join!(
        world.app.delete(&other).bearer(&tokens).send(),
        world.app.delete(&role).bearer(&theirs).send()
    );
    let done = [&one, &two].iter().filter(|response| response.status == StatusCode::NO_CONTENT).count();
    assert_eq!(done, 1, "{} {}", one.text(), two.text());
    Ok(())
}

/// The attack: an administrator of one tenant makes the administrator of another a member of theirs, and takes over the
/// account.
#[tokio::test]
async fn an_account_is_managed_by_the_tenant_that_made_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let here = world.tokens(ADMIN).await.access;
    let victim = id(&world.me(&here).await.json());
    patch(&world, &here, victim, &json!({"email": "victim@example.org"})).await.expect(StatusCode::OK);
    let second = world.tenant("second", "eve").await;
    let eve = world.tokens("eve").await.access;
    let members = format!("/api/v1/core/tenants/{second}/members");
    let body = json!({"username": ADMIN, "roles": ["User"]});
    let added = world.app.post(&members).bearer(&eve).json(&body).send().await.expect(StatusCode::CREATED);
    // Nor does eve learn what is not hers to know.
    assert_eq!(added.json()["email"], Value::Null);
    let seen = world.app.get(&path(victim, "")).bearer(&eve).send().await.expect(StatusCode::OK).json();
    assert_eq!(seen["email"], Value::Null);

    let elsewhere = |response: Response| says(&response, 403, "auth.user_of_another_tenant");
    elsewhere(patch(&world, &eve, victim, &json!({"email": "eve@example.org"})).await);
    elsewhere(patch(&world, &eve, victim, &json!({"status": "disabled"})).await);
    elsewhere(post(&world, &eve, victim, "/lock").await);
    elsewhere(post(&world, &eve, victim, "/unlock").await);
    world.me(&here).await.expect(StatusCode::OK);
    // The membership is eve's to end, and only that.
    remove(&world, &eve, victim).await.expect(StatusCode::NO_CONTENT);
    world.me(&here).await.expect(StatusCode::OK);
    world.tokens(ADMIN).await;
    Ok(())
}

#[tokio::test]
async fn nobody_manages_an_account_that_may_do_more_than_they() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"name": "Clerk", "permissions": ["auth:self", "auth:users"]});
    world.app.post("/api/v1/auth/roles").bearer(&admin).json(&body).send().await.expect(StatusCode::CREATED);
    let boss = id(&world.me(&admin).await.json());
    world.add("clerk", &["Clerk"]).await;
    let plain = world.add("plain", &[]).await;
    let clerk = world.tokens("clerk").await.access;
    let exceeds = |response: Response| says(&response, 403, "auth.user_exceeds_caller");
    exceeds(patch(&world, &clerk, boss, &json!({"email": "clerk@example.org"})).await);
    exceeds(post(&world, &clerk, boss, "/lock").await);
    exceeds(remove(&world, &clerk, boss).await);
    post(&world, &clerk, plain, "/lock").await.expect(StatusCode::OK);
    // What a user may do in another tenant counts too: the account is the same.
    let second = world.db.tenant("second").await?;
    world.join(plain, second).await?;
    exceeds(post(&world, &clerk, plain, "/unlock").await);
    post(&world, &admin, plain, "/unlock").await.expect(StatusCode::OK);
    Ok(())
}

/// A user who is locked loses the sessions of every tenant: the account is one.
#[tokio::test]
async fn a_lock_reaches_the_sessions_of_every_tenant() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let both = world.add("both", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(both, second).await?;
    let there = world.tokens_in("both", "second").await;
    world.me(&there.access).await.expect(StatusCode::OK);
    post(&world, &admin, both, "/lock").await.expect(StatusCode::OK);
    says(&world.me(&there.access).await, 401, "auth.session_ended");
    says(&world.refresh(&there.refresh).await, 401, "auth.refresh_token_invalid");
    Ok(())
}
