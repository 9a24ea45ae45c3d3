//! Access and refresh tokens: rotation, reuse, revocation, forgeries.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use jiff::SignedDuration;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm as Alg, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use nsl_auth::{Algorithm, JwtConfig};
use nsl_core::config::Secret;
use nsl_crypto::random;
use nsl_crypto::signing::SigningKeyPair;
use nsl_testkit::{Response, eventually, pools};
use serde_json::{Value, json};

use crate::world::{ADMIN, SECRET, Tokens, World, claims, config, refusal, start};

async fn jwks(world: &World) -> Value {
    world.app.get("/.well-known/jwks.json").send().await.expect(StatusCode::OK).json()
}

#[tokio::test]
async fn anyone_verifies_a_token_by_the_published_keys() -> anyhow::Result<()> {
    let world = World::new().await?;
    let token = world.tokens(ADMIN).await.access;
    let keys: JwkSet = serde_json::from_value(jwks(&world).await)?;
    let header = decode_header(&token)?;
    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Alg::EdDSA));
    let key = keys.find(header.kid.as_deref().unwrap()).expect("the token names a published key");
    let mut validation = Validation::new(Alg::EdDSA);
    validation.set_issuer(&["neo-service-layer"]);
    validation.set_audience(&["neo-service-layer"]);
    let claims = decode::<Value>(&token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    assert_eq!((&claims["name"], &claims["scope"]), (&json!(ADMIN), &json!("*")));
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 900);
    for name in ["sub", "jti", "client_id", "tenant", "sid"] {
        assert!(claims[name].is_string(), "{name}: {claims}");
    }
    Ok(())
}

