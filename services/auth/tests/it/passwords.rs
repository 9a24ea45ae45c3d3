//! Passwords: their strength, their change, and those of the legacy system.

use axum::http::StatusCode;
use nsl_testkit::Response;
use serde_json::json;

use crate::world::{ADMIN, PASSWORD, World, refusal};

const NEW: &str = "another horse, another battery";
/// The password behind the hashes below.
const OLD: &str = "legacy horse battery";

async fn change(world: &World, token: &str, current: &str, new: &str) -> Response {
    let body = json!({"currentPassword": current, "newPassword": new});
    world.app.post("/api/v1/auth/password/change").bearer(token).json(&body).send().await
}

#[tokio::test]
async fn a_password_is_changed_with_the_old_one_and_every_other_session_ends() -> anyhow::Result<()> {
    let world = World::new().await?;
    let ann = world.add("ann", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(ann, second).await?;
    let (here, elsewhere) = (world.tokens("ann").await, world.tokens("ann").await);
    let body = json!({"username": "ann", "password": PASSWORD, "tenant": second});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
    let other_tenant = crate::world::Tokens::of(&response);

    let wrong = change(&world, &here.access, "not the old password", NEW).await;
    assert_eq!(refusal(&wrong), (401, "auth.password_wrong".to_owned()));
    for (bad, why) in [
        ("short", "12 characters"),
        ("passwordpassword", "easy to guess"),
        (PASSWORD, "present password"),
        (&"x".repeat(1025), "1024 bytes"),
    ] {
        let refused = change(&world, &here.access, PASSWORD, bad).await;
        assert_eq!(refusal(&refused), (422, "auth.invalid_field".to_owned()), "{bad}");
        let error = refused.json()["errors"][0].clone();
        assert_eq!(error["pointer"], json!("/newPassword"));
        assert!(error["detail"].as_str().unwrap().contains(why), "{error}");
    }
    change(&world, &here.access, PASSWORD, NEW).await.expect(StatusCode::NO_CONTENT);
    world.me(&here.access).await.expect(StatusCode::OK);
    world.refresh(&here.refresh).await.expect(StatusCode::OK);
    for ended in [&elsewhere, &other_tenant] {
        assert_eq!(refusal(&world.me(&ended.access).await), (401, "auth.session_ended".to_owned()));
        assert_eq!(world.refresh(&ended.refresh).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.login("ann", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    world.login("ann", NEW).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn guessing_the_present_password_locks_as_a_login_does() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    for _ in 0..5 {
        let wrong = change(&world, &token, "not the old password", NEW).await;
        assert_eq!(refusal(&wrong), (401, "auth.password_wrong".to_owned()));
    }
    // The right one is no better now, here and at a login from here.
    assert_eq!(change(&world, &token, PASSWORD, NEW).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.login("ann", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn the_three_legacy_forms_let_in_once_and_are_replaced() -> anyhow::Result<()> {
    let world = World::new().await?;
    let owner = world.db.client("neo_user").await?;
    for (name, stored) in [
        // The vectors of the unit tests (`domain::legacy_hash`), and bcrypt with the cost that the legacy system used.
        ("one column", "AAECAwQFBgcICQoLDA0ODzpobfjMiPZZpi8Lwj27EobhkXnNhe9bIWtwZEZyql5m"),
        (
            "two columns",
            "$pbkdf2-sha256$i=100000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=$bad8BaunKfqTsl6pWp6g3wXiBpl0jT1SghOr5rMIlnU=",
        ),
        ("bcrypt", "$2a$10$q0KL.609LelPDmPXaALjEugNsFkfEIG4X.6/XPPp2S5pB3XJq2Hsq"),
    ] {
        let user = world.add(name, &["User"]).await;
        owner.execute("UPDATE auth.users SET password_hash = $2 WHERE id = $1", &[&user, &stored]).await?;
        let hash = async || -> anyhow::Result<String> {
            let sql = "SELECT password_hash FROM auth.users WHERE id = $1";
            Ok(owner.query_one(sql, &[&user]).await?.get(0))
        };
        let wrong = world.login(name, "legacy house battery").await;
        assert_eq!(refusal(&wrong), (401, "auth.invalid_credentials".to_owned()), "{name}");
        assert_eq!(hash().await?, stored, "a wrong password replaces nothing");
        world.login(name, OLD).await.expect(StatusCode::OK);
        let renewed = hash().await?;
        assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{name}: {renewed}");
        world.login(name, OLD).await.expect(StatusCode::OK);
        assert_eq!(hash().await?, renewed, "it is replaced once");
    }
    Ok(())
}

#[tokio::test]
async fn an_administrator_cannot_give_a_password_that_is_easy_to_guess() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let user = json!({"username": "wilhelmina82", "password": "wilhelmina82!", "email": "w@example.org"});
    let response = world.create(&admin, &user).await;
    assert_eq!(refusal(&response), (422, "auth.invalid_field".to_owned()));
    let detail = response.json()["errors"][0]["detail"].to_string();
    assert!(detail.contains("easy to guess"), "{detail}");
    Ok(())
}
