//! `nsl serve` on a server that is someone else's: waits, survives, and refuses what is not ready, with the next step.

use std::path::Path;

use nsl_client::{Client, PutOptions, Status};
use nsl_core::config::fresh;
use nsl_postgres::{Binaries, Mode, Server, Settings};
use nsl_testkit::{Cluster, Durability, TestDb, eventually, password};
use rustix::process::Signal;

use crate::PATIENCE;
use crate::installation::is_healthy;
use crate::program::Sandbox;
use crate::served::{Remote, address, connection_string, http, token};

/// Starts the server of a cluster again, on its socket.
fn start_again(cluster: &Cluster) {
    let dir = cluster.server().data_dir();
    let setting = std::env::var_os("NSL_PG_BIN");
    let binaries = Binaries::find(setting.as_deref().map(Path::new), dir.major()).unwrap();
    let settings =
        Settings { port: cluster.server().port(), tcp: false, durable: false, ..Settings::default() };
    Server::start(&binaries, dir, settings, password("postgres").expose()).unwrap();
}

fn stop(cluster: &Cluster) {
    cluster.server().stop(Mode::Fast, PATIENCE).unwrap();
}

#[tokio::test]
async fn it_waits_for_its_server_and_survives_its_restart() {
    let remote = Remote::new().await;
    let cluster = remote.test.cluster();
    stop(cluster);
    let mut running = remote.sandbox.start(&["serve", "--port", "0"]);
    running.says("trying again in 500ms").await;
    start_again(cluster);
    running.says("\"serving\"").await;
    let url = address(&running);
    let client = Client::new(&url).unwrap();
    is_healthy(&client).await;
    let client = client.with_token(&remote.token(&url).await).unwrap();
    client.sgx().put("demo", "value", b"before", &PutOptions::default()).await.unwrap();

    stop(cluster);
    eventually(PATIENCE, "health tells that the database is away", async || {
        client.health().await.unwrap().status == Status::Unhealthy
    })
    .await;
    let refusal = client.sgx().put("demo", "value", b"lost", &PutOptions::default()).await.unwrap_err();
    assert_eq!(refusal.status(), Some(503), "{refusal}");
    start_again(cluster);
    is_healthy(&client).await;
    assert_eq!(client.sgx().get("demo", "value").await.unwrap().bytes.as_slice(), b"before");
    client.sgx().put("demo", "value", b"after", &PutOptions::default()).await.unwrap();

    running.signal(Signal::TERM);
    assert!(running.ended().await.0.success());
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_server() {
    let mut sandbox = environment();
    sandbox.set("ConnectionStrings__DefaultConnection", "Host=/nowhere;Database=neo_service_layer");
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = sandbox.start(&["serve", "--port", "0"]);
        running.says("trying again").await;
        running.signal(signal);
        assert!(running.ended().await.0.success());
    }
}

#[tokio::test]
async fn with_the_owner_alone_it_works_and_says_that_the_separation_is_nominal() {
    let mut remote = Remote::new().await;
    let names = ["neo_api", "neo_enclave", "neo_jobs"];
    for name in names {
        remote.sandbox.set(&format!("Database__Roles__{name}__Password"), "");
    }
    let text = format!(
        "{};Username=neo_user;Password={}",
        connection_string(&remote.test),
        password("neo_user").expose()
    );
    remote.sandbox.set("ConnectionStrings__DefaultConnection", &text);
    let served = remote.serve().await;
    let client = Client::new(&served.url).unwrap();
    let client = client.with_token(&remote.token(&served.url).await).unwrap();
    client.sgx().put("demo", "value", b"sealed", &PutOptions::default()).await.unwrap();
    assert_eq!(client.sgx().get("demo", "value").await.unwrap().bytes.as_slice(), b"sealed");
    let health = client.health().await.unwrap();
    assert_eq!(health.status, Status::Degraded, "{health:?}");
    let check = client.health_check("postgresql").await.unwrap();
    assert!(check.detail.as_deref().is_some_and(|detail| detail.contains("nominal")), "{check:?}");
}

