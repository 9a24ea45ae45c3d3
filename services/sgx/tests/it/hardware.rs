//! A process that is told that it runs in an enclave, and does not. No test has a real one: what is shown here is that
//! nothing else passes for it, and that it never falls back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_sgx::{HardwareError, PlatformKey, RootRing, SgxConfig, StartError};
use nsl_testkit::TestDb;

use crate::attestation::{clock_at, data};
use crate::world::KEY;

/// In the midst of the time in which the sample quote verifies.
const NOW: i64 = 1_751_000_000;
const MR_ENCLAVE: &str = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb";

fn hardware() -> SgxConfig {
    let mut config = SgxConfig { enable_hardware_mode: true, ..SgxConfig::default() };
    // With a configured key, so that falling back would work.
    config.database.encryption_key = Some(Secret::new(KEY.to_owned()));
    config.attestation.collateral_file = Some(data("sgx_quote_collateral.json"));
    config.attestation.accepted_tcb_status = vec!["ConfigurationAndSWHardeningNeeded".to_owned()];
    config
}

/// A directory that looks as Gramine's, with files in place of what the platform computes.
fn forge(dir: &Path) {
    fs::create_dir_all(dir.join("keys")).unwrap();
    fs::write(dir.join("keys/_sgx_mrsigner"), [7; 16]).unwrap();
    fs::write(dir.join("keys/_sgx_mrenclave"), [8; 16]).unwrap();
    fs::write(dir.join("user_report_data"), [0; 64]).unwrap();
    let mut info = vec![0; 512];
    info[..32].copy_from_slice(&hex::decode(MR_ENCLAVE).unwrap());
    fs::write(dir.join("my_target_info"), info).unwrap();
    fs::copy(data("sgx_quote"), dir.join("quote")).unwrap();
}

async fn refusal(base: &Base, config: &SgxConfig, dir: &Path) -> HardwareError {
    match RootRing::open_on(base, config, dir).await {
        Err(StartError::Hardware(error)) => error,
        Err(other) => panic!("another refusal: {other}"),
        Ok(_) => panic!("it started"),
    }
}

type Change = fn(&mut SgxConfig);

struct World {
    base: Base,
    dir: tempfile::TempDir,
    test: TestDb,
}

impl World {
    async fn new() -> Self {
        let test = TestDb::new().await.unwrap();
        let base = Base { clock: clock_at(NOW), ..test.base() };
        let dir = tempfile::tempdir().unwrap();
        forge(dir.path());
        Self { base, dir, test }
    }

    async fn refusal(&self, config: &SgxConfig) -> String {
        let error = refusal(&self.base, config, self.dir.path()).await;
        let text = error.to_string();
        assert!(text.contains("SGX"), "it names the setting: {text}");
        text
    }

    async fn made_nothing(&self) {
        let client = self.test.client("postgres").await.unwrap();
        let made = "SELECT (SELECT count(*) FROM sgx.root_keys) + (SELECT count(*) FROM sgx.root_slots)";
        assert_eq!(client.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0, "no root key was made");
    }
}

#[tokio::test]
async fn without_a_platform_it_names_what_is_missing() {
    let world = World::new().await;
    for name in ["keys/_sgx_mrsigner", "my_target_info", "user_report_data", "quote"] {
        let file = world.dir.path().join(name);
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let text = world.refusal(&hardware()).await;
        assert!(
            text.contains(name) && text.contains("Gramine") && text.contains("simulation"),
            "{name}: {text}"
        );
        assert!(!file.exists(), "{name} is not made by us");
        fs::write(file, kept).unwrap();
    }
    // The key that is not asked for may be absent.
    fs::remove_file(world.dir.path().join("keys/_sgx_mrenclave")).unwrap();
    let text = world.refusal(&hardware()).await;
    assert!(text.contains("random report data"), "{text}");
    let text = world.refusal(&SgxConfig { platform_key: PlatformKey::Mrenclave, ..hardware() }).await;
    assert!(text.contains("keys/_sgx_mrenclave"), "{text}");
    let nowhere = world.dir.path().join("nowhere");
    let error = refusal(&world.base, &hardware(), &nowhere).await;
    assert!(matches!(error, HardwareError::File { verb: "read", .. }), "{error}");
    world.made_nothing().await;
}

