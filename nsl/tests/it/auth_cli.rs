//! `nsl auth …`.

use std::fs::{self, File};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use nsl_chain::n3::PublicKey;
use serde_json::json;

use crate::installation::Installation;
use crate::program::{Outcome, finish};

/// Runs a command with a file for its stdin.
fn with_input(installation: &Installation, arguments: &[&str], input: &[u8]) -> Outcome {
    let file = installation.sandbox.path().join("input");
    fs::write(&file, input).unwrap();
    let arguments = installation.arguments(arguments);
    finish(installation.sandbox.nsl(&arguments).stdin(File::open(&file).unwrap()))
}

#[tokio::test]
async fn an_administrator_makes_users_and_sees_them() {
    let installation = Installation::new().await;
    let nsl = |arguments: &[&str]| installation.run(arguments);
    let me = nsl(&["auth", "me", "--json"]).success().json();
    assert_eq!((&me["username"], &me["permissions"]), (&json!("admin"), &json!(["*"])));
    assert!(nsl(&["auth", "me"]).success().text().contains("Administrator"));

    let create = [
        "auth",
        "user",
        "create",
        "ann",
        "--email",
        "ann@example.org",
        "--role",
        "Auditor",
        "--password-stdin",
    ];
    let made = with_input(&installation, &create, b"harvest quarrel lantern 7 voyage\n").success();
    assert!(made.text().starts_with("Made ann (Auditor): "), "{made:?}");
    let again = with_input(&installation, &create, b"harvest quarrel lantern 7 voyage\n").failure();
    assert!(again.contains("auth.username_taken"), "{again}");
    let short = ["auth", "user", "create", "bob", "--password-stdin"];
    let short = with_input(&installation, &short, b"short\n").failure();
    assert!(short.contains("/password: ") && short.contains("auth."), "{short}");

    let users = nsl(&["auth", "users", "--json"]).success().json();
    assert_eq!((&users[0]["username"], &users[1]["username"]), (&json!("admin"), &json!("ann")));
    assert!(nsl(&["auth", "users"]).success().text().contains("ann@example.org"));
    let shown = nsl(&["auth", "user", "show", "ANN", "--json"]).success().json();
    assert_eq!(shown, users[1]);
    assert!(nsl(&["auth", "user", "show", "bob"]).failure().contains("nsl auth users"));
    let keys = nsl(&["auth", "keys", "--json"]).success().json();
    assert!(keys[0]["kid"].is_string() && nsl(&["auth", "keys"]).success().text().contains("EdDSA"));
}

#[tokio::test]
async fn a_wallet_logs_in_and_has_an_account() {
    let installation = Installation::new().await;
    let url = installation.url().to_owned();
    let nsl = |arguments: &[&str]| installation.sandbox.run(arguments);
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = PublicKey::from_sec1(pair.public_key().as_ref()).unwrap();
    let (address, key) = (key.address().to_string(), key.to_string());

    let asked = ["auth", "wallet", "challenge", "--chain", "n3", "--address", &address, "--url", &url];
    let challenge = nsl(&asked).success();
    let signature = hex::encode(pair.sign(&SystemRandom::new(), &challenge.stdout).unwrap());
    let file = installation.sandbox.path().join("challenge");
    fs::write(&file, &challenge.stdout).unwrap();
    let login = [
        "auth",
        "wallet",
        "login",
        "--chain",
        "n3",
        "--address",
        &address,
        "--message",
        file.to_str().unwrap(),
        "--signature",
        &signature,
        "--public-key",
        &key,
        "--url",
        &url,
    ];
    assert!(nsl(&login).success().text().contains(&address));
    let again = nsl(&login).failure();
    assert!(again.contains("auth.wallet_nonce_used"), "{again}");

    // The saved login is the wallet's from now on.
    let me = nsl(&["auth", "me", "--json"]).success().json();
    assert_eq!((&me["username"], &me["roles"]), (&json!(address), &json!(["User"])));
    let wallets = nsl(&["auth", "wallets", "--json"]).success().json();
    assert_eq!((&wallets[0]["address"], &wallets[0]["chain"]), (&json!(address), &json!("n3")));
    let id = wallets[0]["id"].as_str().unwrap();
    assert!(nsl(&["auth", "wallet", "remove", id]).failure().contains("auth.wallet_last"));
    assert!(nsl(&["auth", "users"]).failure().contains("core.permission_missing"));
}

