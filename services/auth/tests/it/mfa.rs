//! The second factor.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_auth::{Algorithm, AuthConfig, Sections};
use nsl_testkit::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, Tokens, World, claims, config, id, refusal};

/// An authenticator app, after RFC 6238 and RFC 4648: nothing of ours.
pub(crate) struct App(pub(crate) Vec<u8>);

impl App {
    fn of(secret: &str) -> Self {
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0_u16, 0);
        for c in secret.chars() {
            let five = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap();
            bits = (bits << 5) | u16::try_from(five).unwrap();
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count).unwrap());
                bits &= (1 << count) - 1;
            }
        }
        Self(bytes)
    }

    /// The code of the time step around now, or of one before or after.
    fn code(&self, world: &World, offset: i64) -> String {
        let step = world.app.context().clock().now().as_second() / 30 + offset;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let offset = usize::from(tag.as_ref()[19] & 15);
        let four: [u8; 4] = tag.as_ref()[offset..offset + 4].try_into().unwrap();
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }
}

async fn login(world: &World, username: &str, code: &str) -> Response {
    let body = json!({"username": username, "password": PASSWORD, "totpCode": code});
    world.app.post("/api/v1/auth/login").json(&body).send().await
}

async fn start(world: &World, token: &str) -> Response {
    world.app.post("/api/v1/auth/mfa/totp").bearer(token).send().await
}

async fn confirm(world: &World, token: &str, code: &str) -> Response {
    let body = json!({"code": code});
    world.app.post("/api/v1/auth/mfa/totp/confirm").bearer(token).json(&body).send().await
}

async fn remove(world: &World, token: &str, proof: &Value) -> Response {
    world.app.delete("/api/v1/auth/mfa/totp").bearer(token).json(proof).send().await
}

async fn status(world: &World, token: &str) -> Value {
    let response = world.app.get("/api/v1/auth/mfa/totp").bearer(token).send().await;
    response.expect(StatusCode::OK).json()
}

/// Gives a user a second factor; the code of the present step is spent by it.
pub(crate) async fn enrol(world: &World, token: &str) -> App {
    let made = start(world, token).await.expect(StatusCode::CREATED).json();
    let app = App::of(made["secret"].as_str().unwrap());
    confirm(world, token, &app.code(world, 0)).await.expect(StatusCode::NO_CONTENT);
    app
}

fn next_step(world: &World) {
    world.app.context().clock().advance(SignedDuration::from_secs(30));
}

#[tokio::test]
async fn a_second_factor_is_needed_once_it_is_confirmed() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    assert_eq!(refusal(&confirm(&world, &token, "123456").await), (409, "auth.totp_not_started".to_owned()));
    let response = start(&world, &token).await.expect(StatusCode::CREATED);
    assert_eq!(response.header("cache-control"), "no-store");
    let made = response.json();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(
        made["otpauthUrl"],
        json!(format!(
            "otpauth://totp/Neo%20Service%20Layer:ann?secret={secret}&issuer=Neo%20Service%20Layer\
             &algorithm=SHA1&digits=6&period=30"
        ))
    );
    assert!(made["qrSvg"].as_str().unwrap().contains("<svg"));
    // Until then logins go on without, and it can be begun anew.
    world.tokens("ann").await;
    let made = start(&world, &token).await.expect(StatusCode::CREATED).json();
    let (old, app) = (App::of(secret), App::of(made["secret"].as_str().unwrap()));
    let wrong = confirm(&world, &token, &old.code(&world, 0)).await;
    assert_eq!(refusal(&wrong), (401, "auth.totp_invalid".to_owned()));
    assert_eq!(status(&world, &token).await["enrolled"], json!(false));
    confirm(&world, &token, &app.code(&world, 0)).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(status(&world, &token).await["enrolled"], json!(true));
    assert_eq!(refusal(&start(&world, &token).await), (409, "auth.totp_enrolled".to_owned()));

    // Only who knows the password learns that a code is needed.
    assert_eq!(refusal(&world.login("ann", PASSWORD).await), (401, "auth.totp_required".to_owned()));
    let stranger = world.login("ann", "another long password").await;
    assert_eq!(refusal(&stranger), (401, "auth.invalid_credentials".to_owned()));
    next_step(&world);
    let tokens = Tokens::of(&login(&world, "ann", &app.code(&world, 0)).await.expect(StatusCode::OK));
    world.me(&tokens.access).await.expect(StatusCode::OK);
    // Nobody else needs one.
    assert_eq!(refusal(&login(&world, ADMIN, "123456").await), (422, "auth.totp_not_enrolled".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_code_is_good_once_and_none_before_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let app = enrol(&world, &world.tokens("ann").await.access).await;
    let refused = (401, "auth.totp_invalid".to_owned());
    // The one that confirmed is spent.
    assert_eq!(refusal(&login(&world, "ann", &app.code(&world, 0)).await), refused);
    next_step(&world);
    let code = app.code(&world, 0);
    login(&world, "ann", &code).await.expect(StatusCode::OK);
    assert_eq!(refusal(&login(&world, "ann", &code).await), refused);
    // A clock that is ahead: the next step's code, and then none of the steps before.
    login(&world, "ann", &app.code(&world, 1)).await.expect(StatusCode::OK);
    assert_eq!(refusal(&login(&world, "ann", &app.code(&world, 0)).await), refused);
    Ok(())
}

#[tokio::test]
async fn of_many_logins_with_one_code_one_wins() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let app = enrol(&world, &world.tokens("ann").await.access).await;
    next_step(&world);
    let code = app.code(&world, 0);
    let answers = futures::future::join_all((0..4).map(|_| login(&world, "ann", &code))).await;
    let let_in = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(let_in, 1, "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn guessed_codes_lock_as_guessed_passwords_do() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let app = enrol(&world, &world.tokens("ann").await.access).await;
    next_step(&world);
    let good = app.code(&world, 0);
    let bad = if good == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        assert_eq!(refusal(&login(&world, "ann", bad).await).1, "auth.totp_invalid");
    }
    assert_eq!(refusal(&login(&world, "ann", &good).await), (401, "auth.invalid_credentials".to_owned()));
    Ok(())
}

