//! The command line: what it prints where, how it ends, and what it says to do next.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nsl_postgres::Binaries;
use rustix::process::Signal;
use serde_json::Value;

use crate::installation::Installation;
use crate::program::{Outcome, Sandbox, finish};
use crate::random;

const CONTROL: [u8; 6] = [0, 255, b'\n', 13, 27, b'\n'];

/// Runs a command that reads something.
fn with_input(mut command: Command, input: &[u8]) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Outcome { code: output.status.code(), stdout: output.stdout, stderr }
}

#[tokio::test]
async fn values_go_in_and_out_byte_for_byte() {
    let installation = Installation::new().await;
    let nsl = |arguments: &[&str]| installation.run(arguments);

    // The two lines of the guide, word by word: a text, and nothing else on stdout.
    nsl(&["sgx", "put", "demo", "greeting", "--value", "hello"]).success();
    assert_eq!(nsl(&["sgx", "get", "demo", "greeting"]).success().stdout, b"hello");

    let put = installation.sandbox.nsl(&installation.arguments(&["sgx", "put", "demo", "a/b", "--json"]));
    let item = with_input(put, &CONTROL).success().json();
    assert_eq!((&item["version"], &item["size"]), (&1.into(), &CONTROL.len().into()));
    assert_eq!(nsl(&["sgx", "get", "demo", "a/b"]).success().stdout, CONTROL);

    let (from, to) = (installation.sandbox.path().join("from"), installation.sandbox.path().join("to"));
    let large = vec![random::<1024>(); 256].concat();
    std::fs::write(&from, &large).unwrap();
    nsl(&[
        "sgx",
        "put",
        "demo",
        "file",
        "--file",
        from.to_str().unwrap(),
        "--metadata",
        r#"{"owner":"ops"}"#,
    ])
    .success();
    nsl(&["sgx", "get", "demo", "file", "--output", to.to_str().unwrap()]).success();
    assert_eq!(std::fs::read(&to).unwrap(), large);
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let item = nsl(&["sgx", "get", "demo", "greeting", "--json"]).success().json();
    assert_eq!((&item["data"], &item["service"]), (&"aGVsbG8=".into(), &"demo".into()));
    assert!(nsl(&["sgx", "get", "demo", "file", "--info"]).success().text().contains(r#"{"owner":"ops"}"#));

    let keys = |items: &Value| -> Vec<String> {
        items.as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    let items = nsl(&["sgx", "list", "demo", "--json"]).success().json();
    assert_eq!(keys(&items), ["a/b", "file", "greeting"]);
    assert!(nsl(&["sgx", "list"]).success().text().contains("greeting"));

    // Conditions and deletion.
    let stderr = nsl(&["sgx", "put", "demo", "greeting", "--value", "x", "--if-version", "7"]).failure();
    assert!(stderr.contains("sgx.version_conflict") && stderr.contains("version 1"), "{stderr}");
    let stderr = nsl(&["sgx", "put", "demo", "greeting", "--value", "x", "--create-only"]).failure();
    assert!(stderr.contains("sgx.version_conflict"), "{stderr}");
    nsl(&["sgx", "delete", "demo", "greeting"]).success();
    let stderr = nsl(&["sgx", "get", "demo", "greeting"]).failure();
    assert!(stderr.starts_with("error: ") && stderr.contains("sgx.item_not_found"), "{stderr}");
    let stderr = nsl(&["sgx", "get", "demo", "greeting", "--json"]).failure();
    let error: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(error["error"]["code"], "sgx.item_not_found");
    let items = nsl(&["sgx", "list", "demo", "--json"]).success().json();
    assert_eq!(keys(&items), ["a/b", "file"]);
}

#[tokio::test]
async fn a_login_lasts_until_the_logout() {
    let mut installation = Installation::new().await;
    let credentials = installation.credentials();
    let (password, url) = (credentials["password"].as_str().unwrap(), installation.url().to_owned());
    let login = ["login", "--url", &url, "--username", "admin", "--password-stdin"];

    let stderr = with_input(installation.sandbox.nsl(&login), b"not the password\n").failure();
    assert!(stderr.contains("auth."), "{stderr}");
    let stderr = installation.sandbox.run(&["sgx", "list", "--url", &url]).failure();
    assert!(stderr.contains("nsl login"), "{stderr}");

    with_input(installation.sandbox.nsl(&login), format!("{password}\n").as_bytes()).success();
    let session = installation.sandbox.path().join("home/.config/nsl/session.json");
    assert_eq!(std::fs::metadata(&session).unwrap().permissions().mode() & 0o777, 0o600);
    // Without a folder and without an address: both are the login's.
    installation.sandbox.run(&["sgx", "put", "demo", "a", "--value", "x"]).success();
    assert_eq!(installation.sandbox.run(&["sgx", "get", "demo", "a"]).success().text(), "x");

    let token = serde_json::from_slice::<Value>(&std::fs::read(&session).unwrap()).unwrap()["accessToken"]
        .as_str()
        .unwrap()
        .to_owned();
    installation.sandbox.run(&["logout"]).success();
    assert!(!session.exists());
    assert!(installation.sandbox.run(&["sgx", "list", "--url", &url]).failure().contains("nsl login"));
    installation.sandbox.run(&["logout"]).failure();

    // What the logout ended is of no use any more, and a token by hand says so.
    installation.sandbox.set("NSL_TOKEN", &token);
    nsl_testkit::eventually(crate::PATIENCE, "the ended session is refused", async || {
        let outcome = installation.sandbox.run(&["sgx", "list", "--url", &url]);
        outcome.code == Some(1) && outcome.stderr.contains("NSL_TOKEN")
    })
    .await;

    // A service that is away is said to be.
    installation.sandbox.set("NSL_TOKEN", "");
    installation.stop(Signal::TERM).await;
    let stderr = installation.run(&["sgx", "list"]).failure();
    assert!(stderr.contains("no answer from") && stderr.contains("nsl up"), "{stderr}");
}

fn postgres() -> Binaries {
    let setting = std::env::var_os("NSL_PG_BIN").or_else(|| std::env::var_os("Database__BinDir"));
    Binaries::find(setting.as_deref().map(std::path::Path::new), None).unwrap()
}

/// A program of PostgreSQL's.
fn postgres_program(sandbox: &Sandbox, name: &str) -> Command {
    sandbox.program(postgres().tool(name).unwrap())
}

/// PostgreSQL 16 of `make test-postgres` has a server only; a test that needs more says that it did not run.
fn has_client_tools() -> bool {
    let there = postgres().tool("psql").is_some() && postgres().tool("pg_dump").is_some();
    if !there {
        eprintln!("not run: no psql and pg_dump beside this PostgreSQL");
    }
    there
}

#[tokio::test]
async fn every_role_has_a_url_that_psql_takes() {
    const COUNT: &str = "SELECT COUNT(*) FROM sgx.sealed_data_items;";
    if !has_client_tools() {
        return;
    }
    let installation = Installation::new().await;
    installation.run(&["sgx", "put", "demo", "greeting", "--value", "hello"]).success();
    let psql = |url: &str, sql: &str| {
        finish(postgres_program(&installation.sandbox, "psql").args(["-XAt", url, "-c", sql]))
    };
    let url =
        |role: &str| installation.run(&["db", "url", "--role", role]).success().text().trim_end().to_owned();
    for role in
        ["neo_user", "neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_auditor", "neo_backup"]
    {
        assert_eq!(psql(&url(role), "SELECT current_user").success().text().trim_end(), role);
    }
    assert_eq!(psql(&url("superuser"), "SELECT current_user").success().text().trim_end(), "postgres");
    let url_of_the_group = url("neo_readonly");
    assert!(url_of_the_group.contains("options=-crole%3Dneo_readonly"), "{url_of_the_group}");
    let stderr = installation.run(&["db", "url", "--role", "nobody"]).stderr;
    assert!(stderr.contains("neo_user"), "{stderr}");

    // The owner and the backup count what there is; the serving login of the API may not look.
    for role in ["neo_user", "neo_backup"] {
        assert_eq!(psql(&url(role), COUNT).success().text().trim_end(), "1", "{role}");
    }
    for role in ["neo_api", "neo_jobs", "neo_readonly", "neo_auditor"] {
        let refusal = psql(&url(role), COUNT);
        assert!(
            refusal.code != Some(0) && refusal.stderr.contains("permission denied"),
            "{role}: {refusal:?}"
        );
    }
    let psql_of_ours = installation.arguments(&["db", "psql", "--role", "neo_auditor"]);
    let mut command = installation.sandbox.nsl(&psql_of_ours);
    command.args(["--", "-XAtc", "SELECT current_user"]);
    assert_eq!(finish(&mut command).success().text().trim_end(), "neo_auditor");
}

#[tokio::test]
async fn the_commands_of_the_guide_work_word_by_word() {
    if !has_client_tools() {
        return;
    }
    let installation = Installation::new().await;
    installation.run(&["sgx", "put", "demo", "greeting", "--value", "hello"]).success();
    let postgres = &installation.ready["postgres"];
    if postgres["tcp"] != true {
        eprintln!("not run: this PostgreSQL is built without TLS, so there is no TCP");
        return;
    }
    // On the port that the guide means, when it was free; here it is whatever was.
    let port = postgres["port"].to_string();
    let guide = |program: &str, arguments: &[&str]| {
        let mut command = postgres_program(&installation.sandbox, program);
        command.env("PGPASSWORD", installation.secret("neo_user")).env("PGPORT", &port);
        command.args(["-h", "localhost", "-U", "neo_user", "-d", "neo_service_layer"]);
        finish(command.args(arguments))
    };
    let count = guide("psql", &["-c", "SELECT COUNT(*) FROM sgx.sealed_data_items;"]).success();
    assert!(count.text().contains("(1 row)") && count.text().contains("     1\n"), "{count:?}");
    guide("psql", &["-c", "SELECT version();"]).success();
    let dump = guide("pg_dump", &[]).success();
    for text in ["CREATE TABLE sgx.sealed_data_items", "CREATE TABLE auth.users", "\tgreeting\t"] {
        assert!(dump.text().contains(text), "no {text:?} in the dump");
    }
    let dump = guide("pg_dump", &["-n", "sgx"]).success();
    assert!(dump.text().contains("\tgreeting\t") && !dump.text().contains("CREATE TABLE auth.users"));

    // Never without TLS.
    let mut command = postgres_program(&installation.sandbox, "psql");
    let string = format!("host=localhost port={port} user=neo_user dbname=neo_service_layer sslmode=disable");
    let refusal =
        finish(command.env("PGPASSWORD", installation.secret("neo_user")).args([&string, "-c", "SELECT 1"]));
    assert!(refusal.stderr.contains("no encryption"), "{refusal:?}");
}

#[tokio::test]
async fn doctor_and_config_tell_what_is_wrong_and_no_secret() {
    let mut installation = Installation::new().await;
    let verdicts = |outcome: &Outcome| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = outcome.json();
        findings.as_array().unwrap().iter().map(|f| (text(&f["check"]), text(&f["verdict"]))).collect()
    };
    let outcome = installation.run(&["doctor", "--json"]).success();
    let well = verdicts(&outcome);
    assert!(well.iter().all(|(_, verdict)| verdict == "ok"), "{outcome:?}");
    for check in ["configuration", "PostgreSQL programs", "secret files", "database", "migrations", "service"]
    {
        assert!(well.iter().any(|(known, _)| known == check), "no {check}: {well:?}");
    }

    let shown = installation.run(&["config", "show"]).success();
    let as_json = installation.run(&["config", "show", "--json"]).success();
    for secret in ["neo_user", "neo_api", "neo_enclave", "neo_jobs", "jwt_secret_key", "sgx_encryption_key"] {
        let secret = installation.secret(secret);
        for outcome in [&shown, &as_json, &outcome] {
            assert!(!outcome.text().contains(&secret) && !outcome.stderr.contains(&secret));
        }
    }
    assert!(shown.text().contains("Jwt:SecretKey") && shown.text().contains("JWT_SECRET_KEY_FILE"));

    // A file that others can read, and a service that is away.
    let key = installation.data_dir().join("secrets/sgx_encryption_key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    installation.stop(Signal::TERM).await;
    let outcome = installation.run(&["doctor", "--json"]);
    assert_eq!(outcome.code, Some(1));
    for check in ["secret files", "database", "service"] {
        let failed = (check.to_owned(), "failed".to_owned());
        assert!(verdicts(&outcome).contains(&failed), "{check}: {outcome:?}");
    }
    assert!(outcome.stdout.windows(5).any(|text| text == b"chmod"), "{outcome:?}");
}

#[test]
fn secrets_are_fresh_strong_and_distinct() {
    let sandbox = Sandbox::new();
    let secrets = || -> Vec<String> {
        let printed = sandbox.run(&["secrets", "--json"]).success().json();
        printed.as_object().unwrap().values().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let (first, second) = (secrets(), secrets());
    assert_eq!((first.len(), second.len()), (6, 6));
    let distinct: HashSet<&String> = first.iter().chain(&second).collect();
    assert_eq!(distinct.len(), 12);
    assert!(distinct.iter().all(|secret| secret.len() >= 43), "32 bytes each");
    // The lines for a shell name the same variables.
    let lines = sandbox.run(&["secrets"]).success();
    for name in
        ["POSTGRES_PASSWORD", "JWT_SECRET_KEY", "SGX_ENCRYPTION_KEY", "Database__Roles__neo_jobs__Password"]
    {
        assert!(lines.text().contains(&format!("export {name}='")), "{lines:?}");
    }
}

#[test]
fn commands_without_an_installation_say_what_to_do() {
    let sandbox = Sandbox::new();
    for (arguments, says) in [
        (&["sgx", "list"][..], "nsl up"),
        (&["db", "url", "--role", "neo_user"], "nsl up"),
        (&["db", "migrate"], "ConnectionStrings"),
        (&["serve"], "ConnectionStrings"),
        (&["logout"], "nsl login"),
        (&["sgx", "list", "--data-dir", "nowhere"], "nsl up"),
        (&["sgx", "list", "--url", "ftp://host"], "http"),
    ] {
        let stderr = sandbox.run(arguments).failure();
        assert!(stderr.starts_with("error: ") && stderr.contains(says), "{arguments:?}: {stderr}");
    }
    // A mistake in the command itself is the parser's: exit code 2, and help on stderr.
    let outcome = sandbox.run(&["sgx", "steal"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stdout.is_empty() && outcome.stderr.contains("--help"), "{outcome:?}");
}

#[test]
fn completions_and_man_pages_are_made() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&["completions", shell]).success();
        assert!(script.text().contains("doctor") && script.text().contains("sgx"), "{shell}");
    }
    let init = sandbox.run(&["db", "init-sql"]).success();
    assert!(init.text().contains("CREATE SCHEMA IF NOT EXISTS sgx"));
    let roles = sandbox.run(&["db", "roles", "--print"]).success();
    assert!(roles.text().contains("neo_enclave"));
}
