//! The accounts of wallets: made at the first login, linked, closed, with a second factor.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use futures::future::join_all;
use jiff::SignedDuration;
use nsl_auth::WalletConfig;
use serde_json::{Value, json};

use crate::wallet::{Wallet, challenge, enter, link, login, seconds, sections};
use crate::world::{ADMIN, PASSWORD, World, id, refusal, start_with};

#[tokio::test]
async fn where_wallets_make_no_accounts_only_linked_ones_log_in() -> anyhow::Result<()> {
    let world = World::new().await?;
    let closed = WalletConfig { auto_register: false, ..WalletConfig::default() };
    let app = start_with(world.db.base(), sections(closed), &world.root).await?;
    let wallet = Wallet::evm(1);
    let text = challenge(&app, &wallet, json!({})).await.text;
    assert_eq!(refusal(&login(&app, &wallet.answers(&text)).await), (401, "auth.wallet_unknown".to_owned()));
    let admin = world.tokens(ADMIN).await.access;
    let text = challenge(&app, &wallet, json!({"purpose": "link"})).await.text;
    link(&app, &admin, &wallet.answers(&text)).await.expect(StatusCode::CREATED);
    let me = world.me(&enter(&app, &wallet).await.access).await.expect(StatusCode::OK).json();
    assert_eq!(me["username"], json!(ADMIN));

    let unknown = WalletConfig { default_role: "Emperor".to_owned(), ..WalletConfig::default() };
    let error = start_with(world.db.base(), sections(unknown), &world.root).await.err().unwrap().to_string();
    assert!(error.contains("Wallet:DefaultRole is Emperor"), "{error}");
    Ok(())
}

#[tokio::test]
async fn wrong_passwords_do_not_lock_a_wallet_and_an_administrator_does() -> anyhow::Result<()> {
    let world = World::new().await?;
    let wallet = Wallet::n3();
    enter(&world.app, &wallet).await;
    let owner = world.db.client("neo_user").await?;
    let set = async |sql: &str| -> anyhow::Result<()> {
        let sql = format!("UPDATE auth.users SET {sql} WHERE username LIKE 'N%'");
        assert_eq!(owner.execute(&sql, &[]).await?, 1);
        Ok(())
    };
    set("locked_until = now() + interval '1 hour', failed_attempts = 5").await?;
    enter(&world.app, &wallet).await;
    for status in ["locked", "disabled"] {
        set(&format!("status = '{status}'")).await?;
        let text = challenge(&world.app, &wallet, json!({})).await.text;
        let answer = login(&world.app, &wallet.answers(&text)).await;
        assert_eq!(refusal(&answer), (401, "auth.wallet_account_closed".to_owned()));
    }
    set("status = 'active'").await?;
    enter(&world.app, &wallet).await;
    let row = owner
        .query_one(
            "SELECT count(*) FILTER (WHERE success), count(*) FILTER (WHERE reason = 'wallet_account_closed') \
             FROM auth.login_attempts",
            &[],
        )
        .await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 2));
    Ok(())
}

