//! The service's part of the enclave's process: it checks credentials on its own login, and signs for the other.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_auth::{Algorithm, Enclave, JwtConfig, Sections, enclave, service_apart};
use nsl_core::context::Base;
use nsl_core::db::{Db, Login};
use nsl_core::ports::{Ports, SecretSealer};
use nsl_testkit::{Composition, TestApp, eventually, password};
use serde_json::json;

use crate::alarms::Alarms;
use crate::world::{ADMIN, Tokens, World, claims, config, refusal};

/// A base that has one login and no other, as a process of its own.
fn with_login(world: &World, login: Login) -> Base {
    let mut base = world.db.base();
    base.db = Db::new(base.db.endpoint().clone(), [(login, password(login.role()))]).unwrap();
    base
}

async fn enclave_of(world: &World, jwt: JwtConfig) -> Enclave {
    let sections = Sections { jwt, ..Sections::default() };
    enclave(&with_login(world, Login::Enclave), &sections, Arc::clone(&world.root) as Arc<dyn SecretSealer>)
        .await
        .unwrap()
}

/// As an operator configures it: without the secret of refresh tokens.
fn without_secret() -> JwtConfig {
    JwtConfig { secret_key: None, ..JwtConfig::default() }
}

#[tokio::test]
async fn it_checks_tokens_and_keys_on_its_own_login() -> anyhow::Result<()> {
    let world = World::new().await?;
    let enclave = enclave_of(&world, without_secret()).await;
    let token = world.tokens(ADMIN).await;
    let principal = enclave.authenticator.authenticate(&token.access).await.unwrap();
    assert_eq!(principal.name, ADMIN);
    let body = json!({"name": "CI", "permissions": ["sgx:read"]});
    let made = world.app.post("/api/v1/auth/api-keys").bearer(&token.access).json(&body).send().await;
    let made = made.expect(StatusCode::CREATED).json();
    let key = enclave.authenticator.authenticate(made["key"].as_str().unwrap()).await.unwrap();
    assert!(key.permissions.allows("sgx:read") && !key.permissions.allows("sgx:write"));

    let used = "SELECT last_used_at IS NOT NULL FROM auth.api_keys";
    let owner = world.db.client("neo_user").await?;
    eventually(Duration::from_secs(30), "the key's use is noted", async || {
        owner.query_one(used, &[]).await.unwrap().get(0)
    })
    .await;

    world.app.post("/api/v1/auth/logout").bearer(&token.access).send().await;
    let body = json!({"refreshToken": token.refresh});
    world.app.post("/api/v1/auth/logout").bearer(&token.access).json(&body).send().await;
    eventually(Duration::from_secs(5), "the session has ended there too", async || {
        enclave.authenticator.authenticate(&token.access).await.is_err_and(|e| e.code == "auth.session_ended")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn legacy_tokens_are_known_there_too() -> anyhow::Result<()> {
    let accepting = JwtConfig { accept_legacy_tokens: true, ..config(Algorithm::EdDSA) };
    let world = World::with(accepting).await?;
    let accepting = JwtConfig { accept_legacy_tokens: true, ..config(Algorithm::EdDSA) };
    let enclave = enclave_of(&world, accepting).await;
    let now = world.app.context().clock().now().as_second();
    for (user, name) in [(ADMIN, ADMIN), ("7", "legacy:7")] {
        let claims = json!({"nameid": user, "sub": user, "jti": "1f0a", "iat": now, "nbf": now, "exp": now + 900,
            "session_id": "9c4e", "role": "Admin", "iss": "NeoServiceLayer", "aud": "NeoServiceLayerUsers"});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let secret = jsonwebtoken::EncodingKey::from_secret(crate::world::SECRET.as_bytes());
        let token = jsonwebtoken::encode(&header, &claims, &secret)?;
        assert_eq!(enclave.authenticator.authenticate(&token).await.unwrap().name, name);
    }
    Ok(())
}

#[tokio::test]
async fn the_process_with_the_users_has_its_tokens_signed() -> anyhow::Result<()> {
    let world = World::new().await?;
    let Enclave { authenticator, signer } = enclave_of(&world, without_secret()).await;
    let base = with_login(&world, Login::Api);
    let sections = Sections { jwt: config(Algorithm::EdDSA), ..Sections::default() };
    let sealer = Arc::clone(&world.root) as Arc<dyn SecretSealer>;
    let app = TestApp::new(base, async |base| {
        let auth = service_apart(base, sections, sealer, signer, Arc::new(Alarms)).await?;
        let ports = Ports { authenticator: auth.authenticator };
        Ok(Composition { services: vec![auth.service], ports, checks: Vec::new() })
    })
    .await?;
    let body = json!({"username": ADMIN, "password": crate::world::PASSWORD});
    let tokens = Tokens::of(&app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK));
    app.get("/api/v1/auth/me").bearer(&tokens.access).send().await.expect(StatusCode::OK);
    assert_eq!(authenticator.authenticate(&tokens.access).await.unwrap().name, ADMIN);
    app.get("/health/auth").send().await.expect(StatusCode::OK);
    // Nothing of it can sign or open.
    let closed = app.get("/api/v1/auth/mfa/totp").bearer("x").send().await;
    assert_eq!(refusal(&closed), (401, "auth.token_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn it_signs_nothing_that_outlives_our_tokens() -> anyhow::Result<()> {
    let world = World::new().await?;
    let enclave = enclave_of(&world, without_secret()).await;
    let good = claims(&world.tokens(ADMIN).await.access);
    let signed = enclave.signer.sign(&good).await.unwrap();
    assert_eq!(enclave.authenticator.authenticate(&signed).await.unwrap().name, ADMIN);
    let late = good["exp"].as_i64().unwrap() + SignedDuration::from_mins(2).as_secs();
    for (claim, value) in [
        ("exp", json!(late)),
        ("iss", json!("another")),
        ("aud", json!("another")),
        ("sub", json!("nobody")),
        ("exp", json!(null)),
    ] {
        let mut changed = good.clone();
        changed[claim] = value;
        let refusal = enclave.signer.sign(&changed).await.unwrap_err();
        assert_eq!(refusal.code, "auth.claims_refused", "{claim}");
    }
    let shared = JwtConfig { algorithm: Algorithm::HS256, ..config(Algorithm::HS256) };
    let refusal = enclave_of(&world, shared).await.signer.sign(&good).await.unwrap_err();
    assert_eq!(refusal.code, "auth.claims_refused");
    Ok(())
}
