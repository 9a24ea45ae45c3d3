//! Quotes of others, and the service's own. The quotes are real, with Intel's collateral of June 2025; what each rule and
//! each change of them comes to is tested in `domain/attestation`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::extract::Request as HttpRequest;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use nsl_core::clock::Clock;
use nsl_testkit::{Request, Response};
use serde_json::{Value, json};

use crate::world::{ACME, ACME_READER, OTHER, Settings, World, assert_problem};

const VERIFY: &str = "/api/v1/sgx/attestations/verify";
/// In the midst of the time in which both quotes verify.
const NOW: i64 = 1_751_000_000;
/// The last second of the SGX quote's.
const LAST: i64 = 1_752_919_278;

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/dcap").join(name)
}

fn quote(name: &str) -> String {
    STANDARD.encode(std::fs::read(data(name)).unwrap())
}

fn collateral(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(data(&format!("{name}_collateral.json"))).unwrap()).unwrap()
}

/// A clock that shows this second of the Unix time.
pub(crate) fn clock_at(second: i64) -> Clock {
    let clock = Clock::system();
    let wanted = Timestamp::from_second(second).unwrap();
    clock.advance(wanted.duration_since(Timestamp::now()));
    clock
}

fn at(second: i64) -> Settings {
    Settings { clock: clock_at(second), ..Settings::default() }
}

fn verify<'w>(world: &'w World, body: &Value) -> Request<'w> {
    world.app.post(VERIFY).bearer(ACME).json(body)
}

async fn verdict(world: &World, body: Value) -> Value {
    verify(world, &body).send().await.expect(StatusCode::OK).json()
}