#[tokio::test]
async fn backup_codes_stand_in_once_each() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    let make = async || world.app.post("/api/v1/auth/mfa/backup-codes").bearer(&token).send().await;
    assert_eq!(refusal(&make().await), (409, "auth.totp_missing".to_owned()));
    enrol(&world, &token).await;
    let codes = |response: &Response| -> Vec<String> {
        let body = response.json();
        body["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    };
    let earlier = codes(&make().await.expect(StatusCode::CREATED));
    let present = codes(&make().await.expect(StatusCode::CREATED));
    assert_eq!((earlier.len(), present.len()), (10, 10));
    assert_eq!(status(&world, &token).await["backupCodesLeft"], json!(10));
    let refused = (401, "auth.totp_invalid".to_owned());
    assert_eq!(refusal(&login(&world, "ann", &earlier[0]).await), refused);
    // However it is typed.
    login(&world, "ann", &present[0].to_lowercase().replace('-', " ")).await.expect(StatusCode::OK);
    assert_eq!(refusal(&login(&world, "ann", &present[0]).await), refused);
    assert_eq!(status(&world, &token).await["backupCodesLeft"], json!(9));
    // Not another user's.
    world.add("bob", &["User"]).await;
    enrol(&world, &world.tokens("bob").await.access).await;
    assert_eq!(refusal(&login(&world, "bob", &present[1]).await), refused);

    // Shown once: a replay of the request says so.
    let with_key = async || {
        let request = world.app.post("/api/v1/auth/mfa/backup-codes").bearer(&token);
        request.header("Idempotency-Key", "k").send().await
    };
    with_key().await.expect(StatusCode::CREATED);
    assert_eq!(refusal(&with_key().await), (409, "core.secret_already_shown".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_second_factor_goes_with_a_proof_only() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    let by_password = json!({"password": PASSWORD});
    assert_eq!(refusal(&remove(&world, &token, &by_password).await), (409, "auth.totp_missing".to_owned()));
    let app = enrol(&world, &token).await;
    for (proof, expected) in [
        (json!({}), (422, "auth.proof_missing")),
        (json!({"password": PASSWORD, "code": "123456"}), (422, "auth.proof_missing")),
        (json!({"password": "another long password"}), (401, "auth.password_wrong")),
        (json!({"code": "12345"}), (401, "auth.totp_invalid")),
        // Spent by the enrolment.
        (json!({"code": app.code(&world, 0)}), (401, "auth.totp_invalid")),
    ] {
        assert_eq!(refusal(&remove(&world, &token, &proof).await), (expected.0, expected.1.to_owned()));
    }
    next_step(&world);
    let by_code = json!({"code": app.code(&world, 0)});
    remove(&world, &token, &by_code).await.expect(StatusCode::NO_CONTENT);
    world.tokens("ann").await;
    enrol(&world, &token).await;
    remove(&world, &token, &by_password).await.expect(StatusCode::NO_CONTENT);
    world.tokens("ann").await;
    Ok(())
}

#[tokio::test]
async fn a_role_that_needs_a_second_factor_reaches_nothing_without() -> anyhow::Result<()> {
    let world = World::with_sections(Sections {
        jwt: config(Algorithm::EdDSA),
        auth: AuthConfig { require_mfa_for_roles: vec!["administrator".to_owned()], ..AuthConfig::default() },
        ..Sections::default()
    })
    .await?;
    let tokens = world.tokens(ADMIN).await;
    assert_eq!(claims(&tokens.access)["scope"], json!("auth:self"));
    let users = async |token: &str| world.app.get("/api/v1/auth/users").bearer(token).send().await;
    assert_eq!(refusal(&users(&tokens.access).await), (403, "core.permission_missing".to_owned()));
    // A refresh is no way around.
    let refreshed = Tokens::of(&world.refresh(&tokens.refresh).await.expect(StatusCode::OK));
    assert_eq!(users(&refreshed.access).await.status, StatusCode::FORBIDDEN);
    let app = enrol(&world, &refreshed.access).await;
    let full = Tokens::of(&world.refresh(&refreshed.refresh).await.expect(StatusCode::OK));
    users(&full.access).await.expect(StatusCode::OK);
    next_step(&world);
    let again = Tokens::of(&login(&world, ADMIN, &app.code(&world, 0)).await.expect(StatusCode::OK));
    users(&again.access).await.expect(StatusCode::OK);
    // Others are not concerned.
    let user = json!({"username": "ann", "password": PASSWORD});
    world.create(&again.access, &user).await.expect(StatusCode::CREATED);
    let ann = world.tokens("ann").await.access;
    assert!(claims(&ann)["scope"].as_str().unwrap().contains("sgx:read"));
    Ok(())
}

async fn remove_of(world: &World, token: &str, user: Uuid) -> Response {
    world.app.delete(&format!("/api/v1/auth/users/{user}/mfa/totp")).bearer(token).send().await
}

#[tokio::test]
async fn an_administrator_helps_who_has_lost_the_second_factor() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let ann = world.add("ann", &["User"]).await;
    let token = world.tokens("ann").await.access;
    let says = |response: &Response, status: u16, code: &str| {
        assert_eq!(refusal(response), (status, code.to_owned()));
    };
    says(&remove_of(&world, &admin, ann).await, 409, "auth.totp_missing");
    enrol(&world, &token).await;
    world.app.post("/api/v1/auth/mfa/backup-codes").bearer(&token).send().await.expect(StatusCode::CREATED);

    // Nobody without the permission, nobody with an API key, and nobody their own: that would need no proof.
    says(&remove_of(&world, &token, ann).await, 403, "core.permission_missing");
    let body = json!({"name": "CI", "permissions": ["auth:users"]});
    let made = world.app.post("/api/v1/auth/api-keys").bearer(&admin).json(&body).send().await;
    let key = made.expect(StatusCode::CREATED).json()["key"].as_str().unwrap().to_owned();
    says(&remove_of(&world, &key, ann).await, 403, "auth.session_required");
    enrol(&world, &admin).await;
    let own = id(&world.me(&admin).await.json());
    says(&remove_of(&world, &admin, own).await, 403, "auth.totp_own");
    // Nor of who may do more, nor of another tenant's account.
    let body = json!({"name": "Clerk", "permissions": ["auth:self", "auth:users"]});
    world.app.post("/api/v1/auth/roles").bearer(&admin).json(&body).send().await.expect(StatusCode::CREATED);
    let clerk = json!({"username": "clerk", "password": PASSWORD, "roles": ["Clerk"]});
    world.create(&admin, &clerk).await.expect(StatusCode::CREATED);
    let clerk = world.tokens("clerk").await.access;
    says(&remove_of(&world, &clerk, own).await, 403, "auth.user_exceeds_caller");
    says(&remove_of(&world, &admin, Uuid::now_v7()).await, 404, "auth.user_not_found");

    remove_of(&world, &admin, ann).await.expect(StatusCode::NO_CONTENT);
    says(&world.me(&token).await, 401, "auth.session_ended");
    let again = world.tokens("ann").await.access;
    assert_eq!(status(&world, &again).await["backupCodesLeft"], json!(0));
    let owner = world.db.client("neo_user").await?;
    for sql in [
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'REMOVE_USER_TOTP' AND result = 'Success'",
        "SELECT count(*) FROM monitoring.security_events WHERE event_type = 'auth.totp_removed'",
        "SELECT count(*) FROM eventsourcing.events WHERE type = 'auth.totp_disabled'",
    ] {
        assert_eq!(owner.query_one(sql, &[]).await?.get::<_, i64>(0), 1, "{sql}");
    }
    Ok(())
}

/// The attack: a stolen access token makes backup codes, and one of them takes the second factor away.
#[tokio::test]
async fn a_backup_code_does_not_take_the_second_factor_away() -> anyhow::Result<()> {
    let world = World::new().await?;
    let stolen = world.tokens(ADMIN).await.access;
    enrol(&world, &stolen).await;
    let made = world.app.post("/api/v1/auth/mfa/backup-codes").bearer(&stolen).send().await;
    let code = made.expect(StatusCode::CREATED).json()["codes"][0].as_str().unwrap().to_owned();
    let answer = remove(&world, &stolen, &json!({"code": code})).await;
    assert_eq!(refusal(&answer), (401, "auth.totp_invalid".to_owned()));
    assert_eq!(status(&world, &stolen).await["backupCodesLeft"], json!(10));
    Ok(())
}