/// The code of an authenticator app (RFC 6238) for a secret in base 32.
fn totp(secret: &str, at: i64) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut held, mut key) = (0_u32, 0, Vec::new());
    for letter in secret.trim_end_matches('=').bytes() {
        let value = letters.iter().position(|known| *known == letter).unwrap();
        bits = bits << 5 | u32::try_from(value).unwrap();
        held += 5;
        if held >= 8 {
            held -= 8;
            key.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &(at / 30).to_be_bytes());
    let offset = usize::from(tag.as_ref()[19] & 15);
    let number = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[tokio::test]
async fn a_second_factor_is_asked_of_a_wallet_too() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    world.add("ann", &["User"]).await;
    let ann = world.tokens("ann").await.access;
    let wallet = Wallet::n3();
    let text = challenge(app, &wallet, json!({"purpose": "link"})).await.text;
    link(app, &ann, &wallet.answers(&text)).await.expect(StatusCode::CREATED);
    let begun =
        app.post("/api/v1/auth/mfa/totp").bearer(&ann).send().await.expect(StatusCode::CREATED).json();
    let secret = begun["secret"].as_str().unwrap();
    let confirm = json!({"code": totp(secret, seconds(app))});
    app.post("/api/v1/auth/mfa/totp/confirm")
        .bearer(&ann)
        .json(&confirm)
        .send()
        .await
        .expect(StatusCode::NO_CONTENT);

    app.context().clock().advance(SignedDuration::from_secs(60));
    let with_code = |proof: &Value, code: &str| {
        let mut proof = proof.clone();
        proof["totpCode"] = json!(code);
        proof
    };
    let proof = wallet.answers(&challenge(app, &wallet, json!({})).await.text);
    assert_eq!(refusal(&login(app, &proof).await), (401, "auth.totp_required".to_owned()));
    // The same signature with the code: the challenge was not spent.
    let code = totp(secret, seconds(app));
    login(app, &with_code(&proof, &code)).await.expect(StatusCode::OK);
    let proof = wallet.answers(&challenge(app, &wallet, json!({})).await.text);
    let replayed = login(app, &with_code(&proof, &code)).await;
    assert_eq!(refusal(&replayed), (401, "auth.totp_invalid".to_owned()));

    // Whoever has the key alone may guess five times, and then the right code does not help either.
    for _ in 0..4 {
        let proof = wallet.answers(&challenge(app, &wallet, json!({})).await.text);
        let wrong = login(app, &with_code(&proof, "000000")).await;
        assert_eq!(refusal(&wrong), (401, "auth.totp_invalid".to_owned()));
    }
    app.context().clock().advance(SignedDuration::from_secs(60));
    let proof = wallet.answers(&challenge(app, &wallet, json!({})).await.text);
    let locked = login(app, &with_code(&proof, &totp(secret, seconds(app)))).await;
    assert_eq!(refusal(&locked), (401, "auth.wallet_account_closed".to_owned()));

    // A code of an account without a second factor would only seem to protect.
    let plain = Wallet::n3();
    let proof = plain.answers(&challenge(app, &plain, json!({})).await.text);
    let needless = login(app, &with_code(&proof, "000000")).await;
    assert_eq!(refusal(&needless), (422, "auth.totp_not_enrolled".to_owned()));
    login(app, &proof).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_wallet_is_linked_to_one_account_and_removed_from_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    world.add("ann", &["Developer"]).await;
    world.add("bob", &["User"]).await;
    let (ann, bob) = (world.tokens("ann").await.access, world.tokens("bob").await.access);
    let wallet = Wallet::n3();
    let to_link = async || challenge(app, &wallet, json!({"purpose": "link"})).await.text;

    // A challenge to log in links nothing: a page that got it signed could add the wallet to an account of its own.
    let text = challenge(app, &wallet, json!({})).await.text;
    let answer = link(app, &bob, &wallet.answers(&text)).await;
    assert_eq!(refusal(&answer), (401, "auth.wallet_nonce_invalid".to_owned()));
    let text = to_link().await;
    assert!(text.contains("Let this wallet sign in to your account"), "{text}");
    let proof = wallet.answers(&text);
    let keyed = async || {
        let request = app.post("/api/v1/auth/wallets").bearer(&ann).header("Idempotency-Key", "k1");
        request.json(&proof).send().await.expect(StatusCode::CREATED)
    };
    let made = keyed().await;
    assert_eq!(made.header("location"), format!("/api/v1/auth/wallets/{}", id(&made.json())));
    assert_eq!((&made.json()["chain"], &made.json()["address"]), (&json!("n3"), &json!(wallet.address())));
    assert_eq!(keyed().await.json(), made.json());
    assert_eq!(refusal(&link(app, &ann, &proof).await), (401, "auth.wallet_nonce_used".to_owned()));
    // Whoever found an API key must not let a wallet of their own in.
    let body = json!({"name": "ci", "permissions": ["auth:self"]});
    let key =
        app.post("/api/v1/auth/api-keys").bearer(&ann).json(&body).send().await.expect(StatusCode::CREATED);
    let key = key.json()["key"].as_str().unwrap().to_owned();
    let other = Wallet::evm(1);
    let text = challenge(app, &other, json!({"purpose": "link"})).await.text;
    let answer = link(app, &key, &other.answers(&text)).await;
    assert_eq!(refusal(&answer), (403, "auth.session_required".to_owned()));
    for token in [&ann, &bob] {
        let answer = link(app, token, &wallet.answers(&to_link().await)).await;
        assert_eq!(refusal(&answer), (409, "auth.wallet_taken".to_owned()));
    }
    let me = world.me(&enter(app, &wallet).await.access).await.expect(StatusCode::OK).json();
    assert_eq!((&me["username"], &me["roles"]), (&json!("ann"), &json!(["Developer"])));

    let list = async |token: &str| {
        app.get("/api/v1/auth/wallets").bearer(token).send().await.expect(StatusCode::OK).json()["items"]
            .clone()
    };
    assert_eq!(list(&ann).await[0]["id"], made.json()["id"]);
    assert!(list(&ann).await[0]["lastUsedAt"].is_string());
    assert_eq!(list(&bob).await, json!([]));
    let path = format!("/api/v1/auth/wallets/{}", id(&made.json()));
    let removed = app.delete(&path).bearer(&bob).send().await;
    assert_eq!(refusal(&removed), (404, "auth.wallet_not_found".to_owned()));
    app.delete(&path).bearer(&ann).send().await.expect(StatusCode::NO_CONTENT);
    assert_eq!(refusal(&app.delete(&path).bearer(&ann).send().await).0, 404);
    // From then on it is a stranger's.
    let me = world.me(&enter(app, &wallet).await.access).await.expect(StatusCode::OK).json();
    assert_eq!(me["username"], json!(wallet.address()));
    Ok(())
}