fn codes(verdict: &Value) -> Vec<&str> {
    verdict["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_genuine_quote_that_fits_is_accepted_and_the_verdict_kept() {
    let world = World::with(at(NOW)).await;
    let body = json!({
        "quote": quote("sgx_quote"), "collateral": collateral("sgx_quote"), "reportData": hex::encode("Hello, world!"),
        "policy": {"acceptedTcbStatus": ["ConfigurationAndSWHardeningNeeded"], "isvProdId": 0,
                   "mrSigner": ["815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6"]},
    });
    let verdict = verdict(&world, body).await;
    assert_eq!(
        (&verdict["accepted"], &verdict["tee"], codes(&verdict)),
        (&json!(true), &json!("sgx"), vec![])
    );
    assert_eq!(verdict["tcbStatus"], "ConfigurationAndSWHardeningNeeded");
    assert_eq!(verdict["advisoryIds"], json!(["INTEL-SA-00289", "INTEL-SA-00615"]));
    assert_eq!(
        verdict["measurements"]["mrEnclave"],
        "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
    );
    assert!(verdict["reportData"].as_str().unwrap().starts_with(&hex::encode("Hello, world!")));
    assert_eq!((&verdict["collateral"], &verdict["verifiedBy"]), (&json!("caller"), &json!(ACME)));
    let time = |field: &str| verdict[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!((time("verifiedAt").as_second() - NOW).abs() < 60);
    assert_eq!(time("expiresAt").duration_since(time("verifiedAt")), SignedDuration::from_hours(1));

    let id = verdict["id"].as_str().unwrap();
    let place = format!("/api/v1/sgx/attestations/{id}");
    let again = world.app.get(&place).bearer(ACME).send().await.expect(StatusCode::OK).json();
    assert_eq!(again, verdict);
    let foreign = world.app.get(&place).bearer(OTHER).send().await;
    assert_problem(&foreign, StatusCode::NOT_FOUND, "sgx.attestation_not_found", "");
    let audits = json!([
        ["VERIFY_ATTESTATION", id, "Success"],
        ["READ_ATTESTATION", id, "Success"],
        ["READ_ATTESTATION", id, "Failure"],
    ]);
    assert_eq!(Value::from(world.audits().await), audits);
    // Where a policy of sealed items looks.
    let row = world.rows("SELECT accepted, report->'isvSvn' AS svn FROM sgx.attestations").await;
    assert_eq!(row, [json!({"accepted": true, "svn": 0})]);
}

#[tokio::test]
async fn a_quote_that_is_not_accepted_gets_its_reasons_by_name() {
    let world = World::with(at(NOW)).await;
    let (sgx, tdx) = (quote("sgx_quote"), quote("tdx_quote"));
    let mut forged = std::fs::read(data("sgx_quote")).unwrap();
    forged[48 + 64] ^= 1;
    let nonce = STANDARD.encode([7; 32]);
    let other = "ab".repeat(32);
    for (quote, of, rest, expected) in [
        (&sgx, "sgx_quote", json!({}), vec!["tcb_status"]),
        (
            &sgx,
            "sgx_quote",
            json!({"policy": {"mrEnclave": [other], "minIsvSvn": 1}}),
            vec!["tcb_status", "mr_enclave", "isv_svn"],
        ),
        (&tdx, "tdx_quote", json!({"nonce": nonce}), vec!["report_data"]),
        (&tdx, "tdx_quote", json!({"policy": {"mrEnclave": [other]}}), vec!["mr_enclave"]),
        (&tdx, "sgx_quote", json!({}), vec!["not_genuine"]),
        (&STANDARD.encode(&forged), "sgx_quote", json!({}), vec!["not_genuine"]),
    ] {
        let mut body = rest;
        body["quote"] = json!(quote);
        body["collateral"] = collateral(of);
        let verdict = verdict(&world, body).await;
        assert_eq!((&verdict["accepted"], codes(&verdict)), (&json!(false), expected.clone()), "{verdict}");
        let genuine = expected != ["not_genuine"];
        for vouched in ["tcbStatus", "measurements", "reportData"] {
            assert_eq!(verdict.get(vouched).is_some(), genuine, "{vouched} of {expected:?}");
        }
    }
    let stored = "SELECT count(*) FROM sgx.attestations WHERE NOT accepted";
    assert_eq!(world.number(stored).await, 6);
    let denied = "SELECT count(*) FROM monitoring.audit_logs \
                  WHERE action = 'VERIFY_ATTESTATION' AND result = 'Denied' AND details IS NOT NULL";
    assert_eq!(world.number(denied).await, 6);
}

#[tokio::test]
async fn a_verdict_counts_no_longer_than_its_collateral() {
    let body = json!({
        "quote": quote("sgx_quote"), "collateral": collateral("sgx_quote"),
        "policy": {"acceptedTcbStatus": ["ConfigurationAndSWHardeningNeeded"]},
    });
    let world = World::with(at(LAST - 600)).await;
    let verdict = verdict(&world, body.clone()).await;
    let until: Timestamp = verdict["expiresAt"].as_str().unwrap().parse().unwrap();
    assert_eq!((&verdict["accepted"], until.as_second()), (&json!(true), LAST));
    world.advance(SignedDuration::from_mins(11));
    let late = verify(&world, &body).send().await.expect(StatusCode::OK).json();
    assert_eq!((&late["accepted"], codes(&late)), (&json!(false), vec!["collateral_expired"]));
    let early = World::with(at(1_750_330_000)).await;
    let early = verify(&early, &body).send().await.expect(StatusCode::OK).json();
    assert_eq!((&early["accepted"], codes(&early)), (&json!(false), vec!["collateral_not_yet_valid"]));
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused_and_leaves_no_verdict() {
    let world = World::with(at(NOW)).await;
    let (quote, of) = (quote("sgx_quote"), collateral("sgx_quote"));
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    for (body, status, code, pointer) in [
        (
            json!({"quote": STANDARD.encode("no quote"), "collateral": of}),
            unprocessable,
            "sgx.invalid_quote",
            "/quote",
        ),
        (json!({"quote": "", "collateral": of}), unprocessable, "sgx.invalid_quote", "/quote"),
        (json!({"quote": "*"}), StatusCode::BAD_REQUEST, "sgx.invalid_base64", "/quote"),
        (json!({"quote": quote}), unprocessable, "sgx.collateral_needed", "/collateral"),
        (json!({"quote": quote, "collateral": {}}), unprocessable, "sgx.invalid_collateral", "/collateral"),
        (json!({"quote": quote, "collateral": [of]}), unprocessable, "sgx.invalid_collateral", "/collateral"),
        (
            json!({"quote": quote, "collateral": of, "reportData": "00".repeat(65)}),
            unprocessable,
            "sgx.invalid_report_data",
            "/reportData",
        ),
        (
            json!({"quote": quote, "collateral": of, "reportData": ""}),
            unprocessable,
            "sgx.invalid_report_data",
            "/reportData",
        ),
        (
            json!({"quote": quote, "collateral": of, "reportData": "00", "nonce": "AA=="}),
            unprocessable,
            "sgx.invalid_report_data",
            "/nonce",
        ),
        (
            json!({"quote": quote, "collateral": of, "nonce": "AA=="}),
            unprocessable,
            "sgx.invalid_nonce",
            "/nonce",
        ),
        (
            json!({"quote": quote, "collateral": of, "policy": {"mrEnclave": ["ab"]}}),
            unprocessable,
            "sgx.invalid_attestation_policy",
            "/policy/mrEnclave",
        ),
        (
            json!({"quote": quote, "collateral": of, "policy": {"mrEnclaves": []}}),
            StatusCode::BAD_REQUEST,
            "core.invalid_body",
            "/policy/mrEnclaves",
        ),
    ] {
        let refused = verify(&world, &body).send().await;
        assert_problem(&refused, status, code, pointer);
    }
    let unknown = "/api/v1/sgx/attestations/00000000-0000-7000-8000-000000000000";
    let unknown = world.app.get(unknown).bearer(ACME).send().await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "sgx.attestation_not_found", "");
    assert_eq!(world.number("SELECT count(*) FROM sgx.attestations").await, 0);
    let failures = "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'VERIFY_ATTESTATION' AND result = 'Failure'";
    assert_eq!(world.number(failures).await, 6, "what the action itself refused");
    let reader = world.app.post(VERIFY).bearer(ACME_READER).json(&json!({"quote": quote})).send().await;
    assert_problem(&reader, StatusCode::FORBIDDEN, "core.permission_missing", "");
}

#[tokio::test]
async fn in_simulation_the_service_says_that_nothing_vouches_for_it() {
    let world = World::new().await;
    let ask = async |nonce: &[u8]| {
        let body = json!({"nonce": STANDARD.encode(nonce)});
        world.app.post("/api/v1/sgx/attestation").bearer(ACME).json(&body).send().await
    };
    let own = ask(&[7; 32]).await.expect(StatusCode::OK).json();
    assert_eq!((&own["mode"], &own["quote"]), (&json!("simulation"), &Value::Null));
    assert!(
        own["statement"].as_str().unwrap().contains("simulation mode") && own.get("measurements").is_none()
    );
    assert_eq!(own["reportData"].as_str().unwrap().len(), 128);
    assert_ne!(ask(&[8; 32]).await.expect(StatusCode::OK).json()["reportData"], own["reportData"]);
    for nonce in [15, 65] {
        let refused = ask(&vec![7; nonce]).await;
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_nonce", "/nonce");
    }
    let health = world.app.get("/health/sgx").send().await.expect(StatusCode::OK).json();
    assert_eq!(health["data"]["mode"], "simulation");
    let asked =
        "SELECT count(*) FROM monitoring.audit_logs WHERE action = 'ATTEST_SERVICE' AND result = 'Success'";
    assert_eq!(world.number(asked).await, 2);
}

#[tokio::test]
async fn the_installation_s_own_collateral_is_taken_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("collateral.json");
    let configured = file.clone();
    let settings = Settings {
        adjust: Arc::new(move |config| config.attestation.collateral_file = Some(configured.clone())),
        ..at(NOW)
    };
    let world = World::with(settings).await;
    let body = json!({"quote": quote("tdx_quote")});
    let missing = verify(&world, &body).send().await;
    assert_problem(&missing, StatusCode::SERVICE_UNAVAILABLE, "sgx.collateral_unavailable", "");
    std::fs::write(&file, collateral("sgx_quote").to_string()).unwrap();
    let other = verify(&world, &body).send().await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY, "sgx.collateral_needed", "/collateral");
    // Without a restart.
    std::fs::write(&file, json!([collateral("sgx_quote"), collateral("tdx_quote")]).to_string()).unwrap();
    let verdict = verdict(&world, body).await;
    assert_eq!((&verdict["accepted"], &verdict["collateral"]), (&json!(true), &json!("file")));
}

