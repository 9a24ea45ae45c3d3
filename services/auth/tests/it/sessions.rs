//! Sessions: listed, ended, and refused by every process within a second.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::future::join_all;
use jiff::SignedDuration;
use nsl_auth::Algorithm;
use nsl_core::ids::TenantId;
use nsl_testkit::{Response, TestApp, eventually, pools};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, Tokens, World, claims, config, id, refusal, start};

const ENDED: (u16, &str) = (401, "auth.session_ended");

fn is(response: &Response, (status, code): (u16, &str)) -> bool {
    response.status.as_u16() == status && refusal(response).1 == code
}

/// Another process on the same database: pools, clock and jobs of its own.
async fn elsewhere(world: &World) -> anyhow::Result<TestApp> {
    let mut base = world.db.base();
    base.db = pools(world.db.endpoint())?;
    start(base, config(Algorithm::EdDSA), &world.root).await
}

async fn me(app: &TestApp, token: &str) -> Response {
    app.get("/api/v1/auth/me").bearer(token).send().await
}

async fn sessions(world: &World, token: &str, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/auth/sessions{query}");
    let page = world.app.get(&path).bearer(token).send().await.expect(StatusCode::OK).json();
    page["items"].as_array().unwrap().clone()
}

async fn end(world: &World, token: &str, path: &str) -> Response {
    world.app.delete(&format!("/api/v1/auth/sessions{path}")).bearer(token).send().await
}

