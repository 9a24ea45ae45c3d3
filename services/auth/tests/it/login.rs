//! Login, and what a stranger learns from it.

use axum::http::StatusCode;
use nsl_core::ids::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, Tokens, World, refusal};

#[tokio::test]
async fn a_password_gives_tokens_that_say_who_one_is() -> anyhow::Result<()> {
    let world = World::new().await?;
    // Upper and lower case are the same.
    let response = world.login("aDMIN", PASSWORD).await.expect(StatusCode::OK);
    assert_eq!(response.header("cache-control"), "no-store");
    let body = response.json();
    assert_eq!((&body["tokenType"], &body["expiresIn"]), (&json!("Bearer"), &json!(900)));
    let tokens = Tokens::of(&response);
    assert!(tokens.refresh.starts_with("nslr_"), "{}", tokens.refresh);

    let me = world.me(&tokens.access).await.expect(StatusCode::OK).json();
    assert_eq!((&me["username"], &me["roles"]), (&json!(ADMIN), &json!(["Administrator"])));
    assert_eq!(me["permissions"], json!(["*"]));
    assert_eq!(me["tenantId"], json!(TenantId::DEFAULT));
    assert!(me["lastLoginAt"].is_string() && me["sessionId"].is_string(), "{me}");
    Ok(())
}

#[tokio::test]
async fn a_stranger_cannot_tell_why_a_login_failed() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("locked", &["User"]).await;
    world.add("locked for now", &["User"]).await;
    world.add("disabled", &["User"]).await;
    let homeless = world.add("homeless", &["User"]).await;
    let owner = world.db.client("neo_user").await?;
    owner
        .batch_execute(
            "UPDATE auth.users SET status = 'locked' WHERE username = 'locked'; \
             UPDATE auth.users SET status = 'disabled' WHERE username = 'disabled'; \
             UPDATE auth.users SET locked_until = now() + interval '1 hour' WHERE username = 'locked for now'",
        )
        .await?;
    owner.execute("DELETE FROM auth.memberships WHERE user_id = $1", &[&homeless]).await?;

    let mut answers = Vec::new();
    for (username, password) in [
        (ADMIN, "another long password"),
        ("nobody", PASSWORD),
        ("locked", PASSWORD),
        ("locked for now", PASSWORD),
        ("disabled", PASSWORD),
        ("homeless", PASSWORD),
    ] {
        let response = world.login(username, password).await.expect(StatusCode::UNAUTHORIZED);
        let mut body = response.json();
        // The only part that is of the request and not of the outcome.
        let trace = body.as_object_mut().and_then(|body| body.remove("traceId"));
        assert!(trace.is_some(), "{body}");
        answers.push(body);
    }
    assert_eq!(answers[0]["code"], json!("auth.invalid_credentials"));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    let rows = owner
        .query("SELECT username, reason FROM auth.login_attempts WHERE NOT success ORDER BY id", &[])
        .await?;
    let kept: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [
        (ADMIN, "wrong_password"),
        ("nobody", "unknown_user"),
        ("locked", "locked"),
        ("locked for now", "locked"),
        ("disabled", "disabled"),
        ("homeless", "no_tenant"),
    ];
    assert_eq!(kept, expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
    let audited = owner
        .query_one(
            "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'LOGIN' AND result = 'Denied' \
             AND tenant_id = $1",
            &[&TenantId::DEFAULT],
        )
        .await?;
    assert_eq!(audited.get::<_, i64>(0), 6);
    Ok(())
}

#[tokio::test]
async fn wrong_passwords_are_counted_until_the_right_one() -> anyhow::Result<()> {
    let world = World::new().await?;
    let owner = world.db.client("neo_user").await?;
    let count = async || -> anyhow::Result<i32> {
        let sql = "SELECT failed_attempts FROM auth.users WHERE lower(username) = 'admin'";
        Ok(owner.query_one(sql, &[]).await?.get(0))
    };
    for expected in 1..=3 {
        world.login(ADMIN, "another long password").await.expect(StatusCode::UNAUTHORIZED);
        assert_eq!(count().await?, expected);
    }
    world.login("nobody", "another long password").await.expect(StatusCode::UNAUTHORIZED);
    assert_eq!(count().await?, 3);
    world.login(ADMIN, PASSWORD).await.expect(StatusCode::OK);
    assert_eq!(count().await?, 0);
    Ok(())
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_named_and_never_fail_us() -> anyhow::Result<()> {
    let world = World::new().await?;
    let with = |name: &str, value: Value| {
        let mut body = json!({"username": ADMIN, "password": PASSWORD});
        body[name] = value;
        body
    };
    for (body, expected) in [
        (with("username", json!("a\u{0}b")), (422, "auth.invalid_field")),
        (with("username", json!("")), (422, "auth.invalid_field")),
        (with("username", json!("x".repeat(256))), (422, "auth.invalid_field")),
        (with("username", json!(7)), (400, "core.invalid_body")),
        (with("password", json!("a\u{0}b")), (401, "auth.invalid_credentials")),
        (with("password", json!("x".repeat(100_000))), (401, "auth.invalid_credentials")),
        (with("totpCode", json!("123456")), (422, "auth.totp_not_enrolled")),
        (with("tenant", json!(7)), (400, "core.invalid_body")),
        (with("tenant", json!("no such \u{0}")), (403, "auth.not_a_member")),
        (with("tenant", json!(Uuid::now_v7())), (403, "auth.not_a_member")),
        (with("remember", json!(true)), (400, "core.invalid_body")),
    ] {
        let response = world.app.post("/api/v1/auth/login").json(&body).send().await;
        assert_eq!(refusal(&response), (expected.0, expected.1.to_owned()), "{body}");
    }
    // Whoever does not know the password learns nothing of second factors and tenants.
    let body = json!({"username": ADMIN, "password": "another long password", "totpCode": "1", "tenant": Uuid::now_v7()});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await;
    assert_eq!(refusal(&response), (401, "auth.invalid_credentials".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_member_of_two_tenants_chooses_one_and_is_nobody_else_there() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ann = world.add("ann", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(ann, second).await?;

    let first = world.me(&world.tokens("ann").await.access).await.expect(StatusCode::OK).json();
    assert_eq!((&first["tenantId"], &first["roles"]), (&json!(TenantId::DEFAULT), &json!(["User"])));
    let body = json!({"username": "ann", "password": PASSWORD, "tenant": second});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
    let there = world.me(&Tokens::of(&response).access).await.expect(StatusCode::OK).json();
    assert_eq!((&there["tenantId"], &there["roles"]), (&json!(second), &json!(["Administrator"])));
    Ok(())
}
