//! The enclave as a process of its own: what each process has, what passes between them, who is let in.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_client::{PutOptions, Status};
use nsl_testkit::eventually;
use reqwest::{Certificate, Identity, StatusCode, header};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::finish;
use crate::relay::Relay;
use crate::served::http;
use crate::split::Split;
use crate::{PATIENCE, random};

async fn get(url: &str) -> Value {
    http().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_has_what_its_roles_need_and_no_more() {
    let split = Split::new().await;
    let (enclave, inside) = split.enclave().await;
    let relay = Relay::to(inside).await;
    let (api, address) = split.api("api", &relay, 0).await;
    let (jobs, jobs_address) = split.api("jobs", &relay, 0).await;
    let url = format!("http://{address}");

    // All of it works over the line.
    let client = split.client(address).await;
    let put = client.sgx().put("demo", "value", b"sealed", &PutOptions::default()).await.unwrap();
    assert_eq!(client.sgx().get("demo", "value").await.unwrap().bytes.as_slice(), b"sealed");
    let only_new = PutOptions { if_match: Some(put.item.version + 1), ..PutOptions::default() };
    let refusal = client.sgx().put("demo", "value", b"late", &only_new).await.unwrap_err();
    assert_eq!(refusal.code(), Some("sgx.version_conflict"));
    assert_eq!(client.sgx().list(None, None, None, None).await.unwrap().items.len(), 1);
    client.sgx().delete("demo", "value", None).await.unwrap();
    // A second factor is sealed by the enclave, and opened to look at a code.
    client.auth().start_totp().await.unwrap();
    assert_eq!(client.auth().confirm_totp("000000").await.unwrap_err().code(), Some("auth.totp_invalid"));

    // Each login is in one process.
    for (url, login) in [(url.clone(), "neo_api"), (format!("http://{jobs_address}"), "neo_jobs")] {
        let pools = get(&format!("{url}/health/postgresql")).await["data"]["pools"].clone();
        assert_eq!(pools.as_object().unwrap().keys().collect::<Vec<_>>(), [login]);
    }
    let health = client.health().await.unwrap();
    let names: BTreeSet<&str> = health.checks.iter().map(|check| check.name.as_str()).collect();
    let all = ["auth", "enclave", "eventsourcing", "monitoring", "postgresql", "sgx"];
    assert_eq!(names, BTreeSet::from(all));
    eventually(PATIENCE, "all of it is healthy", async || {
        client.health().await.unwrap().status == Status::Healthy
    })
    .await;
    assert_eq!(get(&format!("{url}/health/sgx")).await["data"]["mode"], "simulation");

    // What the enclave does for others is not to be had from outside.
    let internal = http().post(format!("{url}/internal/v1/tokens/sign")).json(&json!({"claims": {}}));
    assert_eq!(internal.send().await.unwrap().status(), StatusCode::NOT_FOUND);

    // No key in the API's process, and no right on what it seals.
    for (process, names) in [
        (&api, ["SGX_ENCRYPTION_KEY", "neo_enclave", "neo_jobs"]),
        (&jobs, ["SGX_ENCRYPTION_KEY", "neo_enclave", "JWT_SECRET_KEY"]),
        (&enclave, ["JWT_SECRET_KEY", "neo_api", "neo_jobs"]),
    ] {
        let environment = fs::read(format!("/proc/{}/environ", process.pid())).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(environment.contains("ConnectionStrings__DefaultConnection"));
        for name in names {
            assert!(!environment.contains(name), "{name} in {environment}");
        }
    }
    let database = split.remote.test.client("postgres").await.unwrap();
    database.batch_execute("SET ROLE neo_api").await.unwrap();
    let refused = database.query("SELECT count(*) FROM sgx.sealed_data_items", &[]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("permission denied for schema sgx"), "{refused:?}");
    let refused = database.query("SELECT wrapped_private_key FROM auth.signing_keys", &[]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("permission denied"), "{refused:?}");

    // The system keeps the enclave's memory to itself.
    let limits = fs::read_to_string(format!("/proc/{}/limits", enclave.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let status = fs::read_to_string(format!("/proc/{}/status", enclave.pid())).unwrap();
    let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    assert!(!locked.ends_with(" 0 kB") || enclave.stderr().contains("is not locked"), "{locked}");

    // Audit rows are about users, not about processes.
    database.batch_execute("RESET ROLE").await.unwrap();
    let sealed = "SELECT ip_address, user_id IS NOT NULL FROM monitoring.audit_logs \
                  WHERE action = 'SEAL_ITEM' AND result = 'Success' LIMIT 1";
    let row = database.query_one(sealed, &[]).await.unwrap();
    assert_eq!((row.get::<_, Option<&str>>(0), row.get::<_, bool>(1)), (Some("127.0.0.1"), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_between_them_is_read_by_neither_value_nor_token() {
    let split = Split::new().await;
    let (_enclave, inside) = split.enclave().await;
    let relay = Relay::to(inside).await;
    let (_api, address) = split.api("api,jobs", &relay, 0).await;
    let url = format!("http://{address}");
    let token = split.remote.token(&url).await;
    let value: Vec<u8> = (0..2048).flat_map(|_| random::<32>()).collect();
    let place = format!("{url}/api/v1/sgx/items/wire/marker");
    let octets = "application/octet-stream";
    for _ in 0..2 {
        let put = http().put(&place).bearer_auth(&token).header(header::CONTENT_TYPE, octets);
        assert!(put.body(value.clone()).send().await.unwrap().status().is_success());
        let got = http().get(&place).bearer_auth(&token).header(header::ACCEPT, octets).send().await.unwrap();
        assert_eq!(got.bytes().await.unwrap(), value);
    }
    let seen = relay.seen();
    // It did pass here, twice in each direction, and as TLS 1.3 (RFC 8446 section 5.1: 22, 3.1 and 3.3).
    assert!(seen.len() > 4 * value.len(), "{} bytes", seen.len());
    assert_eq!(&seen[..3], [22, 3, 1]);
    let signature = token.rsplit('.').next().unwrap();
    let text = STANDARD.encode(&value);
    for needle in
        [&value[..16], &value[value.len() - 16..], &text.as_bytes()[..24], signature.as_bytes(), b"marker"]
    {
        assert!(!seen.windows(needle.len()).any(|part| part == needle), "{needle:?} is readable");
    }
}

/// A client of the enclave's own listener, with a certificate or none.
fn stranger(authority: &[u8], identity: Option<[Vec<u8>; 2]>) -> reqwest::Client {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .tls_certs_only(Certificate::from_pem_bundle(authority).unwrap());
    if let Some(pem) = identity {
        builder = builder.identity(Identity::from_pem(&pem.concat()).unwrap());
    }
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_of_the_authority_is_refused_at_the_handshake() {
    let split = Split::new().await;
    let other = Split::new().await;
    let (_enclave, inside) = split.enclave().await;
    let authority = split.certificate("ca.crt");
    let pair = |split: &Split, end: &str| {
        [split.certificate(&format!("{end}.crt")), split.certificate(&format!("{end}.key"))]
    };
    let url = format!("https://{inside}");

    let known = stranger(&authority, Some(pair(&split, "api")));
    assert_eq!(known.get(format!("{url}/health")).send().await.unwrap().status(), StatusCode::OK);
    for (who, client) in [
        ("nobody", stranger(&authority, None)),
        ("another authority's", stranger(&authority, Some(pair(&other, "api")))),
        ("a server", stranger(&authority, Some(pair(&split, "enclave")))),
    ] {
        let refused = client.get(format!("{url}/health")).send().await;
        assert!(refused.is_err(), "{who}: {refused:?}");
    }
    // Nor does the other side believe just anyone.
    let deceived = stranger(&other.certificate("ca.crt"), Some(pair(&split, "api")));
    assert!(deceived.get(format!("{url}/health")).send().await.is_err());
    let old = reqwest::Client::builder()
        .tls_certs_only(Certificate::from_pem_bundle(&authority).unwrap())
        .identity(Identity::from_pem(&pair(&split, "api").concat()).unwrap())
        .tls_version_max(reqwest::tls::Version::TLS_1_2)
        .build()
        .unwrap();
    assert!(old.get(format!("{url}/health")).send().await.is_err());

    // What an API process can have done is bounded: its own purposes, tokens that expire as all do.
    let ask = async |path: &str, body: Value| {
        let answer = known.post(format!("{url}{path}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let secret = STANDARD.encode(b"secret");
    for purpose in ["auth.signing-key", "sgx.anything"] {
        let body = json!({"purpose": purpose, "name": "x", "secret": secret});
        let (status, problem) = ask("/internal/v1/secrets/seal", body).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("core.purpose_refused")));
    }
    let (status, sealed) =
        ask("/internal/v1/secrets/seal", json!({"purpose": "auth.totp", "name": "x", "secret": secret}))
            .await;
    assert_eq!(status, 200);
    let body = |name: &str| json!({"purpose": "auth.totp", "name": name, "sealed": sealed});
    let (_, opened) = ask("/internal/v1/secrets/open", body("x")).await;
    assert_eq!(opened["secret"], secret);
    assert_eq!(ask("/internal/v1/secrets/open", body("y")).await.0, 500);
    let claims = json!({"iss": "neo-service-layer", "sub": "0198c0de-0000-7000-8000-000000000001",
        "aud": "neo-service-layer", "exp": 4_000_000_000_i64, "iat": 1, "jti": "0198c0de-0000-7000-8000-000000000002",
        "client_id": "x", "tenant": "0198c0de-0000-7000-8000-000000000003",
        "sid": "0198c0de-0000-7000-8000-000000000004", "name": "eve", "scope": "*", "roles": []});
    let (status, problem) = ask("/internal/v1/tokens/sign", json!({"claims": claims})).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("auth.claims_refused")));
    // A line that is authentic gives no authority over what is sealed.
    let (status, problem) = {
        let answer = known.get(format!("{url}/api/v1/sgx/items")).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!((status, problem["code"].as_str()), (401, Some("core.credential_missing")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_enclave_the_api_says_so_and_recovers() {
    let split = Split::new().await;
    // Nothing is there yet.
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let relay = Relay::to(nowhere).await;
    let (mut api, address) = split.api("api,jobs", &relay, 0).await;
    let url = format!("http://{address}");
    let login = json!({"username": crate::served::ADMIN, "password": split.remote.password.expose()});
    for request in [
        http().get(format!("{url}/api/v1/sgx/items")),
        http().put(format!("{url}/api/v1/sgx/items/demo/value")).body("x"),
        http().post(format!("{url}/api/v1/auth/login")).json(&login),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "core.enclave_unavailable", "{problem}");
    }
    let health = get(&format!("{url}/health")).await;
    let unwell: Vec<&str> = health["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "Unhealthy")
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert!(unwell.contains(&"enclave") && unwell.contains(&"sgx"), "{health}");
    assert!(!unwell.contains(&"postgresql"), "{health}");

    let (mut enclave, inside) = split.enclave().await;
    relay.move_to(inside);
    let client = split.client(address).await;
    client.sgx().put("demo", "value", b"sealed", &PutOptions::default()).await.unwrap();
    for process in [&mut api, &mut enclave] {
        process.signal(Signal::TERM);
        assert!(process.ended().await.0.success());
    }
}

/// A variable and its value.
type Setting = (&'static str, &'static str);
/// Of no installation.
const KEY: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";

/// Roles, what is set, and what the refusal says.
type Case = (&'static str, &'static [Setting], &'static [&'static str]);
const CASES: &[Case] = &[
    ("api", &[("Enclave__Url", "https://x"), ("SGX_ENCRYPTION_KEY", KEY)], &["SGX_ENCRYPTION_KEY", "api"]),
    ("jobs", &[("Database__Roles__neo_enclave__Password", KEY)], &["neo_enclave", "enclave's process alone"]),
    ("api", &[], &["Enclave:Url", "--roles enclave"]),
    ("api", &[("Enclave__Url", "http://x")], &["Enclave:Url", "https://"]),
    (
        "api",
        &[("Enclave__Url", "https://x"), ("Enclave__Certificate_FILE", "")],
        &["Enclave:Certificate", "nsl secrets"],
    ),
    ("jobs", &[("Smtp__Host", "localhost")], &["Smtp", "Enclave"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_to_the_roles_is_refused_by_name() {
    let split = Split::new().await;
    for (roles, settings, says) in CASES {
        let mut command = split.command(roles, "api");
        command.args(["--port", "0"]).envs(settings.iter().copied());
        let stderr = finish(&mut command).failure();
        for text in *says {
            assert!(stderr.contains(text), "{roles} {settings:?}: no {text:?} in {stderr}");
        }
        assert!(!stderr.contains(KEY));
    }
    for (roles, says) in
        [("oracle", "this build has no oracle"), ("apy", "no role `apy`"), ("", "at least one")]
    {
        let outcome = finish(&mut split.remote.sandbox.nsl(&["serve", "--roles", roles]));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{outcome:?}");
    }
}
