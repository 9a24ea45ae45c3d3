//! A token of `nsl login` in the hands of someone else's program: PyJWT verifies it by the published keys alone.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::installation::Installation;
use crate::program::finish;

/// Lets PyJWT verify, without the site's own packages and without files of bytecode beside the script.
fn pyjwt(task: &Value) -> Output {
    let installed = std::env::var_os("NSL_FOREIGN_WALLETS").unwrap_or_else(|| {
        panic!("set NSL_FOREIGN_WALLETS to what scripts/fetch-wallets.sh prints, or run `make test-chains`")
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign-wallets/tokens.py");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", PathBuf::from(installed).join("python")).args(["-S", "-B"]).arg(script);
    let pipes = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
#[ignore = "needs PyJWT from PyPI: make test-chains"]
async fn pyjwt_verifies_a_token_of_a_login_by_the_published_keys() {
    let installation = Installation::new().await;
    let url = installation.url().to_owned();
    let password = installation.credentials()["password"].as_str().unwrap().to_owned();
    let login = ["login", "--url", &url, "--username", "admin", "--password-stdin"];
    let file = installation.sandbox.path().join("password");
    std::fs::write(&file, password).unwrap();
    finish(installation.sandbox.nsl(&login).stdin(File::open(&file).unwrap())).success();
    let session = installation.sandbox.path().join("home/.config/nsl/session.json");
    let session: Value = serde_json::from_slice(&std::fs::read(session).unwrap()).unwrap();
    let token = session["accessToken"].as_str().unwrap();
    let task = json!({"jwks": format!("{url}/.well-known/jwks.json"), "token": token,
        "issuer": "neo-service-layer", "audience": "neo-service-layer"});

    let output = pyjwt(&task);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verified["header"]["typ"], &verified["header"]["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    assert_eq!((&verified["claims"]["name"], &verified["claims"]["scope"]), (&json!("admin"), &json!("*")));
    let keys = installation.run(&["auth", "keys", "--json"]).success().json();
    assert_eq!(keys[0]["kid"], verified["header"]["kid"]);

    // It looks at what it says that it does.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let mut other = signature.as_bytes().to_vec();
    other[10] = if other[10] == b'A' { b'B' } else { b'A' };
    let forged = format!("{head}.{}", String::from_utf8(other).unwrap());
    for (name, value, error) in [
        ("token", forged.as_str(), "InvalidSignatureError"),
        ("audience", "another", "InvalidAudienceError"),
        ("issuer", "another", "InvalidIssuerError"),
    ] {
        let mut wrong = task.clone();
        wrong[name] = json!(value);
        let output = pyjwt(&wrong);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(error), "{name}: {stderr}");
    }
}
