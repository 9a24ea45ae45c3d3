//! Tokens of the legacy system: accepted where that is configured, until they expire, and never by confusion.

#![expect(clippy::unwrap_used, reason = "what cannot be encoded fails the test that made it")]

use axum::http::StatusCode;
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header, encode};
use nsl_auth::{Algorithm, AuthConfig, JwtConfig, Sections};
use nsl_testkit::Response;
use serde_json::{Value, json};

use crate::mfa::enrol;
use crate::world::{ADMIN, SECRET, World, config, refusal};

fn accepting() -> JwtConfig {
    JwtConfig { accept_legacy_tokens: true, ..config(Algorithm::EdDSA) }
}

fn says(response: &Response, status: u16, code: &str) {
    assert_eq!(refusal(response), (status, code.to_owned()));
}

/// What the legacy system wrote for a user, good for a quarter of an hour.
fn claims(world: &World, user: &str, role: &Value) -> Value {
    let now = world.app.context().clock().now().as_second();
    json!({"nameid": user, "sub": user, "jti": "1f0a", "iat": now, "nbf": now, "exp": now + 900,
           "session_id": "9c4e", "role": role, "iss": "NeoServiceLayer", "aud": "NeoServiceLayerUsers"})
}

fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::new(Alg::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

async fn users(world: &World, token: &str) -> Response {
    world.app.get("/api/v1/auth/users").bearer(token).send().await
}

#[tokio::test]
async fn they_are_accepted_only_where_that_is_configured() -> anyhow::Result<()> {
    for (config, status) in [
        (config(Algorithm::EdDSA), StatusCode::UNAUTHORIZED),
        (config(Algorithm::HS256), StatusCode::UNAUTHORIZED),
        (accepting(), StatusCode::OK),
        (JwtConfig { algorithm: Algorithm::HS256, ..accepting() }, StatusCode::OK),
    ] {
        let world = World::with(config).await?;
        let token = signed(&claims(&world, "7", &json!("Admin")), SECRET);
        users(&world, &token).await.expect(status);
        // Ours work beside them.
        let own = world.tokens(ADMIN).await.access;
        world.me(&own).await.expect(StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn a_known_user_has_the_roles_they_hold_here() -> anyhow::Result<()> {
    let world = World::with(accepting()).await?;
    let ann = world.add("ann", &["User"]).await;
    // By id and by name. That the token says Admin makes nobody one.
    for name in [ann.to_string(), "ANN".to_owned()] {
        let token = signed(&claims(&world, &name, &json!(["Admin", "User"])), SECRET);
        let me = world.me(&token).await.expect(StatusCode::OK).json();
        assert_eq!((&me["id"], &me["roles"]), (&json!(ann), &json!(["User"])));
        says(&users(&world, &token).await, 403, "core.permission_missing");
    }
    let token = signed(&claims(&world, "ann", &json!("User")), SECRET);
    let admin = world.tokens(ADMIN).await.access;
    let lock = format!("/api/v1/auth/users/{ann}/lock");
    world.app.post(&lock).bearer(&admin).send().await.expect(StatusCode::OK);
    says(&world.me(&token).await, 401, "auth.session_ended");
    Ok(())
}

#[tokio::test]
async fn an_unknown_user_has_the_built_in_roles_of_the_token() -> anyhow::Result<()> {
    let world = World::with(accepting()).await?;
    let admin = world.tokens(ADMIN).await.access;
    let role = json!({"name": "Clerk", "permissions": ["auth:users"]});
    world.app.post("/api/v1/auth/roles").bearer(&admin).json(&role).send().await.expect(StatusCode::CREATED);
    for (role, status) in [
        (json!("Administrator"), StatusCode::OK),
        (json!(["User", "Auditor"]), StatusCode::FORBIDDEN),
        // A name that this installation gave a meaning to.
        (json!("Clerk"), StatusCode::FORBIDDEN),
        (json!("Emperor"), StatusCode::FORBIDDEN),
    ] {
        let token = signed(&claims(&world, "somebody", &role), SECRET);
        users(&world, &token).await.expect(status);
    }
    Ok(())
}

#[tokio::test]
async fn they_expire_and_forged_ones_are_refused() -> anyhow::Result<()> {
    let world = World::with(accepting()).await?;
    let good = claims(&world, "7", &json!("Admin"));
    let invalid = |response: &Response| says(response, 401, "auth.token_invalid");
    invalid(&users(&world, &signed(&good, "another secret of the tests, as long")).await);
    for (name, value) in [("iss", "neo-service-layer"), ("aud", "neo-service-layer"), ("session_id", "")] {
        let mut foreign = good.clone();
        foreign[name] = json!(value);
        invalid(&users(&world, &signed(&foreign, SECRET)).await);
    }
    let mut long = good.clone();
    long["exp"] = json!(good["iat"].as_i64().unwrap() + 24 * 3600 + 1);
    invalid(&users(&world, &signed(&long, SECRET)).await);

    // Ours, in every respect but the key: whoever knows the shared secret makes no token of ours.
    let ours = crate::world::claims(&world.tokens(ADMIN).await.access);
    let mut header = Header::new(Alg::HS256);
    header.typ = Some("at+jwt".to_owned());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    invalid(&users(&world, &encode(&header, &ours, &key)?).await);
    invalid(&users(&world, &signed(&ours, SECRET)).await);
    // And theirs under the algorithm of ours.
    let own_kid = jsonwebtoken::decode_header(&world.tokens(ADMIN).await.access)?.kid;
    header.kid = own_kid;
    invalid(&users(&world, &encode(&header, &good, &key)?).await);

    let token = signed(&good, SECRET);
    users(&world, &token).await.expect(StatusCode::OK);
    world.app.context().clock().advance(SignedDuration::from_mins(15));
    says(&users(&world, &token).await, 401, "auth.token_expired");
    Ok(())
}

/// The attack: an administrator without the second factor that the role needs shows a token of the legacy system.
#[tokio::test]
async fn a_role_that_needs_a_second_factor_needs_it_here_too() -> anyhow::Result<()> {
    let world = World::with_sections(Sections {
        jwt: accepting(),
        auth: AuthConfig { require_mfa_for_roles: vec!["Administrator".to_owned()], ..AuthConfig::default() },
        ..Sections::default()
    })
    .await?;
    for name in [ADMIN, "nobody of ours"] {
        let token = signed(&claims(&world, name, &json!("Admin")), SECRET);
        says(&users(&world, &token).await, 403, "core.permission_missing");
    }
    let own = world.tokens(ADMIN).await.access;
    enrol(&world, &own).await;
    let token = signed(&claims(&world, ADMIN, &json!("Admin")), SECRET);
    users(&world, &token).await.expect(StatusCode::OK);
    Ok(())
}
