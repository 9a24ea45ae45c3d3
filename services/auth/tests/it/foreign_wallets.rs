//! Sign-in from a challenge to tokens, signed by wallets that others wrote: neon-core, neo-mamba and ethers; and our
//! text as the library of EIP-4361's authors reads it.

#![expect(clippy::unwrap_used, reason = "a wallet that answers otherwise fails the test that asked it")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use nsl_crypto::random;
use serde_json::{Value, json};

use crate::world::{Tokens, World};

const N3_MAIN: u64 = 860_833_102;
const NEO_X: u64 = 47_763;
const SALT: &str = "543e66d70a56506f0a69aff35f25f794";

/// neon-core, ethers and siwe, on Node.js.
fn javascript(task: &Value) -> Value {
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed().join("node_modules")).arg(script("wallets.cjs"));
    run(&mut node, task)
}

/// neo-mamba, on Python, without the site's own packages and without files of bytecode beside the script.
fn python(task: &Value) -> Value {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", installed().join("python")).args(["-S", "-B"]).arg(script("wallets.py"));
    run(&mut python, task)
}

fn installed() -> PathBuf {
    match std::env::var_os("NSL_FOREIGN_WALLETS") {
        Some(directory) => directory.into(),
        None => {
            panic!(
                "set NSL_FOREIGN_WALLETS to what scripts/fetch-wallets.sh prints, or run `make test-chains`"
            )
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign-wallets").join(name)
}

fn run(command: &mut Command, task: &Value) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!([task]).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", output.status);
    let mut results: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    results.remove(0)
}

fn private_key() -> String {
    hex::encode(random::bytes::<32>())
}

async fn challenge(world: &World, body: &Value) -> Value {
    world.app.post("/api/v1/auth/wallet/challenge").json(body).send().await.expect(StatusCode::OK).json()
}

/// Whom a proof logs in as.
async fn enter(world: &World, proof: &Value) -> Value {
    let response =
        world.app.post("/api/v1/auth/wallet/login").json(proof).send().await.expect(StatusCode::OK);
    world.me(&Tokens::of(&response).access).await.expect(StatusCode::OK).json()["username"].clone()
}

/// Every form in which a wallet of Neo N3 signs a text.
async fn n3_texts(wallet: fn(&Value) -> Value) -> anyhow::Result<()> {
    let (world, key) = (World::new().await?, private_key());
    let address = wallet(&json!({"do": "n3", "key": key, "text": ""}))["address"].clone();
    let ask = json!({"chain": "n3", "address": address, "network": N3_MAIN});
    let mut forms = 0;
    for form in ["plain", "classic", "transaction"] {
        for salt in ["", SALT] {
            let text = challenge(&world, &ask).await["challenge"].as_str().unwrap().to_owned();
            let signed = wallet(&json!({"do": "n3", "key": key, "text": format!("{salt}{text}")}));
            let Some(signature) = signed.get(form) else { continue };
            let mut proof = json!({"chain": "n3", "address": address, "message": text, "signature": signature,
                "publicKey": signed["publicKey"]});
            if !salt.is_empty() {
                proof["salt"] = json!(salt);
            }
            assert_eq!(enter(&world, &proof).await, address, "{form} {salt}");
            forms += 1;
        }
    }
    assert!(forms >= 4, "{forms}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs wallets from npm: make test-chains"]
async fn neon_logs_in() -> anyhow::Result<()> {
    n3_texts(javascript).await
}

#[tokio::test]
#[ignore = "needs a wallet from PyPI: make test-chains"]
async fn neo_mamba_logs_in() -> anyhow::Result<()> {
    n3_texts(python).await
}

#[tokio::test]
#[ignore = "needs a wallet from PyPI: make test-chains"]
async fn neo_mamba_authenticates_by_nep20() -> anyhow::Result<()> {
    let (world, key) = (World::new().await?, private_key());
    let address = python(&json!({"do": "n3", "key": key, "text": ""}))["address"].clone();
    let ask = json!({"chain": "n3", "address": address, "network": N3_MAIN, "form": "nep20"});
    let given = challenge(&world, &ask).await;
    let payload: Value = serde_json::from_str(given["challenge"].as_str().unwrap())?;
    let answer = python(&json!({"do": "nep20", "key": key, "challenge": payload}));
    let proof =
        json!({"chain": "n3", "address": address, "message": answer.to_string(), "nonce": given["nonce"]});
    assert_eq!(enter(&world, &proof).await, address);
    Ok(())
}

#[tokio::test]
#[ignore = "needs wallets from npm: make test-chains"]
async fn ethers_logs_in_with_a_text_that_siwe_reads() -> anyhow::Result<()> {
    let (world, key) = (World::new().await?, format!("0x{}", private_key()));
    let address = javascript(&json!({"do": "evm", "key": key, "text": ""}))["address"].clone();
    let given = challenge(&world, &json!({"chain": "evm", "address": address, "network": NEO_X})).await;
    let read = javascript(&json!({"do": "siweRead", "text": given["challenge"]}));
    assert_eq!((&read["address"], &read["nonce"]), (&address, &given["nonce"]));
    assert_eq!((&read["domain"], &read["uri"]), (&json!("localhost"), &json!("http://localhost")));
    assert_eq!((&read["chainId"], &read["expirationTime"]), (&json!(NEO_X), &given["expiresAt"]));
    let signed = javascript(&json!({"do": "evm", "key": key, "text": given["challenge"]}));
    let proof = json!({"chain": "evm", "address": address, "message": given["challenge"],
        "signature": signed["signature"]});
    assert_eq!(enter(&world, &proof).await, address);
    Ok(())
}