#[tokio::test]
async fn roles_that_are_missing_are_named_with_their_command() {
    let cluster = Cluster::own(Durability::Volatile).await.unwrap();
    let superuser = cluster.client("postgres", "postgres").await.unwrap();
    superuser.batch_execute("CREATE DATABASE neo_service_layer").await.unwrap();
    let mut sandbox = environment();
    let server = cluster.server();
    let text =
        format!("Host={};Port={};Database=neo_service_layer", server.socket_dir().display(), server.port());
    sandbox.set("ConnectionStrings__DefaultConnection", &text);
    let stderr = sandbox.run(&["serve", "--port", "0"]).failure();
    for says in ["neo_api", "psql -d neo_service_layer -f docker/postgres/roles.sql", "nsl db roles"] {
        assert!(stderr.contains(says), "no {says:?} in {stderr}");
    }

    // What it says to do is done, and the next thing that lacks is named, until it serves.
    let url = format!(
        "postgres://postgres:{}@/neo_service_layer?host={}&port={}",
        password("postgres").expose().replace(' ', "%20"),
        server.socket_dir().display(),
        server.port()
    );
    sandbox.set("POSTGRES_PASSWORD", fresh().unwrap().expose());
    sandbox.run(&["db", "roles", "--superuser-url", &url]).success();
    let stderr = sandbox.run(&["serve", "--port", "0"]).failure();
    assert!(stderr.contains("nsl db migrate"), "{stderr}");
    let migrated = sandbox.run(&["db", "migrate", "--json"]).success().json();
    assert!(!migrated["applied"].as_array().unwrap().is_empty());
    assert_eq!(sandbox.run(&["db", "migrate", "--json"]).success().json()["applied"], serde_json::json!([]));
    assert_eq!(sandbox.run(&["db", "status", "--json"]).success().json()["pending"], serde_json::json!([]));
    let mut running = sandbox.start(&["serve", "--port", "0"]);
    running.says("\"serving\"").await;
    // All is well but that nobody can log in: there is no user.
    let health = Client::new(&address(&running)).unwrap().health().await.unwrap();
    let unwell: Vec<&str> = health
        .checks
        .iter()
        .filter(|check| check.status != Status::Healthy)
        .map(|check| check.name.as_str())
        .collect();
    assert_eq!((health.status, unwell.as_slice()), (Status::Degraded, &["auth"][..]), "{health:#?}");

    // That is mended with one command, once.
    let made = sandbox.run(&["db", "administrator", "--json"]).success().json();
    let password = made["password"].as_str().unwrap();
    assert!(!token(&address(&running), "admin", password).await.is_empty());
    let stderr = sandbox.run(&["db", "administrator", "--username", "second"]).failure();
    assert!(stderr.contains("somebody can log in already"), "{stderr}");
    assert_eq!(Client::new(&address(&running)).unwrap().health().await.unwrap().status, Status::Healthy);
}

#[tokio::test]
async fn a_database_that_is_behind_or_absent_is_named() {
    let cluster = Cluster::own(Durability::Volatile).await.unwrap();
    let test = TestDb::empty_on(&cluster).await.unwrap();
    let mut sandbox = environment();
    let owner = format!("Username=neo_user;Password={}", password("neo_user").expose());
    for name in ["neo_api", "neo_enclave", "neo_jobs"] {
        sandbox.set(&format!("Database__Roles__{name}__Password"), "");
    }
    let text = format!("{};{owner}", connection_string(&test));
    sandbox.set("ConnectionStrings__DefaultConnection", &text);
    let stderr = sandbox.run(&["serve", "--port", "0"]).failure();
    assert!(stderr.contains("nsl db migrate"), "{stderr}");

    sandbox.set("ConnectionStrings__DefaultConnection", &text.replace(test.name(), "absent"));
    let stderr = sandbox.run(&["serve", "--port", "0"]).failure();
    assert!(stderr.contains("createdb absent"), "{stderr}");
}

#[tokio::test]
async fn a_key_that_opens_no_slot_of_the_root_key_is_refused() {
    let mut remote = Remote::new().await;
    let served = remote.serve().await;
    let client = Client::new(&served.url).unwrap();
    let client = client.with_token(&remote.token(&served.url).await).unwrap();
    client.sgx().put("demo", "value", b"sealed", &PutOptions::default()).await.unwrap();
    drop(served);
    remote.sandbox.set("SGX_ENCRYPTION_KEY", fresh().unwrap().expose());
    let stderr = remote.sandbox.run(&["serve", "--port", "0"]).failure();
    assert!(stderr.contains("opens the root key") && stderr.contains("SGX_ENCRYPTION_KEY"), "{stderr}");
}

