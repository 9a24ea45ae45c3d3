//! API keys.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_auth::Algorithm;
use nsl_crypto::digest::sha256;
use nsl_testkit::{Response, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, World, config, id, refusal, start};

async fn create(world: &World, token: &str, body: &Value) -> Response {
    world.app.post("/api/v1/auth/api-keys").bearer(token).json(body).send().await
}

/// A key with these permissions.
async fn key(world: &World, token: &str, permissions: &[&str]) -> (String, Uuid) {
    let body = json!({"name": "CI", "permissions": permissions});
    let made = create(world, token, &body).await.expect(StatusCode::CREATED).json();
    (made["key"].as_str().unwrap().to_owned(), id(&made))
}

async fn users(world: &World, bearer: &str) -> Response {
    world.app.get("/api/v1/auth/users").bearer(bearer).send().await
}

async fn delete(world: &World, token: &str, id: Uuid) -> Response {
    world.app.delete(&format!("/api/v1/auth/api-keys/{id}")).bearer(token).send().await
}

#[tokio::test]
async fn a_key_acts_for_its_owner_within_its_permissions() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"name": "CI", "permissions": ["auth:self", "auth:users"]});
    let response = create(&world, &admin, &body).await.expect(StatusCode::CREATED);
    assert_eq!(response.header("cache-control"), "no-store");
    let made = response.json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("nslk_") && key.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    assert_eq!(response.header("location"), format!("/api/v1/auth/api-keys/{}", id(&made)));

    let me = world.me(key).await.expect(StatusCode::OK).json();
    assert_eq!((&me["username"], &me["permissions"]), (&json!(ADMIN), &json!(["auth:self", "auth:users"])));
    assert!(me["sessionId"].is_null());
    users(&world, key).await.expect(StatusCode::OK);
    let roles = world.app.get("/api/v1/auth/roles").bearer(key).send().await;
    assert_eq!(refusal(&roles), (403, "core.permission_missing".to_owned()));

    // It is shown once.
    let path = format!("/api/v1/auth/api-keys/{}", id(&made));
    for path in [path.as_str(), "/api/v1/auth/api-keys"] {
        let seen = world.app.get(path).bearer(&admin).send().await.expect(StatusCode::OK);
        assert!(seen.text().contains("CI") && !seen.text().contains(key), "{}", seen.text());
    }
    let renamed = world.app.patch(&path).bearer(&admin).json(&json!({"name": "nightly"})).send().await;
    assert_eq!(renamed.expect(StatusCode::OK).json()["name"], json!("nightly"));
    Ok(())
}

