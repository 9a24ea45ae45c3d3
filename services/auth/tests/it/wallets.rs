//! Sign-in with wallets of Neo N3 and EVM. The signatures are made here; `make test-chains` has them made by the wallets
//! of others.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::join_all;
use jiff::SignedDuration;
use nsl_auth::WalletConfig;
use nsl_core::ids::TenantId;
use nsl_crypto::digest::sha256;
use nsl_testkit::{TestDb, eventually};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::wallet::{Challenge, SALT, Wallet, asked, challenge, classic, enter, login, seconds, sections};
use crate::world::{Root, Tokens, World, id, refusal, start_with};

#[tokio::test]
async fn a_wallet_of_each_form_logs_in_and_stays_the_same_user() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    let (neo, evm) = (Wallet::n3(), Wallet::evm(1));
    for wallet in [&neo, &evm] {
        let given = challenge(app, wallet, json!({})).await;
        for part in ["localhost", &wallet.address(), "Sign in to", &given.nonce, "Expiration Time: "] {
            assert!(given.text.contains(part), "{part}: {}", given.text);
        }
        let response = login(app, &wallet.answers(&given.text)).await.expect(StatusCode::OK);
        assert_eq!(response.header("cache-control"), "no-store");
        let me = world.me(&Tokens::of(&response).access).await.expect(StatusCode::OK).json();
        assert_eq!((&me["username"], &me["roles"]), (&json!(wallet.address()), &json!(["User"])));
        assert_eq!(me["tenantId"], json!(TenantId::DEFAULT));
    }
    // The same wallet in its other forms.
    let me = id(&world.me(&enter(app, &neo).await.access).await.json());
    let given = challenge(app, &neo, json!({})).await;
    let plain = neo.shows(&given.text, &neo.sign(&classic(&given.text)));
    let given = challenge(app, &neo, json!({})).await;
    let mut salted = neo.shows(&given.text, &neo.sign(&classic(&format!("{SALT}{}", given.text))));
    salted["salt"] = json!(SALT);
    let given = challenge(app, &neo, json!({"form": "nep20"})).await;
    let authenticated = neo.authenticates(&given, seconds(app) + 1);
    for proof in [plain, salted, authenticated] {
        let tokens = Tokens::of(&login(app, &proof).await.expect(StatusCode::OK));
        assert_eq!(id(&world.me(&tokens.access).await.expect(StatusCode::OK).json()), me, "{proof}");
    }
    // An address is the same in lower case.
    let given = challenge(app, &evm, json!({"address": evm.address().to_lowercase()})).await;
    let mut proof = evm.answers(&given.text);
    proof["address"] = json!(evm.address().to_lowercase());
    login(app, &proof).await.expect(StatusCode::OK);
    let owner = world.db.client("neo_user").await?;
    let users: i64 = owner.query_one("SELECT count(*) FROM auth.users", &[]).await?.get(0);
    assert_eq!(users, 3, "the administrator and one for each wallet");
    Ok(())
}

