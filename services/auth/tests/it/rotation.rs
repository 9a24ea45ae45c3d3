//! Signing keys: published before their first use, changed by every process at the same moment, retired.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_auth::{Algorithm, JwtConfig};
use nsl_core::clock::Clock;
use nsl_testkit::{TestApp, pools};
use serde_json::{Value, json};

use crate::world::{ADMIN, PASSWORD, Tokens, World, config, start};

fn daily() -> JwtConfig {
    JwtConfig { key_rotation_days: 1, ..config(Algorithm::EdDSA) }
}

/// A process that starts at another time: what the loop of a running one does every minute, a start does at once.
async fn later(world: &World, by: SignedDuration) -> anyhow::Result<TestApp> {
    let clock = Clock::system();
    clock.advance(by);
    let base = nsl_core::context::Base { db: pools(world.db.endpoint())?, clock, ..world.db.base() };
    start(base, daily(), &world.root).await
}

async fn published(app: &TestApp) -> Vec<String> {
    let response = app.get("/.well-known/jwks.json").send().await.expect(StatusCode::OK);
    assert_eq!(response.header("cache-control"), "public, max-age=300");
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    response.json()["keys"].as_array().unwrap().iter().map(kid).collect()
}

async fn login(app: &TestApp) -> Tokens {
    let body = json!({"username": ADMIN, "password": PASSWORD});
    Tokens::of(&app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK))
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn a_key_is_published_an_hour_before_it_signs_and_retired_when_all_have_the_next() -> anyhow::Result<()>
{
    let world = World::with(daily()).await?;
    let first = published(&world.app).await;
    assert_eq!(first.len(), 1);

    // Not yet.
    let app = later(&world, SignedDuration::from_mins(23 * 60 - 1)).await?;
    assert_eq!(published(&app).await, first);

    // An hour ahead: made and published, and the first still signs.
    let app = later(&world, SignedDuration::from_hours(23)).await?;
    let both = published(&app).await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    let old = login(&app).await;
    assert_eq!(kid(&old.access), first[0]);
    // Processes that were there before publish it too.
    world.app.context().clock().advance(SignedDuration::from_secs(1));
    assert_eq!(published(&world.app).await, both);

    // Its hour has come in every process, also in one that made nothing.
    app.context().clock().advance(SignedDuration::from_mins(61));
    let new = login(&app).await;
    assert_eq!(kid(&new.access), both[1]);
    let me = |app, token| async move { TestApp::get(app, "/api/v1/auth/me").bearer(token).send().await };
    me(&app, &new.access).await.expect(StatusCode::OK);

    // Retired: it signs nothing and verifies until its last token has expired.
    let after = later(&world, SignedDuration::from_mins(24 * 60 + 11)).await?;
    assert_eq!(published(&after).await, both);
    assert_eq!(kid(&login(&after).await.access), both[1]);
    let owner = world.db.client("neo_user").await?;
    let sql = "SELECT kid FROM auth.signing_keys WHERE retired_at IS NOT NULL";
    assert_eq!(owner.query_one(sql, &[]).await?.get::<_, String>(0), first[0]);
    after.context().clock().advance(SignedDuration::from_mins(15));
    assert_eq!(published(&after).await, both[1..]);
    let actions = owner
        .query(
            "SELECT action FROM monitoring.audit_logs WHERE resource_type = 'signing_key' ORDER BY id",
            &[],
        )
        .await?;
    let actions: Vec<String> = actions.iter().map(|row| row.get(0)).collect();
    assert_eq!(actions, ["CREATE_SIGNING_KEY", "CREATE_SIGNING_KEY", "RETIRE_SIGNING_KEY"]);
    Ok(())
}

#[tokio::test]
async fn of_many_processes_one_makes_the_next_key() -> anyhow::Result<()> {
    let world = World::with(daily()).await?;
    let day = SignedDuration::from_hours(23);
    let (one, two, three) = tokio::join!(later(&world, day), later(&world, day), later(&world, day));
    let keys = published(&one?).await;
    assert_eq!(keys.len(), 2);
    assert_eq!(published(&two?).await, keys);
    assert_eq!(published(&three?).await, keys);
    Ok(())
}
