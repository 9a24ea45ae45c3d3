//! The platform in hardware mode: an SGX enclave under Gramine, which gives keys and quotes as files.
//!
//! A directory of that name proves nothing, so the process proves itself at the start: it writes random report data, reads
//! the quote back, and has Intel's root vouch for it. That finds what is not a platform; it does not convince anybody else
//! of anything, who has to ask for a quote of their own.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nsl_core::clock::Clock;
use nsl_crypto::key::Key256;
use nsl_crypto::random;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::attestation::collateral::CollateralSource;
use super::root::Opener;
use crate::config::{AttestationConfig, PlatformKey, SgxConfig};
use crate::domain::attestation::{Expectation, Measurements, Quote, ReportData, Tee};
use crate::domain::slot::SlotKind;
use crate::error::{AttestationError, HardwareError};

/// Where Gramine shows it.
pub(crate) const ATTESTATION_DIR: &str = "/dev/attestation";

/// What a process stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The root key is opened by a configured key: nothing vouches for the code that runs.
    Simulation,
    /// An SGX enclave.
    Hardware,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Hardware => "hardware",
        }
    }
}

/// An enclave that has proved itself to this process.
pub(crate) struct Platform {
    dir: PathBuf,
    measurements: Measurements,
    /// The report data and the quote over them are two files: one request at a time.
    quoting: Mutex<()>,
}

/// EGETKEY gives 128 bits.
const KEY_LENGTH: usize = 16;
const TARGET_INFO_LENGTH: usize = 512;

impl Platform {
    /// Proves that the directory is a platform's, and gives its keys.
    pub(super) async fn start(
        dir: &Path,
        config: &SgxConfig,
        clock: &Clock,
        collateral: &CollateralSource,
    ) -> Result<(Self, Vec<Opener>), HardwareError> {
        let mut expectation = expectation(&config.attestation)?;
        let mut platform =
            Self { dir: dir.to_owned(), measurements: Measurements::default(), quoting: Mutex::default() };
        let openers = platform.keys(config.platform_key).await?;
        let own = platform.own_measurement().await?;
        if !expectation.mr_enclave.iter().all(|expected| expected.eq_ignore_ascii_case(&own)) {
            return Err(HardwareError::NotAccepted(format!(
                "this enclave is {own}, which is not SGX:Attestation:MrEnclave"
            )));
        }
        expectation.mr_enclave = vec![own];
        let challenge: ReportData = random::bytes();
        let quote = platform.quote(&challenge).await?;
        let quote = platform.read(quote)?;
        if quote.report_data() != challenge {
            return Err(HardwareError::StaleQuote { file: platform.file("quote") });
        }
        platform.measurements = judge(quote, &challenge, &expectation, clock, collateral).await?;
        Ok((platform, openers))
    }

    pub(crate) fn measurements(&self) -> &Measurements {
        &self.measurements
    }

    /// A fresh quote over these report data.
    pub(crate) async fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, HardwareError> {
        let _alone = self.quoting.lock().await;
        let file = self.file("user_report_data");
        let failed = |source| HardwareError::File { file: file.clone(), verb: "written", source };
        // Not created: where it is not, nothing would read it.
        let mut open = fs::OpenOptions::new().write(true).truncate(true).open(&file).await.map_err(failed)?;
        open.write_all(report_data).await.map_err(failed)?;
        open.flush().await.map_err(failed)?;
        drop(open);
        self.bytes("quote").await.map(|bytes| bytes.to_vec())
    }

    fn read(&self, quote: Vec<u8>) -> Result<Quote, HardwareError> {
        let no = |problem: String| HardwareError::NoQuote { file: self.file("quote"), problem };
        let quote = Quote::read(quote).map_err(|error| no(error.to_string()))?;
        if quote.tee() == Tee::Sgx { Ok(quote) } else { Err(no("it is of another kind than SGX".to_owned())) }
    }