#[tokio::test]
async fn a_key_has_no_more_than_its_maker_at_the_time_of_use() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let ann = world.tokens("ann").await.access;
    for excess in ["*", "auth:users", "sgx:*", "sgx:delete"] {
        let refused = create(&world, &ann, &json!({"name": "x", "permissions": ["auth:self", excess]})).await;
        assert_eq!(refusal(&refused), (403, "auth.api_key_exceeds_caller".to_owned()), "{excess}");
    }
    let (key, _) = key(&world, &ann, &["auth:self", "sgx:read"]).await;
    world.me(&key).await.expect(StatusCode::OK);
    // The owner loses the role, is locked, leaves: within a second the key does too.
    let owner = world.db.client("neo_user").await?;
    owner
        .batch_execute(
            "DELETE FROM auth.user_roles AS ur USING auth.users AS u \
             WHERE u.id = ur.user_id AND u.username = 'ann'",
        )
        .await?;
    world.app.context().clock().advance(SignedDuration::from_secs(1));
    assert_eq!(refusal(&world.me(&key).await), (403, "core.permission_missing".to_owned()));
    owner.batch_execute("UPDATE auth.users SET status = 'locked' WHERE username = 'ann'").await?;
    world.app.context().clock().advance(SignedDuration::from_secs(1));
    assert_eq!(refusal(&world.me(&key).await), (401, "auth.api_key_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_key_cannot_change_how_the_account_is_entered() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let (key, id) = key(&world, &admin, &["*"]).await;
    let refused = (403, "auth.session_required".to_owned());
    let change = json!({"currentPassword": crate::world::PASSWORD, "newPassword": "a new one of the tests"});
    for response in [
        create(&world, &key, &json!({"name": "x", "permissions": ["*"]})).await,
        world.app.post(&format!("/api/v1/auth/api-keys/{id}/rotate")).bearer(&key).send().await,
        world.app.post("/api/v1/auth/mfa/totp").bearer(&key).send().await,
        world.app.post("/api/v1/auth/mfa/backup-codes").bearer(&key).send().await,
        world.app.post("/api/v1/auth/password/change").bearer(&key).json(&change).send().await,
    ] {
        assert_eq!(refusal(&response), refused);
    }
    // It may end itself.
    delete(&world, &key, id).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(refusal(&world.me(&key).await), (401, "auth.api_key_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn fields_that_cannot_be_accepted_are_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    for (body, pointer) in [
        (json!({"name": "", "permissions": ["sgx:read"]}), "/name"),
        (json!({"name": "x\u{0}", "permissions": ["sgx:read"]}), "/name"),
        (json!({"name": "x", "permissions": []}), "/permissions"),
        (json!({"name": "x", "permissions": ["sgx:read", "Sgx"]}), "/permissions/1"),
        (
            json!({"name": "x", "permissions": ["sgx:read"], "expiresAt": "2020-01-01T00:00:00Z"}),
            "/expiresAt",
        ),
    ] {
        let response = create(&world, &admin, &body).await;
        assert_eq!(refusal(&response), (422, "auth.invalid_field".to_owned()), "{body}");
        assert_eq!(response.json()["errors"][0]["pointer"], json!(pointer), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_ends_when_it_expires_or_is_revoked_in_every_process() -> anyhow::Result<()> {
    let world = World::new().await?;
    let elsewhere = start(world.db.base(), config(Algorithm::EdDSA), &world.root).await?;
    let admin = world.tokens(ADMIN).await.access;
    let expires = world.app.context().clock().now() + SignedDuration::from_mins(5);
    let body = json!({"name": "x", "permissions": ["auth:self"], "expiresAt": expires.to_string()});
    let made = create(&world, &admin, &body).await.expect(StatusCode::CREATED).json();
    let short = made["key"].as_str().unwrap();
    world.me(short).await.expect(StatusCode::OK);
    world.app.context().clock().advance(SignedDuration::from_mins(5));
    let invalid = (401, "auth.api_key_invalid".to_owned());
    assert_eq!(refusal(&world.me(short).await), invalid);

    let (key, id) = key(&world, &admin, &["auth:self"]).await;
    let there = async |key: &str| elsewhere.get("/api/v1/auth/me").bearer(key).send().await;
    world.me(&key).await.expect(StatusCode::OK);
    there(&key).await.expect(StatusCode::OK);
    delete(&world, &admin, id).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(refusal(&world.me(&key).await), invalid);
    elsewhere.context().clock().advance(SignedDuration::from_secs(1));
    assert_eq!(refusal(&there(&key).await), invalid);
    assert_eq!(refusal(&delete(&world, &admin, id).await), (404, "auth.api_key_not_found".to_owned()));
    Ok(())
}

#[tokio::test]
async fn nobody_reaches_the_keys_of_another() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let bob = world.add("bob", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(bob, second).await?;
    let (admin, ann) = (world.tokens(ADMIN).await.access, world.tokens("ann").await.access);
    let (key, id) = key(&world, &ann, &["auth:self"]).await;
    let body = json!({"username": "bob", "password": crate::world::PASSWORD, "tenant": second});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
    // An administrator of the other tenant is nobody here.
    let stranger = crate::world::Tokens::of(&response).access;
    for token in [&world.tokens("bob").await.access, &stranger] {
        let path = format!("/api/v1/auth/api-keys/{id}");
        for response in [
            world.app.get(&path).bearer(token).send().await,
            world.app.patch(&path).bearer(token).json(&json!({"name": "mine"})).send().await,
            world.app.post(&format!("{path}/rotate")).bearer(token).send().await,
            delete(&world, token, id).await,
        ] {
            assert_eq!(refusal(&response), (404, "auth.api_key_not_found".to_owned()));
        }
    }
    let all = world.app.get("/api/v1/auth/api-keys?all=true");
    assert_eq!(refusal(&all.bearer(&ann).send().await).0, 403);
    let all = world.app.get("/api/v1/auth/api-keys?all=true").bearer(&admin).send().await;
    assert_eq!(all.expect(StatusCode::OK).json()["items"].as_array().unwrap().len(), 1);
    world.me(&key).await.expect(StatusCode::OK);
    // The administrator of the tenant ends it.
    delete(&world, &admin, id).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(world.me(&key).await.status, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn a_legacy_key_is_good_until_it_is_rotated() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ann = world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    // As the legacy system made them: base64 of random bytes, of which it kept the SHA-256.
    let legacy = "q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1PQ+/8AAAAAAA=";
    let key_id = Uuid::now_v7();
    let owner = world.db.client("neo_user").await?;
    owner
        .execute(
            "INSERT INTO auth.api_keys (tenant_id, id, user_id, name, format, prefix, key_hash, permissions) \
             SELECT m.tenant_id, $1, m.user_id, 'old', 'legacy-sha256', '', $3, '{auth:self}' \
             FROM auth.memberships AS m WHERE m.user_id = $2",
            &[&key_id, &ann, &sha256(legacy.as_bytes()).as_slice()],
        )
        .await?;
    let me = world.me(legacy).await.expect(StatusCode::OK).json();
    assert_eq!(me["username"], json!("ann"));
    let path = format!("/api/v1/auth/api-keys/{key_id}/rotate");
    let made = world.app.post(&path).bearer(&token).send().await.expect(StatusCode::OK).json();
    assert_eq!(made["format"], json!("nslk"));
    world.me(made["key"].as_str().unwrap()).await.expect(StatusCode::OK);
    assert_eq!(refusal(&world.me(legacy).await), (401, "auth.token_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let (key, id) = key(&world, &admin, &["auth:self"]).await;
    let path = format!("/api/v1/auth/api-keys/{id}");
    let last = async || {
        let seen = world.app.get(&path).bearer(&admin).send().await.expect(StatusCode::OK);
        seen.json()["lastUsedAt"].as_str().map(str::to_owned)
    };
    assert_eq!(last().await, None);
    world.me(&key).await.expect(StatusCode::OK);
    eventually(Duration::from_secs(30), "the first use", async || last().await.is_some()).await;
    Ok(())
}

#[tokio::test]
async fn a_key_is_shown_once_whatever_is_replayed() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ask = async || {
        let body = json!({"name": "CI", "permissions": ["auth:self"]});
        let request = world.app.post("/api/v1/auth/api-keys").bearer(&admin).json(&body);
        request.header("Idempotency-Key", "once").send().await
    };
    let made = ask().await.expect(StatusCode::CREATED).json();
    let again = ask().await;
    assert_eq!(refusal(&again), (409, "core.secret_already_shown".to_owned()));
    assert!(again.text().contains(&id(&made).to_string()), "{}", again.text());
    Ok(())
}

/// The attack: who may manage users ends the keys of those who may do more.
#[tokio::test]
async fn nobody_ends_the_key_of_who_may_do_more() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let (text, theirs) = key(&world, &admin, &["auth:self"]).await;
    let role = json!({"name": "Clerk", "permissions": ["auth:self", "auth:users", "auth:api-keys"]});
    world.app.post("/api/v1/auth/roles").bearer(&admin).json(&role).send().await.expect(StatusCode::CREATED);
    world.add("clerk", &["Clerk"]).await;
    let clerk = world.tokens("clerk").await.access;
    let refused = delete(&world, &clerk, theirs).await;
    assert_eq!(refusal(&refused), (403, "auth.user_exceeds_caller".to_owned()));
    world.me(&text).await.expect(StatusCode::OK);
    let (_, own) = key(&world, &clerk, &["auth:self"]).await;
    delete(&world, &clerk, own).await.expect(StatusCode::NO_CONTENT);
    let (_, own) = key(&world, &clerk, &["auth:self"]).await;
    delete(&world, &admin, own).await.expect(StatusCode::NO_CONTENT);
    Ok(())
}