#[tokio::test]
async fn the_shared_secret_signs_where_it_is_configured() -> anyhow::Result<()> {
    let world = World::with(config(Algorithm::HS256)).await?;
    let token = world.tokens(ADMIN).await.access;
    world.me(&token).await.expect(StatusCode::OK);
    assert_eq!(jwks(&world).await, json!({"keys": []}));
    let mut validation = Validation::new(Alg::HS256);
    validation.set_audience(&["neo-service-layer"]);
    assert!(decode::<Value>(&token, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).is_ok());

    // Another secret's tokens are not ours.
    let other = JwtConfig {
        secret_key: Some(Secret::new(SECRET.chars().rev().collect())),
        ..config(Algorithm::HS256)
    };
    let elsewhere = start(world.db.base(), other, &world.root).await?;
    let response = elsewhere.get("/api/v1/auth/me").bearer(&token).send().await;
    assert_eq!(refusal(&response), (401, "auth.token_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_reuse_ends_the_session() -> anyhow::Result<()> {
    let world = World::new().await?;
    let first = world.tokens(ADMIN).await;
    let second = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    let third = Tokens::of(&world.refresh(&second.refresh).await.expect(StatusCode::OK));
    for tokens in [&first, &second, &third] {
        world.me(&tokens.access).await.expect(StatusCode::OK);
    }
    assert_eq!(claims(&first.access)["sid"], claims(&third.access)["sid"]);

    let stolen = world.refresh(&first.refresh).await;
    assert_eq!(refusal(&stolen), (401, "auth.refresh_token_reused".to_owned()));
    // The whole family is gone, at once in this process.
    for refresh in [&first.refresh, &second.refresh, &third.refresh] {
        assert_eq!(refusal(&world.refresh(refresh).await), (401, "auth.refresh_token_invalid".to_owned()));
    }
    assert_eq!(refusal(&world.me(&third.access).await), (401, "auth.session_ended".to_owned()));

    let owner = world.db.client("neo_user").await?;
    let events = owner
        .query(
            "SELECT type, data FROM eventsourcing.events WHERE type LIKE 'auth.%' ORDER BY stream, version",
            &[],
        )
        .await?;
    let events: Vec<(String, Value)> = events.iter().map(|row| (row.get(0), row.get(1))).collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["auth.session_started", "auth.refresh_reused", "auth.session_revoked", "auth.user_created"]
    );
    assert_eq!(events[1].1["generation"], json!(0));
    let audited = owner
        .query("SELECT result FROM monitoring.audit_logs WHERE action = 'REFRESH_TOKEN' ORDER BY id", &[])
        .await?;
    let results: Vec<String> = audited.iter().map(|row| row.get(0)).collect();
    assert_eq!(results, ["Success", "Success", "Denied"]);
    Ok(())
}

/// Refreshes with one token from so many tabs at the same time.
async fn tabs(world: &World, token: &str, count: usize) -> Vec<Response> {
    join_all((0..count).map(|_| world.refresh(token))).await
}

#[tokio::test]
async fn two_tabs_that_refresh_at_the_same_time_get_the_same_refresh_token() -> anyhow::Result<()> {
    let world = World::new().await?;
    for count in [2, 8] {
        let first = world.tokens(ADMIN).await;
        let answers = tabs(&world, &first.refresh, count).await;
        let answers: Vec<Tokens> =
            answers.into_iter().map(|answer| Tokens::of(&answer.expect(StatusCode::OK))).collect();
        for answer in &answers {
            assert_eq!(answer.refresh, answers[0].refresh);
            world.me(&answer.access).await.expect(StatusCode::OK);
        }
        // It is one token of the session, and goes on.
        let next = Tokens::of(&world.refresh(&answers[0].refresh).await.expect(StatusCode::OK));
        world.refresh(&next.refresh).await.expect(StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn a_tab_that_comes_within_ten_seconds_gets_the_same_refresh_token_and_a_later_one_ends_the_session()
-> anyhow::Result<()> {
    let world = World::new().await?;
    let clock = world.app.context().clock().clone();
    let first = world.tokens(ADMIN).await;
    let second = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    clock.advance(SignedDuration::from_secs(8));
    let again = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    assert_eq!(again.refresh, second.refresh);
    // Ten seconds after the first use, not after the last.
    clock.advance(SignedDuration::from_secs(3));
    let late = world.refresh(&first.refresh).await;
    assert_eq!(refusal(&late), (401, "auth.refresh_token_reused".to_owned()));
    assert_eq!(refusal(&world.refresh(&second.refresh).await).1, "auth.refresh_token_invalid");
    assert_eq!(refusal(&world.me(&second.access).await).1, "auth.session_ended");
    Ok(())
}

#[tokio::test]
async fn a_token_whose_successor_was_used_ends_the_session_even_within_ten_seconds() -> anyhow::Result<()> {
    let world = World::new().await?;
    let first = world.tokens(ADMIN).await;
    let second = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    let third = Tokens::of(&world.refresh(&second.refresh).await.expect(StatusCode::OK));
    assert_eq!(refusal(&world.refresh(&first.refresh).await).1, "auth.refresh_token_reused");
    assert_eq!(refusal(&world.refresh(&third.refresh).await).1, "auth.refresh_token_invalid");
    Ok(())
}

#[tokio::test]
async fn of_many_who_replay_an_old_token_one_ends_the_session_and_raises_the_alarm() -> anyhow::Result<()> {
    let world = World::new().await?;
    let first = world.tokens(ADMIN).await;
    let second = Tokens::of(&world.refresh(&first.refresh).await.expect(StatusCode::OK));
    world.refresh(&second.refresh).await.expect(StatusCode::OK);
    let answers = tabs(&world, &first.refresh, 8).await;
    let codes: Vec<String> = answers.iter().map(|answer| refusal(answer).1).collect();
    assert_eq!(codes.iter().filter(|code| *code == "auth.refresh_token_reused").count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "auth.refresh_token_invalid").count(), 7, "{codes:?}");
    let owner = world.db.client("neo_user").await?;
    let alarms = owner
        .query("SELECT event_type, severity, user_id, event_data FROM monitoring.security_events", &[])
        .await?;
    assert_eq!(alarms.len(), 1);
    let alarm = &alarms[0];
    assert_eq!((alarm.get::<_, &str>(0), alarm.get::<_, &str>(1)), ("auth.refresh_reused", "High"));
    let data: Value = alarm.get(3);
    assert_eq!((&data["sessionId"], &data["generation"]), (&claims(&first.access)["sid"], &json!(0)));
    Ok(())
}

/// Whoever reads the database and knows JWT_SECRET_KEY, and holds no token of the session, makes none.
#[tokio::test]
async fn refresh_tokens_do_not_follow_from_the_database_and_the_secret() -> anyhow::Result<()> {
    let world = World::new().await?;
    let one = world.tokens(ADMIN).await;
    let two = world.tokens(ADMIN).await;
    // The same place in two sessions, the same tokens given twice: nothing repeats but within a session.
    let next_one = Tokens::of(&world.refresh(&one.refresh).await.expect(StatusCode::OK));
    let next_two = Tokens::of(&world.refresh(&two.refresh).await.expect(StatusCode::OK));
    let mut all = vec![one.refresh, two.refresh, next_one.refresh, next_two.refresh];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    let owner = world.db.client("neo_user").await?;
    let rows = owner.query("SELECT token_hash FROM auth.refresh_tokens", &[]).await?;
    assert_eq!(rows.len(), 4);
    for row in rows {
        let hash: Vec<u8> = row.get(0);
        let as_token = format!("nslr_{}", URL_SAFE_NO_PAD.encode(hash));
        assert_eq!(refusal(&world.refresh(&as_token).await).1, "auth.refresh_token_invalid");
    }
    Ok(())
}

#[tokio::test]
async fn tokens_expire() -> anyhow::Result<()> {
    let world = World::new().await?;
    let clock = world.app.context().clock().clone();
    let tokens = world.tokens(ADMIN).await;
    clock.advance(SignedDuration::from_mins(14));
    world.me(&tokens.access).await.expect(StatusCode::OK);
    clock.advance(SignedDuration::from_mins(1));
    // From the cache, and then without it.
    for _ in 0..2 {
        assert_eq!(refusal(&world.me(&tokens.access).await), (401, "auth.token_expired".to_owned()));
    }
    let next = Tokens::of(&world.refresh(&tokens.refresh).await.expect(StatusCode::OK));
    world.me(&next.access).await.expect(StatusCode::OK);
    clock.advance(SignedDuration::from_hours(30 * 24));
    let late = world.refresh(&next.refresh).await;
    assert_eq!(refusal(&late), (401, "auth.refresh_token_invalid".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_logout_ends_the_session_here_at_once_and_elsewhere_soon() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut base = world.db.base();
    base.db = pools(world.db.endpoint())?;
    let elsewhere = start(base, config(Algorithm::EdDSA), &world.root).await?;
    let there = async |token: &str| elsewhere.get("/api/v1/auth/me").bearer(token).send().await;

    let (tokens, other) = (world.tokens(ADMIN).await, world.tokens(ADMIN).await);
    there(&tokens.access).await.expect(StatusCode::OK);
    let logout = async |bearer: &str, refresh: &str| {
        let body = json!({"refreshToken": refresh});
        world.app.post("/api/v1/auth/logout").bearer(bearer).json(&body).send().await
    };
    logout(&tokens.access, &tokens.refresh).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(refusal(&world.me(&tokens.access).await), (401, "auth.session_ended".to_owned()));
    assert_eq!(
        refusal(&world.refresh(&tokens.refresh).await),
        (401, "auth.refresh_token_invalid".to_owned())
    );
    eventually(Duration::from_secs(10), "the other process knows it", async || {
        there(&tokens.access).await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    // Another session of the same user goes on, and can end the first one again.
    world.me(&other.access).await.expect(StatusCode::OK);
    logout(&other.access, &tokens.refresh).await.expect(StatusCode::NO_CONTENT);

    // Nobody ends the sessions of others.
    world.add("ann", &["User"]).await;
    let ann = world.tokens("ann").await;
    for token in [other.refresh.as_str(), "nslr_", "\u{0}"] {
        let response = logout(&ann.access, token).await;
        assert_eq!(refusal(&response), (401, "auth.refresh_token_foreign".to_owned()));
    }
    world.me(&other.access).await.expect(StatusCode::OK);
    let anonymous =
        world.app.post("/api/v1/auth/logout").json(&json!({"refreshToken": other.refresh})).send().await;
    assert_eq!(refusal(&anonymous), (401, "core.credential_missing".to_owned()));
    Ok(())
}

#[tokio::test]
async fn forged_tokens_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let honest = world.tokens(ADMIN).await.access;
    let claims = claims(&honest);
    let header = decode_header(&honest)?;
    let kid = header.kid.clone().unwrap();
    let public = URL_SAFE_NO_PAD.decode(jwks(&world).await["keys"][0]["x"].as_str().unwrap())?;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned =
        |alg: &str| format!("{}.{}.", part(&json!({"alg": alg, "typ": "at+jwt", "kid": kid})), part(&claims));
    let hmac = Header { alg: Alg::HS256, ..header.clone() };
    let pair = SigningKeyPair::generate();
    let stranger = EncodingKey::from_ed_der(pair.expose_pkcs8());
    let mut unknown_key = header.clone();
    unknown_key.kid = Some("unknown".to_owned());
    let mut nameless = header.clone();
    nameless.kid = None;
    let (signed, signature) = honest.rsplit_once('.').unwrap();
    let mut raised = claims.clone();
    raised["scope"] = json!("* more");
    let head = honest.split('.').next().unwrap();

    for (what, token) in [
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("no signature", format!("{signed}.")),
        ("the public key as HMAC secret", encode(&hmac, &claims, &EncodingKey::from_secret(&public))?),
        ("the shared secret", encode(&hmac, &claims, &EncodingKey::from_secret(SECRET.as_bytes()))?),
        ("another key under our kid", encode(&header, &claims, &stranger)?),
        ("another key", encode(&unknown_key, &claims, &stranger)?),
        ("no kid", encode(&nameless, &claims, &stranger)?),
        ("changed claims", format!("{head}.{}.{signature}", part(&raised))),
        ("nothing", "x".to_owned()),
    ] {
        assert_eq!(refusal(&world.me(&token).await), (401, "auth.token_invalid".to_owned()), "{what}");
    }
    world.me(&honest).await.expect(StatusCode::OK);
    Ok(())
}

/// Signed by our key, and not for us: the key is published, the database shared, only the names differ.
#[tokio::test]
async fn tokens_of_another_issuer_or_audience_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let token = world.tokens(ADMIN).await.access;
    for other in [
        JwtConfig { issuer: "another".to_owned(), ..config(Algorithm::EdDSA) },
        JwtConfig { audience: "another".to_owned(), ..config(Algorithm::EdDSA) },
    ] {
        let elsewhere = start(world.db.base(), other, &world.root).await?;
        let response = elsewhere.get("/api/v1/auth/me").bearer(&token).send().await;
        assert_eq!(refusal(&response), (401, "auth.token_invalid".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn random_and_truncated_tokens_are_401() -> anyhow::Result<()> {
    let world = World::new().await?;
    let tokens = world.tokens(ADMIN).await;
    for round in 0..1000 {
        let cut = &tokens.access[..round % tokens.access.len()];
        let bytes = random::bytes::<96>();
        let random = URL_SAFE_NO_PAD.encode(&bytes[..=(round % 96)]);
        let dotted = format!("{}.{random}.{random}", tokens.access.split('.').next().unwrap());
        let token = match round % 3 {
            0 if !cut.is_empty() => cut,
            1 => &dotted,
            _ => &random,
        };
        let response = world.me(token).await;
        assert_eq!(refusal(&response), (401, "auth.token_invalid".to_owned()), "{token}");
        let refresh = match round % 3 {
            0 => tokens.refresh[..round % tokens.refresh.len()].to_owned(),
            1 => format!("nslr_{}", URL_SAFE_NO_PAD.encode(&bytes[..32])),
            _ => random,
        };
        // From many places, since one is limited.
        let from = Ipv4Addr::new(10, 0, u8::try_from(round / 50)?, 1);
        let request = world.app.post("/api/v1/auth/refresh").from(from);
        let response = request.json(&json!({"refreshToken": refresh})).send().await;
        assert_eq!(refusal(&response), (401, "auth.refresh_token_invalid".to_owned()), "{refresh}");
    }
    world.me(&tokens.access).await.expect(StatusCode::OK);
    Ok(())
}
