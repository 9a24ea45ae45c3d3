//! Mail: lost passwords, new accounts, and the server that takes it.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_auth::{Algorithm, AuthConfig, Sections, SmtpTls};
use nsl_testkit::{Response, eventually};
use serde_json::{Value, json};

use crate::mail_server::{MailServer, Taken};
use crate::world::{ADMIN, PASSWORD, World, config, id, refusal};

const NEW: &str = "another horse, another battery";

async fn world(server: &MailServer) -> anyhow::Result<World> {
    World::with_sections(Sections {
        jwt: config(Algorithm::EdDSA),
        auth: AuthConfig { allow_registration: true, ..AuthConfig::default() },
        smtp: server.config(),
        ..Sections::default()
    })
    .await
}

/// A user of the name, with an address.
async fn add(world: &World, username: &str) -> anyhow::Result<()> {
    let admin = world.tokens(ADMIN).await.access;
    let user =
        json!({"username": username, "password": PASSWORD, "email": format!("{username}@example.org")});
    world.create(&admin, &user).await.expect(StatusCode::CREATED);
    Ok(())
}

async fn forgot(world: &World, body: Value) -> Response {
    world.app.post("/api/v1/auth/password/forgot").json(&body).send().await
}

async fn reset(world: &World, token: &str, password: &str) -> Response {
    let body = json!({"token": token, "newPassword": password});
    world.app.post("/api/v1/auth/password/reset").json(&body).send().await
}

async fn register(world: &World, username: &str) -> Response {
    let body =
        json!({"username": username, "password": PASSWORD, "email": format!("{username}@example.org")});
    world.app.post("/api/v1/auth/register").json(&body).send().await
}

async fn verify(world: &World, token: &str) -> Response {
    world.app.post("/api/v1/auth/email/verify").json(&json!({"token": token})).send().await
}

async fn count(world: &World, sql: &str) -> anyhow::Result<i64> {
    Ok(world.db.client("neo_user").await?.query_one(sql, &[]).await?.get(0))
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_the_token_of_a_mail_once() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    let before = world.tokens("ann").await;
    // By name and by address, whatever the case; and unknown ones get the same answer.
    for body in [
        json!({"username": "ANN"}),
        json!({"email": "Ann@example.org"}),
        json!({"username": "nobody"}),
        json!({"email": "nobody@example.org"}),
        json!({"username": ADMIN}),
    ] {
        let response = forgot(&world, body).await.expect(StatusCode::ACCEPTED);
        assert!(response.body.is_empty(), "{}", response.text());
    }
    let mails = server.wait(2).await;
    assert!(mails.iter().all(|mail| mail.to() == "ann@example.org"));
    let (first, second) = (mails[0].token(), mails[1].token());

    // What cannot be accepted does not spend the token.
    assert_eq!(refusal(&reset(&world, &first, "short").await), (422, "auth.invalid_field".to_owned()));
    let easy = reset(&world, &first, "ann@example.org1").await;
    assert_eq!(easy.json()["errors"][0]["pointer"], json!("/newPassword"));
    reset(&world, &first, NEW).await.expect(StatusCode::NO_CONTENT);
    // It is used, and the other one is void with it.
    for token in [&first, &second, &first[..20].to_owned(), &String::new()] {
        let again = reset(&world, token, "a third horse and battery").await;
        assert_eq!(refusal(&again), (401, "auth.mail_token_invalid".to_owned()));
    }
    assert_eq!(refusal(&world.me(&before.access).await), (401, "auth.session_ended".to_owned()));
    assert_eq!(world.refresh(&before.refresh).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.login("ann", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    world.login("ann", NEW).await.expect(StatusCode::OK);

    // Nothing is left to send, and nobody else was written to.
    eventually(Duration::from_secs(10), "an empty outbox", async || {
        count(&world, "SELECT count(*) FROM auth.outbox").await.unwrap() == 0
    })
    .await;
    assert_eq!(server.mails().len(), 2);
    let verified = "SELECT count(*) FROM auth.users WHERE username = 'ann' AND email_verified_at IS NOT NULL";
    assert_eq!(count(&world, verified).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_reset_token_ends_after_an_hour_and_a_mailbox_is_not_flooded() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    for _ in 0..10 {
        forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    }
    let mails = server.wait(3).await;
    eventually(Duration::from_secs(10), "an empty outbox", async || {
        count(&world, "SELECT count(*) FROM auth.outbox").await.unwrap() == 0
    })
    .await;
    assert_eq!(server.mails().len(), 3);
    world.app.context().clock().advance(SignedDuration::from_hours(1));
    let late = reset(&world, &mails[0].token(), NEW).await;
    assert_eq!(refusal(&late), (401, "auth.mail_token_invalid".to_owned()));
    // Then there can be others.
    forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    let again = server.wait(4).await;
    reset(&world, &again[3].token(), NEW).await.expect(StatusCode::NO_CONTENT);
    Ok(())
}

#[tokio::test]
async fn of_two_resets_with_one_token_one_wins() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    let token = server.wait(1).await[0].token();
    let (one, two) =
        tokio::join!(reset(&world, &token, NEW), reset(&world, &token, "a third horse and battery"),);
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 401]);
    Ok(())
}

