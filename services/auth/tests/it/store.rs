//! The database's view: statements, secrets at rest, purge, first start.

use std::time::Duration;

use axum::http::StatusCode;
use nsl_auth::{Algorithm, bootstrap, store};
use nsl_core::config::Secret;
use nsl_core::db::sql;
use nsl_testkit::{TestDb, eventually, pools};
use serde_json::json;

use crate::mfa::enrol;
use crate::world::{ADMIN, PASSWORD, Root, Tokens, World, config, refusal, start};

#[tokio::test]
async fn every_statement_fits_the_migrated_database() -> anyhow::Result<()> {
    let db = TestDb::new().await?;
    let owner = db.client("neo_user").await?;
    for statements in store::ALL {
        assert_eq!(sql::check(&owner, statements).await, Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test]
async fn no_secret_stands_in_the_clear() -> anyhow::Result<()> {
    let world = World::new().await?;
    let first = world.tokens(ADMIN).await;
    let second = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    world.login(ADMIN, "a wrong password of the tests").await.expect(StatusCode::UNAUTHORIZED);
    let post = async |path: &str, body: &serde_json::Value| {
        let request = world.app.post(&format!("/api/v1/auth/{path}")).bearer(&second.access);
        request.json(body).send().await.expect(StatusCode::CREATED).json()
    };
    let key = post("api-keys", &json!({"name": "CI", "permissions": ["auth:self"]})).await;
    let totp = enrol(&world, &second.access).await;
    let codes = post("mfa/backup-codes", &json!({})).await;
    // The mail waits, with its token in it.
    let user = json!({"username": "ann", "password": PASSWORD, "email": "ann@example.org"});
    world.create(&second.access, &user).await.expect(StatusCode::CREATED);
    let forgot = world.app.post("/api/v1/auth/password/forgot").json(&json!({"username": "ann"}));
    forgot.send().await.expect(StatusCode::ACCEPTED);
    let (key, code) = (key["key"].as_str().unwrap(), codes["codes"][0].as_str().unwrap());
    let owner = world.db.client("neo_user").await?;
    let tables = owner
        .query(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
             WHERE table_schema IN ('auth', 'monitoring', 'eventsourcing') AND table_type = 'BASE TABLE'",
            &[],
        )
        .await?;
    let mut text = String::new();
    for table in &tables {
        let table: String = table.get(0);
        let rows = owner.query(&format!("SELECT t::text FROM {table} AS t"), &[]).await?;
        for row in rows {
            text.push_str(row.get(0));
            text.push('\n');
        }
    }
    // The search sees what is there.
    assert!(text.contains(ADMIN) && text.contains("$argon2id$"), "{text}");
    // Bytes are shown in hexadecimal.
    for secret in [
        PASSWORD,
        "a wrong password of the tests",
        &first.refresh,
        &second.refresh,
        &second.access,
        key,
        code,
        &code.replace('-', ""),
        "nslm_",
    ] {
        assert!(!text.contains(secret) && !text.contains(&hex::encode(secret)), "{secret}");
    }
    assert!(!text.contains(&hex::encode(&totp.0)), "a TOTP secret is in the clear");
    // PKCS#8 of Ed25519 (RFC 8410 section 7) has this head before the private key.
    assert!(!text.contains("302e020100300506032b6570"), "a private key is in the clear");
    Ok(())
}

#[tokio::test]
async fn of_many_first_starts_one_makes_the_administrator() -> anyhow::Result<()> {
    let db = TestDb::new().await?;
    let (one, two) = (db.base(), db.base());
    let password = Secret::new(PASSWORD.to_owned());
    let short = bootstrap(&one, ADMIN, &Secret::new("short".to_owned())).await;
    assert!(short.is_err_and(|error| error.to_string().contains("12 characters")));
    let (a, b) = tokio::join!(bootstrap(&one, ADMIN, &password), bootstrap(&two, "another", &password));
    assert_eq!([a?, b?].iter().filter(|made| **made).count(), 1);
    assert!(!bootstrap(&one, "a third", &password).await?);
    let owner = db.client("neo_user").await?;
    let users: i64 = owner.query_one("SELECT count(*) FROM auth.users", &[]).await?.get(0);
    assert_eq!(users, 1);
    Ok(())
}

#[tokio::test]
async fn of_many_first_starts_one_makes_the_signing_key() -> anyhow::Result<()> {
    let (db, root) = (TestDb::new().await?, Root::new());
    let (one, two) = tokio::join!(
        start(db.base(), config(Algorithm::EdDSA), &root),
        start(db.base(), config(Algorithm::EdDSA), &root),
    );
    let (one, two) = (one?, two?);
    let owner = db.client("neo_user").await?;
    let keys: i64 = owner.query_one("SELECT count(*) FROM auth.signing_keys", &[]).await?.get(0);
    assert_eq!(keys, 1);
    assert!(bootstrap(&db.base(), ADMIN, &Secret::new(PASSWORD.to_owned())).await?);
    let body = json!({"username": ADMIN, "password": PASSWORD});
    let tokens = Tokens::of(&one.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK));
    two.get("/api/v1/auth/me").bearer(&tokens.access).send().await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_key_of_another_process_is_found_when_a_token_names_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let owner = world.db.client("neo_user").await?;
    // Another process rotates: it retires the key, and its next start makes one.
    owner.batch_execute("UPDATE auth.signing_keys SET retired_at = now()").await?;
    let elsewhere = start(world.db.base(), config(Algorithm::EdDSA), &world.root).await?;
    world.app.context().clock().advance(jiff::SignedDuration::from_secs(1));
    let body = json!({"username": ADMIN, "password": PASSWORD});
    let new =
        Tokens::of(&elsewhere.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK));
    let old = world.tokens(ADMIN).await;
    for token in [&new.access, &old.access] {
        world.me(token).await.expect(StatusCode::OK);
        // A retired key verifies until its last token has expired.
        elsewhere.get("/api/v1/auth/me").bearer(token).send().await.expect(StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn a_signing_key_under_another_root_key_stops_the_start() -> anyhow::Result<()> {
    let world = World::new().await?;
    let error =
        start(world.db.base(), config(Algorithm::EdDSA), &Root::new()).await.err().unwrap().to_string();
    assert!(error.contains("SGX_ENCRYPTION_KEY"), "{error}");
    // The right one still opens it, and the tokens go on.
    let token = world.tokens(ADMIN).await.access;
    let again = start(world.db.base(), config(Algorithm::EdDSA), &world.root).await?;
    again.get("/api/v1/auth/me").bearer(&token).send().await.expect(StatusCode::OK);

    let owner = world.db.client("neo_user").await?;
    owner.batch_execute("UPDATE auth.signing_keys SET kid = 'renamed'").await?;
    let error =
        start(world.db.base(), config(Algorithm::EdDSA), &world.root).await.err().unwrap().to_string();
    assert!(error.contains("renamed"), "{error}");
    Ok(())
}

#[tokio::test]
async fn health_tells_whether_someone_can_log_in() -> anyhow::Result<()> {
    let (db, root) = (TestDb::new().await?, Root::new());
    let app = start(db.base(), config(Algorithm::EdDSA), &root).await?;
    let check = async || app.get("/health/auth").send().await;
    assert_eq!(check().await.expect(StatusCode::OK).json()["status"], json!("Degraded"));
    assert!(bootstrap(&db.base(), ADMIN, &Secret::new(PASSWORD.to_owned())).await?);
    assert_eq!(check().await.expect(StatusCode::OK).json()["status"], json!("Healthy"));
    let owner = db.client("neo_user").await?;
    owner.batch_execute("DELETE FROM auth.signing_keys").await?;
    app.context().clock().advance(jiff::SignedDuration::from_secs(1));
    assert_eq!(check().await.expect(StatusCode::SERVICE_UNAVAILABLE).json()["status"], json!("Unhealthy"));
    Ok(())
}

#[tokio::test]
async fn without_the_database_a_token_is_503_and_not_401() -> anyhow::Result<()> {
    let world = World::new().await?;
    let tokens = world.tokens(ADMIN).await;
    world.me(&tokens.access).await.expect(StatusCode::OK);
    world.db.db().close();
    // As long as the feed of revocations is believed.
    world.app.context().clock().advance(jiff::SignedDuration::from_secs(5));
    assert_eq!(refusal(&world.me(&tokens.access).await), (503, "core.database_unavailable".to_owned()));
    Ok(())
}

#[tokio::test]
async fn what_has_expired_is_purged() -> anyhow::Result<()> {
    let world = World::new().await?;
    let second = world.db.tenant("second").await?;
    let admin = world.tokens(ADMIN).await;
    let owner = world.db.client("neo_user").await?;
    let count = async |table: &str| -> i64 {
        owner.query_one(&format!("SELECT count(*) FROM auth.{table}"), &[]).await.unwrap().get(0)
    };
    // Of two tenants: sessions that are over with a token each, a token that is over in a session that goes on, and an
    // old attempt.
    owner
        .execute(
            "WITH old AS ( \
                 INSERT INTO auth.authentication_sessions (tenant_id, id, user_id, expires_at) \
                 SELECT t.id, gen_random_uuid(), u.id, now() - interval '1 hour' \
                 FROM auth.users AS u CROSS JOIN (VALUES ($1::uuid), ($2)) AS t (id) \
                 RETURNING tenant_id, id, expires_at \
             ), whole AS ( \
                 SELECT tenant_id, id, expires_at FROM old \
                 UNION ALL SELECT tenant_id, id, now() - interval '1 hour' FROM auth.authentication_sessions \
             ) \
             INSERT INTO auth.refresh_tokens (token_hash, tenant_id, session_id, generation, expires_at) \
             SELECT sha256(convert_to(w.id::text, 'UTF8')), w.tenant_id, w.id, 7, w.expires_at FROM whole AS w",
            &[&nsl_core::ids::TenantId::DEFAULT, &second],
        )
        .await?;
    owner
        .batch_execute(
            "INSERT INTO auth.login_attempts (id, username, success, attempted_at) \
             VALUES (gen_random_uuid(), 'old', false, now() - interval '91 days')",
        )
        .await?;
    assert_eq!((count("authentication_sessions").await, count("refresh_tokens").await), (3, 4));
    assert_eq!(count("login_attempts").await, 2);

    // The lease of the purge is held by the first application until it ends.
    let elsewhere = {
        let mut base = world.db.base();
        base.db = pools(world.db.endpoint())?;
        let World { app, root, db } = world;
        app.shut_down().await;
        (start(base, config(Algorithm::EdDSA), &root).await?, db)
    };
    eventually(Duration::from_secs(10), "the purge", async || {
        count("authentication_sessions").await == 1
            && count("refresh_tokens").await == 1
            && count("login_attempts").await == 1
    })
    .await;
    let (app, _db) = elsewhere;
    app.get("/api/v1/auth/me").bearer(&admin.access).send().await.expect(StatusCode::OK);
    app.shut_down().await;
    Ok(())
}