/// A random key file, and the quote of another enclave at another time, which is genuine.
#[tokio::test]
async fn an_old_quote_is_no_answer() {
    let world = World::new().await;
    let error = refusal(&world.base, &hardware(), world.dir.path()).await;
    assert!(matches!(error, HardwareError::StaleQuote { .. }), "{error}");
    let written = fs::read(world.dir.path().join("user_report_data")).unwrap();
    assert!(written.len() == 64 && written != [0; 64], "it did ask");
    let error = refusal(&world.base, &hardware(), world.dir.path()).await;
    assert!(matches!(error, HardwareError::StaleQuote { .. }), "{error}");
    assert_ne!(
        fs::read(world.dir.path().join("user_report_data")).unwrap(),
        written,
        "with other data each time"
    );
    world.made_nothing().await;
}

/// Files of other lengths, other bytes, or another technology.
#[tokio::test]
async fn what_the_platform_would_not_give_is_refused() {
    let world = World::new().await;
    let path = |name: &str| world.dir.path().join(name);
    for (name, bytes, says) in [
        ("keys/_sgx_mrsigner", vec![7; 32], "32 bytes"),
        ("keys/_sgx_mrsigner", Vec::new(), "0 bytes"),
        ("my_target_info", vec![0; 511], "511 bytes"),
        ("quote", b"quote".to_vec(), "no quote"),
        ("quote", vec![0; 4600], "no quote"),
        ("quote", fs::read(data("tdx_quote")).unwrap(), "another kind"),
    ] {
        let kept = fs::read(path(name)).unwrap();
        fs::write(path(name), bytes).unwrap();
        let text = world.refusal(&hardware()).await;
        assert!(text.contains(name) && text.contains(says), "{name}: {text}");
        fs::write(path(name), kept).unwrap();
    }
    // A file that echoes what was written.
    fs::remove_file(path("quote")).unwrap();
    std::os::unix::fs::symlink(path("user_report_data"), path("quote")).unwrap();
    let text = world.refusal(&hardware()).await;
    assert!(text.contains("no quote"), "{text}");
    world.made_nothing().await;
}

/// The quote with our report data put into it: the rest is as it was, so that nobody signed it.
#[tokio::test]
async fn a_quote_that_carries_the_data_and_no_signature_over_them_is_refused() {
    let world = World::new().await;
    let quote = world.dir.path().join("quote");
    fs::remove_file(&quote).unwrap();
    make_pipe(&quote);
    let (data_file, fifo, sample) =
        (world.dir.path().join("user_report_data"), quote.clone(), fs::read(data("sgx_quote")).unwrap());
    // Whoever opens the pipe gets the sample with the data that were just written.
    let forger = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let mut forged = sample;
        forged[48 + 320..48 + 384].copy_from_slice(&fs::read(&data_file).unwrap());
        std::io::Write::write_all(&mut pipe, &forged).unwrap();
    });
    let error = refusal(&world.base, &hardware(), world.dir.path()).await;
    forger.join().unwrap();
    let HardwareError::NotAccepted(reason) = &error else { panic!("{error}") };
    assert!(reason.contains("not_genuine"), "{reason}");
    world.made_nothing().await;
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn what_is_expected_of_the_own_enclave_is_kept() {
    let world = World::new().await;
    let mut config = hardware();
    config.attestation.mr_enclave = Some("ab".repeat(32));
    let text = world.refusal(&config).await;
    assert!(text.contains(MR_ENCLAVE) && text.contains("SGX:Attestation:MrEnclave"), "{text}");
    let changes: [(&str, Change); 4] = [
        ("MrEnclave", |config| config.attestation.mr_enclave = Some("ab".to_owned())),
        ("MrSigner", |config| config.attestation.mr_signer = Some("x".repeat(64))),
        ("AcceptedTcbStatus", |config| config.attestation.accepted_tcb_status = vec!["Fine".to_owned()]),
        ("PccsUrl", |config| config.attestation.pccs_url = Some("ftp://pccs".to_owned())),
    ];
    for (setting, change) in changes {
        let mut config = hardware();
        change(&mut config);
        let text = world.refusal(&config).await;
        assert!(text.contains(&format!("SGX:Attestation:{setting}")), "{text}");
    }
    world.made_nothing().await;
}

/// The same installation opens in simulation mode, once that is asked for.
#[tokio::test]
async fn simulation_is_asked_for_and_says_so() {
    let world = World::new().await;
    world.refusal(&hardware()).await;
    let config = SgxConfig { enable_hardware_mode: false, ..hardware() };
    let ring = Arc::new(RootRing::open_on(&world.base, &config, world.dir.path()).await.unwrap());
    assert_eq!(ring.mode().as_str(), "simulation");
}