/// A PCCS as Intel's reference answers, with the parts of the samples' collateral.
struct Pccs {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _jobs: nsl_core::jobs::Jobs,
}

fn pem_header(name: &'static str, collateral: &Value, part: &str, body: String) -> HttpResponse {
    let text = collateral[part].as_str().unwrap();
    let encoded = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    ([(name, encoded)], body).into_response()
}

async fn pccs() -> Pccs {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&asked);
    let samples: HashMap<&str, Value> =
        ["sgx", "tdx"].map(|tee| (tee, collateral(&format!("{tee}_quote")))).into();
    let samples = Arc::new(samples);
    let router = axum::Router::new().fallback(move |request: HttpRequest| {
        let (seen, samples) = (Arc::clone(&seen), Arc::clone(&samples));
        async move {
            let place = request.uri().to_string();
            seen.lock().unwrap().push(place.clone());
            let sample = |tee: &str| samples[tee].clone();
            let tee = if place.starts_with("/cache/tdx") { "tdx" } else { "sgx" };
            let text = |part: &str| sample(tee)[part].as_str().unwrap().to_owned();
            let signed = |name: &str, part: &str| {
                format!(
                    "{{\"{name}\":{},\"signature\":\"{}\"}}",
                    text(part),
                    text(&format!("{part}_signature"))
                )
            };
            match place.split(['?', '&']).next().unwrap() {
                "/cache/sgx/certification/v4/pckcrl" => {
                    // By authority: the samples are of different ones, or alike in both.
                    let of = if place.contains("platform") { "tdx" } else { "sgx" };
                    let crl = sample(of)["pck_crl"].as_str().unwrap().to_owned();
                    pem_header("SGX-PCK-CRL-Issuer-Chain", &sample(of), "pck_crl_issuer_chain", crl)
                }
                "/cache/sgx/certification/v4/tcb" | "/cache/tdx/certification/v4/tcb" => {
                    let body = signed("tcbInfo", "tcb_info");
                    pem_header("TCB-Info-Issuer-Chain", &sample(tee), "tcb_info_issuer_chain", body)
                }
                "/cache/sgx/certification/v4/qe/identity" | "/cache/tdx/certification/v4/qe/identity" => {
                    let body = signed("enclaveIdentity", "qe_identity");
                    pem_header(
                        "SGX-Enclave-Identity-Issuer-Chain",
                        &sample(tee),
                        "qe_identity_issuer_chain",
                        body,
                    )
                }
                "/cache/sgx/certification/v4/rootcacrl" => text("root_ca_crl").into_response(),
                _ => StatusCode::NOT_FOUND.into_response(),
            }
        }
    });
    let listener = nsl_core::http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/cache", listener.local_addr().unwrap());
    let jobs = nsl_core::jobs::Jobs::new();
    let listener = Mutex::new(Some(listener));
    jobs.spawn("test.pccs", nsl_core::jobs::Stage::Http, move |stop| {
        let (listener, router) = (listener.lock().unwrap().take(), router.clone());
        async move { nsl_core::http::serve(listener.unwrap(), router, stop).await }
    });
    Pccs { url, asked, _jobs: jobs }
}