/// Everything that `nsl serve` needs but a database.
fn environment() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for (name, value) in sandbox.run(&["secrets", "--json"]).success().json().as_object().unwrap() {
        sandbox.set(name, value.as_str().unwrap());
    }
    sandbox
}

/// A variable and its value.
type Setting = (&'static str, &'static str);

#[tokio::test]
async fn what_is_missing_weak_or_forbidden_is_refused_by_name() {
    const STRING: &str = "ConnectionStrings__DefaultConnection";
    const JWT: &str = "JWT_SECRET_KEY";
    const KEY: &str = "SGX_ENCRYPTION_KEY";
    let remote = Remote::new().await;
    let there = connection_string(&remote.test);
    let cases: &[(&[Setting], &[&str])] = &[
        (&[(STRING, "")], &["ConnectionStrings:DefaultConnection", "not set"]),
        (&[(STRING, "Host=db;Database=d;Hots=x")], &["Hots"]),
        (&[(STRING, "postgres://db/d?hots=x")], &["hots"]),
        (&[(JWT, "")], &[JWT, "missing", "nsl secrets"]),
        (&[(JWT, "q7RkV2nLx0Zt5WmB")], &[JWT, "shorter", "nsl secrets"]),
        (&[(JWT, "your_jwt_secret_key_at_least_32_characters_long")], &[JWT, "example", "nsl secrets"]),
        (&[(KEY, "")], &[KEY, "missing", "nsl secrets"]),
        (&[(KEY, "c2hvcnQ=")], &[KEY, "nsl secrets"]),
        (&[(KEY, "your_sgx_encryption_key_here")], &[KEY, "example", "nsl secrets"]),
        (&[("Database__Roles__neo_api__Password", "short")], &["neo_api", "shorter", "nsl secrets"]),
        (&[("Database__Roles__neo_jobs__Password", "")], &["neo_jobs", "missing", "nsl secrets"]),
        (&[("SGX__EnableHardwareMode", "true")], &["SGX__EnableHardwareMode", "simulation"]),
        (
            &[("SGX__Database__EnableEncryption", "false"), ("Http__Listen", "0.0.0.0:0")],
            &["EnableEncryption", "0.0.0.0", "127.0.0.1"],
        ),
        (&[("SGX__Database__EnableEncripton", "false")], &["EnableEncripton"]),
        (&[("Http__Listen", "nonsense")], &["Http", "Listen"]),
    ];
    for (settings, says) in cases {
        let mut command = remote.sandbox.nsl(&["serve"]);
        command.env(STRING, &there).env("Http__Listen", "127.0.0.1:0").envs(settings.iter().copied());
        let stderr = crate::program::finish(&mut command).failure();
        for text in *says {
            assert!(stderr.contains(text), "{settings:?}: no {text:?} in {stderr}");
        }
        for (_, value) in settings.iter().filter(|(name, _)| *name == JWT || *name == KEY) {
            assert!(value.is_empty() || !stderr.contains(value), "the secret is shown: {stderr}");
        }
    }
}

#[tokio::test]
async fn without_encryption_every_answer_says_so() {
    let mut remote = Remote::new().await;
    remote.sandbox.set("SGX__Database__EnableEncryption", "false");
    let served = remote.serve().await;
    let token = remote.token(&served.url).await;
    let client = Client::new(&served.url).unwrap().with_token(&token).unwrap();
    client.sgx().put("demo", "value", b"in clear", &PutOptions::default()).await.unwrap();
    let health = client.health_check("sgx").await.unwrap();
    assert_eq!(health.status, Status::Degraded, "{health:?}");
    assert!(served.running.stderr().to_lowercase().contains("encryption"), "{}", served.running.stderr());
    let http = http();
    let url = format!("{}/api/v1/sgx/items/demo/value", served.url);
    let answer = http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.headers().get("x-nsl-encryption").unwrap(), "none");
}
