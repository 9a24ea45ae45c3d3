//! Guessing, floods, and what a stranger can tell.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_crypto::random;
use nsl_crypto::token::random_token;
use nsl_testkit::{Response, eventually};
use serde_json::json;

use crate::world::{ADMIN, PASSWORD, World, refusal};

const WRONG: &str = "another long password";
/// Where nobody of the tests lives.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

async fn login_from(world: &World, from: Ipv4Addr, username: &str, password: &str) -> Response {
    let body = json!({"username": username, "password": password});
    world.app.post("/api/v1/auth/login").from(from).json(&body).send().await
}

#[tokio::test]
async fn a_guesser_locks_out_themselves_and_not_the_owner() -> anyhow::Result<()> {
    let world = World::new().await?;
    let wrong = (401, "auth.invalid_credentials".to_owned());
    for _ in 0..5 {
        assert_eq!(refusal(&login_from(&world, STRANGER, ADMIN, WRONG).await), wrong);
    }
    // From the same block the right password is no better, and looks the same.
    assert_eq!(refusal(&login_from(&world, Ipv4Addr::new(203, 0, 113, 250), ADMIN, PASSWORD).await), wrong);
    // From anywhere else it lets in.
    login_from(&world, Ipv4Addr::new(203, 0, 114, 7), ADMIN, PASSWORD).await.expect(StatusCode::OK);
    world.login(ADMIN, PASSWORD).await.expect(StatusCode::OK);

    let owner = world.db.client("neo_user").await?;
    let alarm = owner
        .query_one(
            "SELECT severity, event_data ->> 'addressBlock' FROM monitoring.security_events \
             WHERE event_type = 'auth.lockout'",
            &[],
        )
        .await?;
    assert_eq!((alarm.get::<_, &str>(0), alarm.get::<_, &str>(1)), ("High", "203.0.113.0/24"));
    let events = "SELECT count(*) FROM eventsourcing.events WHERE type = 'auth.locked_out'";
    assert_eq!(owner.query_one(events, &[]).await?.get::<_, i64>(0), 1);

    // Half an hour later it is over; the next lockout lasts twice as long.
    let clock = world.app.context().clock();
    clock.advance(SignedDuration::from_mins(30));
    for _ in 0..5 {
        login_from(&world, STRANGER, ADMIN, WRONG).await.expect(StatusCode::UNAUTHORIZED);
    }
    clock.advance(SignedDuration::from_mins(31));
    assert_eq!(login_from(&world, STRANGER, ADMIN, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    clock.advance(SignedDuration::from_mins(30));
    login_from(&world, STRANGER, ADMIN, PASSWORD).await.expect(StatusCode::OK);
    // A login begins the count anew.
    for _ in 0..4 {
        login_from(&world, STRANGER, ADMIN, WRONG).await.expect(StatusCode::UNAUTHORIZED);
    }
    login_from(&world, STRANGER, ADMIN, PASSWORD).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn whoever_has_many_addresses_is_stopped_too_but_never_the_owner() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.login(ADMIN, PASSWORD).await.expect(StatusCode::OK);
    // 25 blocks with four guesses each: no block is locked by its own count.
    for block in 0..25 {
        for _ in 0..4 {
            let from = Ipv4Addr::new(198, 51, block, 1);
            login_from(&world, from, ADMIN, WRONG).await.expect(StatusCode::UNAUTHORIZED);
        }
    }
    let fresh = Ipv4Addr::new(198, 51, 200, 1);
    assert_eq!(login_from(&world, fresh, ADMIN, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    // Where the owner was before, they are let in.
    world.login(ADMIN, PASSWORD).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn guesses_at_the_same_time_do_not_slip_past_the_count() -> anyhow::Result<()> {
    let world = World::new().await?;
    let guesses = (0..40).map(|_| login_from(&world, STRANGER, ADMIN, WRONG));
    for answer in futures::future::join_all(guesses).await {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let owner = world.db.client("neo_user").await?;
    let sql = "SELECT count(*) FROM auth.login_attempts WHERE reason = 'wrong_password'";
    let compared: i64 = owner.query_one(sql, &[]).await?.get(0);
    // The limit, and those that were under way when it was reached.
    assert!((5..=8).contains(&compared), "{compared} guesses");
    Ok(())
}

/// The attack: a thief logs in with the old password while the owner sets a new one. What ends every session does not
/// see the one that is about to start.
#[tokio::test]
async fn a_login_that_is_overtaken_starts_no_session() -> anyhow::Result<()> {
    let world = World::new().await?;
    for (name, change) in [
        ("password", "UPDATE auth.users SET password_hash = NULL, revision = revision + 1"),
        ("lock", "UPDATE auth.users SET status = 'locked', revision = revision + 1"),
        ("role", "UPDATE auth.users SET revision = revision + 1"),
    ] {
        let user = world.add(name, &["User"]).await;
        let owner = world.db.client("neo_user").await?;
        // As the action does it: the account is held, what it is about is done, the sessions are ended.
        owner.batch_execute(&format!("BEGIN; {change} WHERE id = '{user}'")).await?;
        let change = async {
            let other = world.db.client("neo_user").await.unwrap();
            eventually(Duration::from_secs(10), "the login waits", async || {
                let waiting = "SELECT count(*) FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
                other.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
            })
            .await;
            owner.batch_execute("COMMIT").await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.login(name, PASSWORD), change);
        assert_eq!(refusal(&answer), (401, "auth.invalid_credentials".to_owned()), "{name}");
        let rows = owner
            .query_one(
                "SELECT (SELECT count(*) FROM auth.authentication_sessions WHERE user_id = $1), ( \
                     SELECT count(*) FROM auth.login_attempts WHERE user_id = $1 AND reason = 'overtaken')",
                &[&user],
            )
            .await?;
        assert_eq!((rows.get::<_, i64>(0), rows.get::<_, i64>(1)), (0, 1), "{name}");
    }
    world.login("role", PASSWORD).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn api_keys_are_never_locked() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"name": "CI", "permissions": ["auth:self"]});
    let made = world.app.post("/api/v1/auth/api-keys").bearer(&admin).json(&body).send().await;
    let key = made.expect(StatusCode::CREATED).json()["key"].as_str().unwrap().to_owned();
    for _ in 0..6 {
        world.login(ADMIN, WRONG).await.expect(StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.login(ADMIN, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    world.me(&key).await.expect(StatusCode::OK);
    world.me(&admin).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn logins_of_a_block_are_limited_and_say_so() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ask = async |from: Ipv4Addr| {
        let body = json!({"username": "\u{0}", "password": WRONG});
        world.app.post("/api/v1/auth/login").from(from).json(&body).send().await
    };
    let first = ask(STRANGER).await;
    assert_eq!(first.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(first.header("ratelimit-policy"), r#""login";q=100;w=60"#);
    assert!(first.header("ratelimit").starts_with(r#""login";r=99;t="#), "{}", first.header("ratelimit"));
    let mut refused = None;
    for _ in 0..200 {
        let answer = ask(STRANGER).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the limit is reached");
    assert_eq!(refusal(&refused), (429, "core.rate_limited".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.header("ratelimit").starts_with(r#""login";r=0;"#));
    // The other addresses of the block pay with it, others do not; and other routes have a budget of their own.
    assert_eq!(ask(Ipv4Addr::new(203, 0, 113, 99)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(Ipv4Addr::new(203, 0, 114, 7)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let body = json!({"refreshToken": "x"});
    let refresh = world.app.post("/api/v1/auth/refresh").from(STRANGER).json(&body).send().await;
    assert_eq!(refresh.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh.header("ratelimit-policy"), r#""anonymous";q=100;w=60"#);
    // What orchestrators, scrapers and verifiers ask is not limited, nor is who shows a credential.
    let token = world.tokens(ADMIN).await.access;
    for response in [
        world.app.get("/health/live").send().await,
        world.app.get("/metrics").send().await,
        world.app.get("/.well-known/jwks.json").send().await,
        world.me(&token).await,
    ] {
        assert_eq!(response.status, StatusCode::OK);
        assert!(!response.headers.contains_key("ratelimit"), "{:?}", response.headers);
    }
    Ok(())
}

#[tokio::test]
async fn key_operations_are_limited_by_who_calls() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let (admin, ann) = (world.tokens(ADMIN).await.access, world.tokens("ann").await.access);
    let ask = async |token: &str| {
        let body = json!({"name": "", "permissions": []});
        world.app.post("/api/v1/auth/api-keys").bearer(token).json(&body).send().await
    };
    for _ in 0..20 {
        let answer = ask(&admin).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.header("ratelimit-policy"), r#""key-operations";q=20;w=60"#);
    }
    assert_eq!(refusal(&ask(&admin).await), (429, "core.rate_limited".to_owned()));
    assert_eq!(ask(&ann).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    world.app.get("/api/v1/auth/api-keys").bearer(&admin).send().await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn ten_thousand_random_or_truncated_credentials_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let tokens = world.tokens(ADMIN).await;
    let body = json!({"name": "CI", "permissions": ["auth:self"]});
    let made = world.app.post("/api/v1/auth/api-keys").bearer(&tokens.access).json(&body).send().await;
    let key = made.expect(StatusCode::CREATED).json()["key"].as_str().unwrap().to_owned();
    let below = |most: usize| usize::from(u16::from_be_bytes(random::bytes())) % most;
    let text = |length: usize| -> String {
        (0..length).map(|_| char::from(b' ' + random::bytes::<1>()[0] % 95)).collect()
    };
    let good = [tokens.access.as_str(), &tokens.refresh, &key];
    for round in 0..10_000 {
        let whole = good[round % 3];
        let credential = match round % 6 {
            0 => text(1 + below(200)),
            1 => random_token(["", "nslk_", "nslr_", "eyJ"][below(4)]).expose().to_owned(),
            2 => whole[..below(whole.len())].to_owned(),
            3 => {
                let at = below(whole.len());
                format!("{}{}{}", &whole[..at], text(1), &whole[at + 1..])
            }
            4 => format!("{whole}{}", text(1 + below(5))),
            _ => format!("{}.{}.{}", text(below(60)), text(below(60)), text(below(60))),
        };
        // Spaces around a credential are not part of it, and one replaced character may be the same one.
        let is_good = good.iter().any(|good| *good == credential.trim());
        if is_good && credential.trim() != tokens.refresh {
            continue;
        }
        let answer = world.me(&credential).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{credential}: {}", answer.text());
        let code = refusal(&answer).1;
        assert!(code.starts_with("auth.") || code == "core.credential_malformed", "{code}");
        if round % 100 == 0 {
            let from = Ipv4Addr::new(10, u8::try_from(round / 10_000)?, u8::try_from(round / 100)?, 1);
            for (path, body) in [
                ("refresh", json!({"refreshToken": credential})),
                ("password/reset", json!({"token": credential, "newPassword": PASSWORD})),
                ("email/verify", json!({"token": credential})),
            ] {
                let answer =
                    world.app.post(&format!("/api/v1/auth/{path}")).from(from).json(&body).send().await;
                // Its own refresh token is good there.
                if credential.trim() != tokens.refresh {
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {credential}");
                }
            }
        }
    }
    world.me(&tokens.access).await.expect(StatusCode::OK);
    Ok(())
}

/// The median of some logins of each kind, taken in turns, so that whatever else the machine does hits all of them.
async fn medians(world: &World, kinds: &[(&str, &str)]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..15_u8 {
        for (index, (username, password)) in kinds.iter().enumerate() {
            let from = Ipv4Addr::new(10, 1, round, u8::try_from(index).unwrap_or_default());
            let started = Instant::now();
            let answer = login_from(world, from, username, password).await;
            times[index].push(started.elapsed());
            assert_eq!(refusal(&answer), (401, "auth.invalid_credentials".to_owned()), "{username}");
        }
    }
    for times in &mut times {
        times.sort();
    }
    times.iter().map(|times| times[times.len() / 2]).collect()
}

#[tokio::test]
async fn a_stranger_cannot_tell_users_by_the_time_of_an_answer() -> anyhow::Result<()> {
    let world = World::new().await?;
    for name in ["ann", "locked", "legacy"] {
        world.add(name, &["User"]).await;
    }
    let owner = world.db.client("neo_user").await?;
    owner
        .batch_execute(
            "UPDATE auth.users SET status = 'locked' WHERE username = 'locked'; \
             UPDATE auth.users SET password_hash = '$2a$10$q0KL.609LelPDmPXaALjEugNsFkfEIG4X.6/XPPp2S5pB3XJq2Hsq' WHERE username = 'legacy'",
        )
        .await?;
    // What is in the database is looked up once a minute.
    world.app.context().clock().advance(SignedDuration::from_mins(2));
    let kinds = [("ann", WRONG), ("nobody", WRONG), ("locked", PASSWORD), ("legacy", WRONG)];
    let medians = medians(&world, &kinds).await;
    let (least, most) = (*medians.iter().min().unwrap(), *medians.iter().max().unwrap());
    // A kind that skipped Argon2id, or alone did the legacy work, would take half or twice the time.
    assert!(most.as_secs_f64() < 1.4 * least.as_secs_f64(), "{medians:?}");
    Ok(())
}