#[tokio::test]
async fn collateral_is_fetched_from_a_pccs_and_used_again() {
    let pccs = pccs().await;
    let url = pccs.url.clone();
    let adjust =
        Arc::new(move |config: &mut nsl_sgx::SgxConfig| config.attestation.pccs_url = Some(url.clone()));
    let world = World::with(Settings { adjust, ..at(NOW) }).await;
    for _ in 0..2 {
        let tdx = verdict(&world, json!({"quote": quote("tdx_quote")})).await;
        assert_eq!((&tdx["accepted"], &tdx["collateral"]), (&json!(true), &json!("pccs")), "{tdx}");
        let policy = json!({"acceptedTcbStatus": ["ConfigurationAndSWHardeningNeeded"]});
        let sgx = verdict(&world, json!({"quote": quote("sgx_quote"), "policy": policy})).await;
        assert_eq!(sgx["accepted"], true, "{sgx}");
    }
    let asked = pccs.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 8, "four parts for each platform, once: {asked:?}");
    world.advance(SignedDuration::from_mins(61));
    verdict(&world, json!({"quote": quote("tdx_quote")})).await;
    assert_eq!(pccs.asked.lock().unwrap().len(), 12, "not for longer than an hour");
}

#[tokio::test]
async fn without_its_pccs_a_quote_waits_and_is_never_accepted() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pccs = pccs().await;
    for url in [format!("http://{closed}"), pccs.url.replace("/cache", "/nowhere")] {
        let adjust =
            Arc::new(move |config: &mut nsl_sgx::SgxConfig| config.attestation.pccs_url = Some(url.clone()));
        let world = World::with(Settings { adjust, ..at(NOW) }).await;
        let refused: Response = verify(&world, &json!({"quote": quote("tdx_quote")})).send().await;
        assert_problem(&refused, StatusCode::SERVICE_UNAVAILABLE, "sgx.collateral_unavailable", "");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(world.number("SELECT count(*) FROM sgx.attestations").await, 0);
    }
}

#[tokio::test]
async fn old_verdicts_are_purged() {
    let world = World::with(at(NOW)).await;
    verdict(&world, json!({"quote": quote("tdx_quote"), "collateral": collateral("tdx_quote")})).await;
    world.advance(SignedDuration::from_hours(24 * 91));
    let clock = world.settings.clock.clone();
    let world = world.restart(Settings { clock, ..Settings::default() }).await;
    nsl_testkit::eventually(crate::LIMIT, "the purge takes it", async || {
        world.number("SELECT count(*) FROM sgx.attestations").await == 0
    })
    .await;
}