    /// The keys that the platform gives. The one that the configuration names has to be there.
    async fn keys(&self, wanted: PlatformKey) -> Result<Vec<Opener>, HardwareError> {
        let mut openers = Vec::new();
        for (key, kind, name) in [
            (PlatformKey::Mrsigner, SlotKind::Mrsigner, "keys/_sgx_mrsigner"),
            (PlatformKey::Mrenclave, SlotKind::Mrenclave, "keys/_sgx_mrenclave"),
        ] {
            match self.exactly::<KEY_LENGTH>(name).await {
                Ok(bytes) => openers.push(Opener::new(kind, &Key256::from_platform(&bytes))),
                Err(HardwareError::File { source, .. })
                    if key != wanted && source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(openers)
    }

    /// TARGETINFO begins with MRENCLAVE (Intel SDM, volume 3D, table 38-21).
    async fn own_measurement(&self) -> Result<String, HardwareError> {
        let info = self.exactly::<TARGET_INFO_LENGTH>("my_target_info").await?;
        Ok(hex::encode(&info[..32]))
    }

    async fn exactly<const N: usize>(&self, name: &str) -> Result<Zeroizing<[u8; N]>, HardwareError> {
        let bytes = self.bytes(name).await?;
        let mut exact = Zeroizing::new([0; N]);
        if bytes.len() != N {
            return Err(HardwareError::Length { file: self.file(name), length: bytes.len(), expected: N });
        }
        exact.copy_from_slice(&bytes);
        Ok(exact)
    }

    async fn bytes(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, HardwareError> {
        let file = self.file(name);
        match fs::read(&file).await {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(source) => Err(HardwareError::File { file, verb: "read", source }),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What the configuration expects of the own enclave.
fn expectation(config: &AttestationConfig) -> Result<Expectation, HardwareError> {
    let listed = |one: &Option<String>| one.iter().cloned().collect::<Vec<_>>();
    let expectation = Expectation {
        mr_enclave: listed(&config.mr_enclave),
        mr_signer: listed(&config.mr_signer),
        accepted_tcb_status: config.accepted_tcb_status.clone(),
        ..Expectation::default()
    };
    expectation.check().map_err(|violation| HardwareError::Setting {
        setting: match violation.pointer {
            "/policy/mrEnclave" => "MrEnclave",
            "/policy/mrSigner" => "MrSigner",
            _ => "AcceptedTcbStatus",
        },
        problem: violation.problem,
    })?;
    Ok(expectation)
}

/// Whether Intel vouches for the own quote, and it is what is expected.
async fn judge(
    quote: Quote,
    challenge: &ReportData,
    expectation: &Expectation,
    clock: &Clock,
    collateral: &CollateralSource,
) -> Result<Measurements, HardwareError> {
    let (collateral, _) = collateral.find(&quote).await.map_err(|error| match error {
        AttestationError::CollateralUnavailable(why) => HardwareError::Collateral(why),
        other => HardwareError::Collateral(other.to_string()),
    })?;
    let genuine = quote.verify(&collateral, clock.now().as_second());
    let genuine = genuine.map_err(|reason| HardwareError::NotAccepted(reason.to_string()))?;
    let reasons = expectation.judge(&genuine, Some(challenge));
    if !reasons.is_empty() {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        return Err(HardwareError::NotAccepted(reasons.join("; ")));
    }
    Ok(genuine.measurements)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::attestation::padded;

    const MR_ENCLAVE: &str = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb";
    const MR_SIGNER: &str = "815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6";

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/dcap").join(name)
    }

    /// Judges the sample as if it were the own quote, at a time at which it is genuine.
    async fn judged(config: &AttestationConfig, challenge: &[u8]) -> Result<Measurements, HardwareError> {
        let clock = Clock::system();
        clock.advance(Timestamp::from_second(1_751_000_000).unwrap().duration_since(Timestamp::now()));
        let quote = Quote::read(std::fs::read(data("sgx_quote")).unwrap()).unwrap();
        let collateral = CollateralSource::new(config, &clock)?;
        let expectation = expectation(config)?;
        judge(quote, &padded(challenge).unwrap(), &expectation, &clock, &collateral).await
    }

    fn config() -> AttestationConfig {
        AttestationConfig {
            collateral_file: Some(data("sgx_quote_collateral.json")),
            mr_enclave: Some(MR_ENCLAVE.to_uppercase()),
            mr_signer: Some(MR_SIGNER.to_owned()),
            accepted_tcb_status: vec!["ConfigurationAndSWHardeningNeeded".to_owned()],
            ..AttestationConfig::default()
        }
    }

    /// No test can have a quote over data that are random at its time; a real one over known data is the nearest.
    #[tokio::test]
    async fn a_genuine_quote_over_the_challenge_passes_and_nothing_else_about_it_may_differ() {
        let passed = judged(&config(), b"Hello, world!").await.unwrap();
        assert_eq!(passed.mr_enclave.as_deref(), Some(MR_ENCLAVE));
        let other = || Some("ab".repeat(32));
        for (config, challenge, says) in [
            (config(), b"Hello, World!", "report_data"),
            (AttestationConfig { mr_enclave: other(), ..config() }, b"Hello, world!", "mr_enclave"),
            (AttestationConfig { mr_signer: other(), ..config() }, b"Hello, world!", "mr_signer"),
            (
                AttestationConfig { accepted_tcb_status: vec!["UpToDate".to_owned()], ..config() },
                b"Hello, world!",
                "tcb_status",
            ),
        ] {
            let refused = judged(&config, challenge).await.unwrap_err();
            let HardwareError::NotAccepted(reason) = &refused else { panic!("{refused}") };
            assert!(reason.starts_with(says), "{reason}");
        }
    }

    #[tokio::test]
    async fn without_collateral_for_the_platform_it_says_where_to_get_it() {
        for file in [
            None,
            Some(data("tdx_quote_collateral.json")),
            Some(data("absent.json")),
            Some(data("sgx_quote")),
        ] {
            let config = AttestationConfig { collateral_file: file, ..config() };
            let refused = judged(&config, b"Hello, world!").await.unwrap_err();
            assert!(matches!(refused, HardwareError::Collateral(_)), "{refused}");
            assert!(refused.to_string().contains("SGX:Attestation:PccsUrl"), "{refused}");
        }
    }
}