#[tokio::test]
async fn whoever_registers_confirms_the_address_by_mail() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    let made = register(&world, "ann").await.expect(StatusCode::CREATED).json();
    assert_eq!((&made["username"], &made["roles"]), (&json!("ann"), &json!(["User"])));
    assert_eq!(refusal(&register(&world, "ANN").await), (409, "auth.username_taken".to_owned()));
    let me = world.me(&world.tokens("ann").await.access).await.expect(StatusCode::OK).json();
    assert_eq!(me["id"], made["id"]);

    let mails = server.wait(1).await;
    assert_eq!((mails.len(), mails[0].to()), (1, "ann@example.org"));
    let token = mails[0].token();
    // A token of one purpose serves no other.
    assert_eq!(refusal(&reset(&world, &token, NEW).await), (401, "auth.mail_token_invalid".to_owned()));
    verify(&world, &token).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(refusal(&verify(&world, &token).await), (401, "auth.mail_token_invalid".to_owned()));
    let verified = "SELECT count(*) FROM auth.users WHERE email_verified_at IS NOT NULL";
    assert_eq!(count(&world, verified).await?, 1);

    // The next day it is too late, and an address that was changed since is not confirmed.
    register(&world, "bob").await.expect(StatusCode::CREATED);
    register(&world, "eve").await.expect(StatusCode::CREATED);
    let mails = server.wait(3).await;
    let of = |to: &str| mails.iter().find(|mail| mail.to() == to).unwrap().token();
    let owner = world.db.client("neo_user").await?;
    owner.batch_execute("UPDATE auth.users SET email = 'new@example.org' WHERE username = 'eve'").await?;
    assert_eq!(verify(&world, &of("eve@example.org")).await.status, StatusCode::UNAUTHORIZED);
    world.app.context().clock().advance(SignedDuration::from_hours(24));
    assert_eq!(verify(&world, &of("bob@example.org")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(count(&world, verified).await?, 1);
    Ok(())
}

/// The attack: whoever reads the mailbox of before keeps a token of it, and takes the account with it.
#[tokio::test]
async fn a_new_address_makes_what_was_mailed_to_the_old_one_void() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    let made = register(&world, "ann").await.expect(StatusCode::CREATED).json();
    forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    let before = server.wait(2).await;
    let admin = world.tokens(ADMIN).await.access;
    let path = format!("/api/v1/auth/users/{}", id(&made));
    let change = async |email: Value| {
        let body = json!({"email": email});
        world.app.patch(&path).bearer(&admin).json(&body).send().await.expect(StatusCode::OK)
    };
    change(json!("ann@example.com")).await;
    for mail in &before {
        assert_eq!(mail.to(), "ann@example.org");
        for answer in [reset(&world, &mail.token(), NEW).await, verify(&world, &mail.token()).await] {
            assert_eq!(refusal(&answer), (401, "auth.mail_token_invalid".to_owned()));
        }
    }
    assert_eq!(count(&world, "SELECT count(*) FROM auth.one_time_tokens WHERE email LIKE '%.org'").await?, 0);
    // The new address is asked, and what it answers counts for it alone.
    let after = server.wait(3).await;
    assert_eq!(after[2].to(), "ann@example.com");
    verify(&world, &after[2].token()).await.expect(StatusCode::NO_CONTENT);
    let verified = "SELECT count(*) FROM auth.users WHERE email_verified_at IS NOT NULL";
    assert_eq!(count(&world, verified).await?, 1);
    // The same address in other letters is the same, and needs no mail; none at all needs none either.
    change(json!("ANN@example.com")).await;
    assert_eq!(count(&world, verified).await?, 1);
    change(Value::Null).await;
    assert_eq!(count(&world, verified).await?, 0);
    assert_eq!(count(&world, "SELECT count(*) FROM auth.one_time_tokens").await?, 0);
    change(json!("ann@example.net")).await;
    assert_eq!(server.wait(4).await[3].to(), "ann@example.net");
    Ok(())
}