#[tokio::test]
async fn the_last_way_into_an_account_stays() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    let (first, second) = (Wallet::n3(), Wallet::evm(1));
    let token = enter(app, &first).await.access;
    let wallets = async || {
        let list = app.get("/api/v1/auth/wallets").bearer(&token).send().await.expect(StatusCode::OK).json();
        list["items"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    let remove = async |id| app.delete(&format!("/api/v1/auth/wallets/{id}")).bearer(&token).send().await;
    assert_eq!(refusal(&remove(wallets().await[0]).await), (409, "auth.wallet_last".to_owned()));
    let text = challenge(app, &second, json!({"purpose": "link"})).await.text;
    link(app, &token, &second.answers(&text)).await.expect(StatusCode::CREATED);
    // Both at the same time.
    let both = wallets().await;
    let answers = join_all(both.iter().map(|id| remove(*id))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    assert_eq!(wallets().await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn nobody_keeps_a_wallet_out_by_taking_its_address_for_a_name() -> anyhow::Result<()> {
    let world = World::new().await?;
    let wallet = Wallet::evm(1);
    let squatter = world.add(&wallet.address().to_lowercase(), &["User"]).await;
    let me = world.me(&enter(&world.app, &wallet).await.access).await.expect(StatusCode::OK).json();
    assert_ne!(id(&me), squatter);
    assert!(me["username"].as_str().unwrap().starts_with(&wallet.address()), "{me}");
    // An account of a wallet has no password.
    let answer = world.login(me["username"].as_str().unwrap(), PASSWORD).await;
    assert_eq!(refusal(&answer), (401, "auth.invalid_credentials".to_owned()));
    Ok(())
}

/// The attack: strangers guess the password of an account until its wallet, too, is refused.
#[tokio::test]
async fn wrong_passwords_do_not_lock_a_wallet_with_a_second_factor() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (app, wallet) = (&world.app, Wallet::n3());
    world.add("ann", &["User"]).await;
    let ann = world.tokens("ann").await.access;
    let text = challenge(app, &wallet, json!({"purpose": "link"})).await.text;
    link(app, &ann, &wallet.answers(&text)).await.expect(StatusCode::CREATED);
    let begun = app.post("/api/v1/auth/mfa/totp").bearer(&ann).send().await.expect(StatusCode::CREATED);
    let begun = begun.json();
    let secret = begun["secret"].as_str().unwrap();
    let confirm = json!({"code": totp(secret, seconds(app))});
    let confirmed = app.post("/api/v1/auth/mfa/totp/confirm").bearer(&ann).json(&confirm).send().await;
    confirmed.expect(StatusCode::NO_CONTENT);
    for _ in 0..6 {
        world.login("ann", "a wrong password of the tests").await.expect(StatusCode::UNAUTHORIZED);
    }
    app.context().clock().advance(SignedDuration::from_secs(60));
    let enter = async |code: String| {
        let mut proof = wallet.answers(&challenge(app, &wallet, json!({})).await.text);
        proof["totpCode"] = json!(code);
        login(app, &proof).await
    };
    enter(totp(secret, seconds(app))).await.expect(StatusCode::OK);
    // Guessed codes lock it, and then no answer tells a right code from a wrong one.
    for _ in 0..5 {
        assert_eq!(refusal(&enter("000000".to_owned()).await), (401, "auth.totp_invalid".to_owned()));
    }
    app.context().clock().advance(SignedDuration::from_secs(60));
    for code in ["000000".to_owned(), totp(secret, seconds(app))] {
        assert_eq!(refusal(&enter(code).await), (401, "auth.wallet_account_closed".to_owned()));
    }
    Ok(())
}