fn session(token: &str) -> Uuid {
    claims(token)["sid"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_revocation_is_known_everywhere_within_a_second() -> anyhow::Result<()> {
    let world = World::new().await?;
    let there = elsewhere(&world).await?;
    let (first, second) = (world.tokens(ADMIN).await.access, world.tokens(ADMIN).await.access);
    for token in [&first, &second] {
        me(&there, token).await.expect(StatusCode::OK);
    }
    end(&world, &second, &format!("/{}", session(&first))).await.expect(StatusCode::NO_CONTENT);
    // Here at once.
    assert!(is(&world.me(&first).await, ENDED));
    let ended = Instant::now();
    eventually(Duration::from_secs(10), "the other process refuses it", async || {
        is(&me(&there, &first).await, ENDED)
    })
    .await;
    // The feed is read twice a second; the rest is for a machine that is busy with other tests.
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
    me(&there, &second).await.expect(StatusCode::OK);
    // A process that starts now knows it from the first request on.
    assert!(is(&me(&elsewhere(&world).await?, &first).await, ENDED));
    Ok(())
}

#[tokio::test]
async fn a_feed_that_is_old_is_asked_for_and_not_believed() -> anyhow::Result<()> {
    let world = World::new().await?;
    let tokens = world.tokens(ADMIN).await;
    let clock = world.app.context().clock().clone();
    // The loop that reads the feed ends with the application's jobs.
    world.app.context().jobs().shut_down(Duration::from_secs(10)).await;
    let owner = world.db.client("neo_user").await?;
    owner
        .execute(
            "INSERT INTO auth.revocations (tenant_id, subject_id, kind, revoked_at, expires_at) \
             VALUES ($1, $2, 'session', now(), now() + interval '16 minutes')",
            &[&TenantId::DEFAULT, &session(&tokens.access)],
        )
        .await?;
    // Believed for less than five seconds, then asked for.
    world.me(&tokens.access).await.expect(StatusCode::OK);
    clock.advance(SignedDuration::from_secs(5));
    let answers = join_all((0..8).map(|_| world.me(&tokens.access))).await;
    assert!(answers.iter().all(|answer| is(answer, ENDED)));

    // Without an answer nobody gets in.
    let other = world.tokens(ADMIN).await;
    world.me(&other.access).await.expect(StatusCode::OK);
    world.db.db().close();
    // A request that looks at nothing but the credential before it is refused for its body; what cannot be recorded any
    // more, since the writers ended with the jobs.
    let ask = || world.app.post("/api/v1/auth/logout").bearer(&other.access).json(&json!({})).send();
    assert!(is(&ask().await, (503, "core.busy")));
    clock.advance(SignedDuration::from_secs(5));
    let answers = join_all((0..8).map(|_| ask())).await;
    assert!(answers.iter().all(|answer| is(answer, (503, "core.database_unavailable"))));
    Ok(())
}

#[tokio::test]
async fn everyone_sees_and_ends_their_own_sessions() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let (one, two) = (world.tokens("ann").await, world.tokens("ann").await);
    let seen = sessions(&world, &two.access, "").await;
    let ids: Vec<Uuid> = seen.iter().map(id).collect();
    // The latest first.
    assert_eq!(ids, [session(&two.access), session(&one.access)]);
    assert_eq!((&seen[0]["current"], &seen[1]["current"]), (&json!(true), &json!(false)));
    assert_eq!((&seen[0]["username"], &seen[0]["ipAddress"]), (&json!("ann"), &json!("127.0.0.1")));
    let first = sessions(&world, &two.access, "?limit=1").await;
    assert_eq!(first.len(), 1);

    end(&world, &two.access, &format!("/{}", ids[1])).await.expect(StatusCode::NO_CONTENT);
    assert!(is(&world.me(&one.access).await, ENDED));
    assert!(is(&world.refresh(&one.refresh).await, (401, "auth.refresh_token_invalid")));
    assert_eq!(sessions(&world, &two.access, "").await.len(), 1);
    // It is over, so it is not there.
    let again = end(&world, &two.access, &format!("/{}", ids[1])).await;
    assert!(is(&again, (404, "auth.session_not_found")));

    // All but this one, then this one too.
    let three = world.tokens("ann").await;
    end(&world, &two.access, "?keepCurrent=true").await.expect(StatusCode::NO_CONTENT);
    assert!(is(&world.me(&three.access).await, ENDED));
    world.me(&two.access).await.expect(StatusCode::OK);
    end(&world, &two.access, "").await.expect(StatusCode::NO_CONTENT);
    assert!(is(&world.me(&two.access).await, ENDED));
    assert!(is(&world.refresh(&two.refresh).await, (401, "auth.refresh_token_invalid")));
    Ok(())
}

#[tokio::test]
async fn the_sessions_of_others_are_an_administrators_business() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ann = world.add("ann", &["User"]).await;
    let bob = world.add("bob", &["User"]).await;
    let (ann_tokens, bob_tokens) = (world.tokens("ann").await, world.tokens("bob").await);
    for query in [format!("?user={ann}"), "?all=true".to_owned()] {
        let path = format!("/api/v1/auth/sessions{query}");
        let response = world.app.get(&path).bearer(&bob_tokens.access).send().await;
        assert!(is(&response, (403, "core.permission_missing")), "{query}");
    }
    let theirs = format!("/{}", session(&ann_tokens.access));
    assert!(is(&end(&world, &bob_tokens.access, &theirs).await, (404, "auth.session_not_found")));
    world.me(&ann_tokens.access).await.expect(StatusCode::OK);

    let admin = world.tokens(ADMIN).await;
    let of = |list: Vec<Value>| list.iter().map(|s| s["userId"].clone()).collect::<Vec<_>>();
    assert_eq!(of(sessions(&world, &admin.access, &format!("?user={bob}")).await), [json!(bob)]);
    let all = of(sessions(&world, &admin.access, "?all=true").await);
    assert!(all.contains(&json!(ann)) && all.contains(&json!(bob)), "{all:?}");
    end(&world, &admin.access, &theirs).await.expect(StatusCode::NO_CONTENT);
    assert!(is(&world.me(&ann_tokens.access).await, ENDED));
    world.me(&bob_tokens.access).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn an_administrator_of_another_tenant_neither_sees_nor_ends_them() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ann = world.add("ann", &["User"]).await;
    let both = world.add("both", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(both, second).await?;
    let ann_token = world.tokens("ann").await.access;
    let here = world.tokens("both").await.access;
    let body = json!({"username": "both", "password": PASSWORD, "tenant": "second"});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
    let there = Tokens::of(&response).access;

    assert_eq!(sessions(&world, &there, &format!("?user={ann}")).await, Vec::<Value>::new());
    let theirs = format!("/{}", session(&ann_token));
    assert!(is(&end(&world, &there, &theirs).await, (404, "auth.session_not_found")));
    world.me(&ann_token).await.expect(StatusCode::OK);
    // One's own are one's own in every tenant.
    let ids: Vec<Uuid> = sessions(&world, &there, "").await.iter().map(id).collect();
    assert_eq!(ids, [session(&there), session(&here)]);
    end(&world, &there, "?keepCurrent=true").await.expect(StatusCode::NO_CONTENT);
    assert!(is(&world.me(&here).await, ENDED));
    world.me(&there).await.expect(StatusCode::OK);
    Ok(())
}