#[tokio::test]
async fn a_challenge_is_answered_once() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    for (wallet, form) in [(Wallet::n3(), "text"), (Wallet::evm(1), "text"), (Wallet::n3(), "nep20")] {
        let given = challenge(app, &wallet, json!({"form": form})).await;
        let proof = match form {
            "nep20" => wallet.authenticates(&given, seconds(app)),
            _ => wallet.answers(&given.text),
        };
        // At the same time, the first login of the wallet among them.
        let answers = join_all((0..8).map(|_| login(app, &proof))).await;
        let good = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(good, 1, "{form}: {answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
            let (status, code) = refusal(answer);
            assert_eq!((status, code.as_str()), (401, "auth.wallet_nonce_used"));
        }
        // And later.
        assert_eq!(refusal(&login(app, &proof).await), (401, "auth.wallet_nonce_used".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn text_for_another_site_network_wallet_or_purpose_is_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    let elsewhere = WalletConfig { domain: Some("evil.example".to_owned()), ..WalletConfig::default() };
    let elsewhere = start_with(world.db.base(), sections(elsewhere), &world.root).await?;
    let mut other_audience = sections(WalletConfig::default());
    other_audience.jwt.audience = "another".to_owned();
    let other_audience = start_with(world.db.base(), other_audience, &world.root).await?;

    for (wallet, other) in [(Wallet::n3(), Wallet::n3()), (Wallet::evm(1), Wallet::evm(2))] {
        let (chain, network) = wallet.network();
        let given = challenge(app, &wallet, json!({})).await;
        let text = given.text.clone();
        let of_site = challenge(&elsewhere, &wallet, json!({})).await.text;
        let of_audience = challenge(&other_audience, &wallet, json!({})).await.text;
        let of_other = challenge(app, &other, json!({})).await;
        let to_link = challenge(app, &wallet, json!({"purpose": "link"})).await.text;
        let test_net = if chain == "n3" { "894710606" } else { "12227332" };
        let nonce_of_other = text.replace(&given.nonce, &of_other.nonce);
        let unknown_network = text.replace(&format!("Chain ID: {network}"), "Chain ID: 1");
        let test_network = text.replace(&format!("Chain ID: {network}"), &format!("Chain ID: {test_net}"));
        let site_changed = text.replace("localhost", "evil.example");
        let without_expiry = text.split("\nExpiration Time: ").next().unwrap().to_owned();
        let other_nonce = text.replace(&given.nonce, "0123456789abcdef");
        for (message, code) in [
            (of_site, "auth.wallet_origin_mismatch"),
            (site_changed, "auth.wallet_origin_mismatch"),
            (of_audience, "auth.wallet_nonce_invalid"),
            (to_link, "auth.wallet_nonce_invalid"),
            (nonce_of_other, "auth.wallet_nonce_invalid"),
            (other_nonce, "auth.wallet_nonce_invalid"),
            (unknown_network, "auth.wallet_network_mismatch"),
            (test_network, "auth.wallet_nonce_invalid"),
            (format!("{text}\n"), "auth.wallet_message_invalid"),
            (String::new(), "auth.wallet_message_invalid"),
            ("x".repeat(9000), "auth.wallet_message_invalid"),
        ] {
            let answer = login(app, &wallet.answers(&message)).await;
            assert_eq!(refusal(&answer), (401, code.to_owned()), "{message}");
        }
        // What a wallet did not sign.
        let mut changed = wallet.answers(&text);
        changed["message"] = json!(without_expiry);
        assert_eq!(refusal(&login(app, &changed).await), (401, "auth.wallet_signature_invalid".to_owned()));
        let by_other = wallet.shows(&text, &other.sign(text.as_bytes()));
        assert_eq!(refusal(&login(app, &by_other).await), (401, "auth.wallet_signature_invalid".to_owned()));
        let mut unsigned = wallet.answers(&text);
        unsigned.as_object_mut().unwrap().remove("signature");
        assert_eq!(refusal(&login(app, &unsigned).await), (401, "auth.wallet_signature_invalid".to_owned()));
        // In the name of another.
        let mut claimed = wallet.answers(&text);
        claimed["address"] = json!(other.address());
        assert_eq!(refusal(&login(app, &claimed).await), (401, "auth.wallet_address_mismatch".to_owned()));
        let swapped = json!({"chain": if chain == "n3" { "evm" } else { "n3" }});
        let mut swapped_chain = wallet.answers(&text);
        swapped_chain["chain"] = swapped["chain"].clone();
        assert_eq!(
            refusal(&login(app, &swapped_chain).await),
            (401, "auth.wallet_address_mismatch".to_owned())
        );
        // The challenge itself was good all along.
        login(app, &wallet.answers(&text)).await.expect(StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn a_payload_of_nep20_binds_what_its_signature_does_not() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    let (wallet, other) = (Wallet::n3(), Wallet::n3());
    let elsewhere = WalletConfig { domain: Some("evil.example".to_owned()), ..WalletConfig::default() };
    let elsewhere = start_with(world.db.base(), sections(elsewhere), &world.root).await?;
    let nep20 = json!({"form": "nep20"});
    let given = challenge(app, &wallet, nep20.clone()).await;
    let foreign = challenge(&elsewhere, &wallet, nep20.clone()).await;
    let of_other = challenge(app, &other, nep20.clone()).await;
    let to_link = challenge(app, &wallet, json!({"form": "nep20", "purpose": "link"})).await;
    let at = seconds(app);
    // The payload of one challenge, the nonce of another.
    let mixed = Challenge { text: given.text.clone(), nonce: challenge(app, &wallet, nep20).await.nonce };
    for (challenge, code) in [
        (&foreign, "auth.wallet_nonce_invalid"),
        (&of_other, "auth.wallet_nonce_invalid"),
        (&to_link, "auth.wallet_nonce_invalid"),
        (&mixed, "auth.wallet_nonce_invalid"),
    ] {
        let answer = login(app, &wallet.authenticates(challenge, at)).await;
        assert_eq!(refusal(&answer), (401, code.to_owned()));
    }
    let late = wallet.authenticates(&given, at + 3600);
    assert_eq!(refusal(&login(app, &late).await), (401, "auth.wallet_challenge_not_yet_valid".to_owned()));
    let mut claimed = other.authenticates(&given, at);
    claimed["address"] = json!(wallet.address());
    assert_eq!(refusal(&login(app, &claimed).await), (401, "auth.wallet_address_mismatch".to_owned()));
    let good = wallet.authenticates(&given, at);
    let mut nonsense = good.clone();
    nonsense["message"] = json!("{}");
    assert_eq!(refusal(&login(app, &nonsense).await), (401, "auth.wallet_message_invalid".to_owned()));
    login(app, &good).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_challenge_is_good_for_five_minutes() -> anyhow::Result<()> {
    let world = World::new().await?;
    let app = &world.app;
    let neo = Wallet::n3();
    let text = challenge(app, &neo, json!({})).await;
    let payload = challenge(app, &neo, json!({"form": "nep20"})).await;
    let proofs = [neo.answers(&text.text), neo.authenticates(&payload, seconds(app))];
    app.context().clock().advance(SignedDuration::from_mins(5));
    for proof in proofs {
        assert_eq!(refusal(&login(app, &proof).await), (401, "auth.wallet_challenge_expired".to_owned()));
    }
    let text = challenge(app, &neo, json!({})).await.text;
    app.context().clock().advance(SignedDuration::from_secs(295));
    login(app, &neo.answers(&text)).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_challenge_is_for_a_wallet_and_a_network_that_are_served() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (neo, evm) = (Wallet::n3(), Wallet::evm(1));
    let mistyped = neo.address().replacen('N', "M", 1);
    for (wallet, with, pointer) in [
        (&neo, json!({"network": 1}), "/network"),
        (&neo, json!({"network": 5_000_000_000_u64}), "/network"),
        (&evm, json!({"network": 1}), "/network"),
        (&neo, json!({"address": mistyped}), "/address"),
        (&neo, json!({"address": evm.address()}), "/address"),
        (&evm, json!({"address": "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}), "/address"),
        (&evm, json!({"address": ""}), "/address"),
        (&evm, json!({"form": "nep20"}), "/form"),
    ] {
        let answer = asked(&world.app, wallet, with).await;
        assert_eq!(refusal(&answer), (422, "auth.invalid_field".to_owned()));
        assert_eq!(answer.json()["errors"][0]["pointer"], json!(pointer), "{}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn no_text_signature_or_key_fails_us() -> anyhow::Result<()> {
    let world = World::new().await?;
    let wallet = Wallet::n3();
    let given = challenge(&world.app, &wallet, json!({})).await;
    let good = wallet.answers(&given.text);
    let mut runner = TestRunner::default();
    let anything = prop_oneof![".*", "[0-9a-f]{128}", "0x[0-9a-f]{130}", "0[23][0-9a-f]{64}", "[{].*[}]"];
    for (place, name) in
        ["message", "signature", "publicKey", "salt", "nonce", "address"].into_iter().enumerate()
    {
        for _ in 0..30 {
            let mut proof = good.clone();
            // The proof is one without a salt, so an empty one changes nothing.
            let strategy = anything
                .clone()
                .prop_filter("it is the good proof", |text| name != "salt" || !text.is_empty());
            proof[name] = json!(strategy.new_tree(&mut runner).unwrap().current());
            for chain in ["n3", "evm"] {
                proof["chain"] = json!(chain);
                // From many addresses, or the limit for one of them would answer.
                let peer = Ipv4Addr::from_bits(0x0a00_0001 + (u32::try_from(place).unwrap() << 8));
                let request = world.app.post("/api/v1/auth/wallet/login").from(peer);
                let answer = request.json(&proof).send().await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{proof} {}", answer.text());
            }
        }
    }
    login(&world.app, &good).await.expect(StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn what_is_kept_of_an_answered_challenge_is_a_hash() -> anyhow::Result<()> {
    let world = World::new().await?;
    let wallet = Wallet::n3();
    let given = challenge(&world.app, &wallet, json!({})).await;
    login(&world.app, &wallet.answers(&given.text)).await.expect(StatusCode::OK);
    let owner = world.db.client("neo_user").await?;
    let kept: Vec<u8> = owner.query_one("SELECT nonce_hash FROM auth.wallet_nonces", &[]).await?.get(0);
    assert_eq!(kept, sha256(given.nonce.as_bytes()));
    let events = owner
        .query(
            "SELECT type FROM eventsourcing.events WHERE type LIKE 'auth.wallet%' OR type = 'auth.user_created' \
             ORDER BY type",
            &[],
        )
        .await?;
    let types: Vec<String> = events.iter().map(|row| row.get(0)).collect();
    // The administrator, and whoever has the wallet.
    assert_eq!(types, ["auth.user_created", "auth.user_created", "auth.wallet_linked"]);
    Ok(())
}

#[tokio::test]
async fn answered_challenges_are_purged_when_they_have_expired() -> anyhow::Result<()> {
    let (db, root) = (TestDb::new().await?, Root::new());
    let owner = db.client("neo_user").await?;
    owner
        .batch_execute(
            "INSERT INTO auth.wallet_nonces (nonce_hash, expires_at) VALUES \
                 (sha256('over'), now() - interval '1 minute'), (sha256('not over'), now() + interval '5 minutes')",
        )
        .await?;
    let app = start_with(db.base(), sections(WalletConfig::default()), &root).await?;
    eventually(Duration::from_secs(10), "the purge", async || {
        let left =
            owner.query("SELECT nonce_hash = sha256('not over') FROM auth.wallet_nonces", &[]).await.unwrap();
        left.len() == 1 && left[0].get(0)
    })
    .await;
    app.shut_down().await;
    Ok(())
}