#[tokio::test]
async fn roles_and_locks_are_given_and_taken() {
    let installation = Installation::new().await;
    let nsl = |arguments: &[&str]| installation.run(arguments);
    let create = ["auth", "user", "create", "ann", "--password-stdin"];
    with_input(&installation, &create, b"harvest quarrel lantern 7 voyage\n").success();

    let made =
        nsl(&["auth", "role", "create", "Teller", "--permission", "voting:vote", "--permission", "sgx:read"]);
    assert_eq!(made.success().text(), "Made the role Teller: sgx:read voting:vote\n");
    let changed = nsl(&["auth", "role", "update", "Teller", "--permission", "voting:vote", "--json"]);
    assert_eq!(changed.success().json()["permissions"], json!(["voting:vote"]));
    assert!(nsl(&["auth", "role", "update", "Teller"]).failure().contains("--permission"));
    assert!(nsl(&["auth", "roles"]).success().text().contains("built-in"));
    let given = nsl(&["auth", "role", "give", "Teller", "ann", "--expires-at", "2100-01-01T00:00:00Z"]);
    assert!(given.success().text().contains("Teller"));
    assert!(nsl(&["auth", "role", "delete", "Teller"]).failure().contains("auth.role_"));
    nsl(&["auth", "role", "take", "Teller", "ann"]).success();
    nsl(&["auth", "role", "delete", "Teller"]).success();

    assert_eq!(nsl(&["auth", "user", "lock", "ann"]).success().text(), "ann is locked.\n");
    assert_eq!(nsl(&["auth", "user", "unlock", "ann", "--json"]).success().json()["status"], json!("active"));
    nsl(&["auth", "user", "delete", "ann"]).success();
    assert!(nsl(&["auth", "user", "lock", "ann"]).failure().contains("nsl auth users"));

    let made =
        nsl(&["auth", "tenant", "create", "acme", "--display-name", "Acme", "--json"]).success().json();
    assert_eq!((&made["name"], &made["status"]), (&json!("acme"), &json!("active")));
    assert_eq!(
        nsl(&["auth", "tenant", "suspend", "acme"]).success().text(),
        "The tenant acme is suspended.\n"
    );
    assert!(nsl(&["auth", "tenants"]).success().text().contains("Acme"));
}

#[tokio::test]
async fn ones_own_factors_keys_and_sessions() {
    let installation = Installation::new().await;
    let url = installation.url().to_owned();
    let create = ["auth", "user", "create", "ann", "--role", "Developer", "--password-stdin"];
    with_input(&installation, &create, b"harvest quarrel lantern 7 voyage\n").success();
    // Ann, with a saved login.
    let as_ann = |arguments: &[&str], input: &str| {
        let file = installation.sandbox.path().join("ann");
        fs::write(&file, input).unwrap();
        let mut command = installation.sandbox.nsl(arguments);
        finish(command.args(["--url", &url]).stdin(File::open(&file).unwrap()))
    };
    let login = ["login", "--username", "ann", "--password-stdin"];
    as_ann(&login, "harvest quarrel lantern 7 voyage").success();

    let sessions = as_ann(&["auth", "sessions", "--json"], "").success().json();
    assert_eq!((&sessions[0]["username"], &sessions[0]["current"]), (&json!("ann"), &json!(true)));
    assert!(as_ann(&["auth", "sessions", "--all"], "").failure().contains("auth:sessions"));
    let mine = installation.run(&["auth", "sessions", "--user", "ann", "--json"]).success().json();
    assert_eq!(mine[0]["id"], sessions[0]["id"]);

    let change = ["auth", "password", "change", "--passwords-stdin"];
    let wrong = as_ann(&change, "not the password\nlantern voyage 8 quarrel harvest\n").failure();
    assert!(wrong.contains("auth."), "{wrong}");
    as_ann(&change, "harvest quarrel lantern 7 voyage\nlantern voyage 8 quarrel harvest\n").success();

    assert!(as_ann(&["auth", "mfa", "status"], "").success().text().contains("No second factor"));
    let begun = as_ann(&["auth", "mfa", "totp"], "").success();
    assert!(begun.text().contains('█') && begun.text().contains("--confirm CODE"), "{}", begun.text());
    let wrong = as_ann(&["auth", "mfa", "totp", "--confirm", "000000"], "").failure();
    assert!(wrong.contains("auth.totp_invalid"), "{wrong}");

    let made = as_ann(&["auth", "api-keys", "create", "ci", "--permission", "sgx:read"], "").success();
    let key = made.text().trim().to_owned();
    assert!(key.starts_with("nslk_") && made.stderr.contains("not shown again"), "{made:?}");
    let keys = as_ann(&["auth", "api-keys", "list", "--json"], "").success().json();
    assert_eq!((&keys[0]["name"], &keys[0]["permissions"]), (&json!("ci"), &json!(["sgx:read"])));
    let id = keys[0]["id"].as_str().unwrap().to_owned();
    let rotated = as_ann(&["auth", "api-keys", "rotate", &id, "--json"], "").success().json();
    assert_ne!(rotated["key"], json!(key));
    // In place of a login, for what it permits.
    let with_key = |arguments: &[&str]| {
        let mut command = installation.sandbox.nsl(arguments);
        finish(command.args(["--url", &url]).env("NSL_TOKEN", rotated["key"].as_str().unwrap()))
    };
    with_key(&["sgx", "list"]).success();
    assert!(with_key(&["auth", "users"]).failure().contains("core.permission_missing"));
    as_ann(&["auth", "api-keys", "revoke", &id], "").success();
    assert!(as_ann(&["auth", "api-keys", "list"], "").success().text().contains("revoked"));

    as_ann(&["auth", "session", "revoke", "--all"], "").success();
    assert!(as_ann(&["auth", "me"], "").failure().contains("nsl login"));
}