/// A token whose mail was asked for while the address changed.
#[tokio::test]
async fn a_token_of_another_address_is_void_wherever_it_comes_from() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    let token = server.wait(1).await[0].token();
    let owner = world.db.client("neo_user").await?;
    owner.batch_execute("UPDATE auth.users SET email = 'new@example.org' WHERE username = 'ann'").await?;
    assert_eq!(refusal(&reset(&world, &token, NEW).await), (401, "auth.mail_token_invalid".to_owned()));
    world.login("ann", PASSWORD).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn an_address_is_asked_again_until_it_is_confirmed() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    register(&world, "ann").await.expect(StatusCode::CREATED);
    let token = world.tokens("ann").await.access;
    let ask =
        async |token: &str| world.app.post("/api/v1/auth/email/verification").bearer(token).send().await;
    for _ in 0..5 {
        ask(&token).await.expect(StatusCode::ACCEPTED);
    }
    // One of the registration, and two more at a time.
    let mails = server.wait(3).await;
    assert_eq!(count(&world, "SELECT count(*) FROM auth.one_time_tokens").await?, 3);
    verify(&world, &mails[2].token()).await.expect(StatusCode::NO_CONTENT);
    for token in [&token, &world.tokens(ADMIN).await.access] {
        assert_eq!(refusal(&ask(token).await), (409, "auth.nothing_to_verify".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn asking_many_times_at_once_sends_no_more_mails() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    let asked = (0..24).map(|_| forgot(&world, json!({"username": "ann"})));
    for answer in futures::future::join_all(asked).await {
        answer.expect(StatusCode::ACCEPTED);
    }
    assert_eq!(count(&world, "SELECT count(*) FROM auth.one_time_tokens").await?, 3);
    Ok(())
}

/// Each spends its own and takes the others along: without an order they wait for each other.
#[tokio::test]
async fn of_several_tokens_at_the_same_time_one_wins() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    for round in 0..3 {
        let name = format!("ann{round}");
        add(&world, &name).await?;
        for _ in 0..3 {
            forgot(&world, json!({"username": name})).await.expect(StatusCode::ACCEPTED);
        }
        let mails = server.wait(3 * (round + 1)).await;
        let tokens: Vec<String> = mails[3 * round..].iter().map(Taken::token).collect();
        let answers = futures::future::join_all(tokens.iter().map(|token| reset(&world, token, NEW))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 401, 401]);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_registers_where_that_is_closed() -> anyhow::Result<()> {
    let world = World::new().await?;
    assert_eq!(refusal(&register(&world, "ann").await), (403, "auth.registration_closed".to_owned()));
    assert_eq!(count(&world, "SELECT count(*) FROM auth.users").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_mail_server_that_is_away_loses_nothing() -> anyhow::Result<()> {
    let server = MailServer::start();
    let port = server.port();
    let world = world(&server).await?;
    add(&world, "ann").await?;
    server.stop();
    forgot(&world, json!({"username": "ann"})).await.expect(StatusCode::ACCEPTED);
    eventually(Duration::from_secs(20), "a first try", async || {
        count(&world, "SELECT count(*) FROM auth.outbox WHERE tries > 0").await.unwrap() == 1
    })
    .await;
    let server = MailServer::start_again(port);
    // The pause until the next try.
    world.app.context().clock().advance(SignedDuration::from_mins(5));
    let mails = server.wait(1).await;
    reset(&world, &mails[0].token(), NEW).await.expect(StatusCode::NO_CONTENT);
    Ok(())
}

#[tokio::test]
async fn a_mail_that_is_refused_for_ever_is_not_tried_again() -> anyhow::Result<()> {
    let server = MailServer::start();
    let world = world(&server).await?;
    register(&world, "refused").await.expect(StatusCode::CREATED);
    register(&world, "ann").await.expect(StatusCode::CREATED);
    let mails = server.wait(1).await;
    assert_eq!(mails[0].to(), "ann@example.org");
    eventually(Duration::from_secs(10), "an empty outbox", async || {
        count(&world, "SELECT count(*) FROM auth.outbox").await.unwrap() == 0
    })
    .await;
    let audited =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'SEND_MAIL' AND result = 'Failure'";
    assert_eq!(count(&world, audited).await?, 1);
    Ok(())
}

#[tokio::test]
async fn mail_goes_over_tls_with_a_password() -> anyhow::Result<()> {
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let server = MailServer::with(tls, None);
        let world = world(&server).await?;
        register(&world, "ann").await.expect(StatusCode::CREATED);
        let mails = server.wait(1).await;
        assert!(mails[0].text.contains("X-Tls: True"), "{}", mails[0].text);
        verify(&world, &mails[0].token()).await.expect(StatusCode::NO_CONTENT);
    }
    Ok(())
}
