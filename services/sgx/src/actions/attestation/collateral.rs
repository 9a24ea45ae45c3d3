//! Intel's collateral: which certificates, revocations, versions and weaknesses a quote is judged by. All of it is signed by
//! Intel, so neither the file nor the PCCS is trusted with more than being up to date.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nsl_core::clock::Clock;
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderMap;
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::AttestationConfig;
use crate::domain::attestation::{Collateral, Quote, Tee, covers};
use crate::error::{AttestationError, HardwareError};

/// Where the installation's own collateral comes from.
pub(crate) struct CollateralSource {
    file: Option<PathBuf>,
    pccs: Option<Pccs>,
}

/// A collateral, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    One(Box<Collateral>),
    Many(Vec<Collateral>),
}

impl CollateralSource {
    pub(crate) fn new(config: &AttestationConfig, clock: &Clock) -> Result<Self, HardwareError> {
        let pccs = config.pccs_url.as_deref().map(|url| Pccs::new(url, clock.clone())).transpose()?;
        Ok(Self { file: config.collateral_file.clone(), pccs })
    }

    /// The collateral for the platform that a quote names, and where it is from.
    pub(crate) async fn find(&self, quote: &Quote) -> Result<(Collateral, &'static str), AttestationError> {
        if self.file.is_none() && self.pccs.is_none() {
            return Err(AttestationError::NoCollateral);
        }
        let (fmspc, authority) = quote.platform().ok_or_else(|| {
            AttestationError::NotAQuote("it carries no certificate of its platform".to_owned())
        })?;
        if let Some(found) = self.on_file(quote.tee(), &fmspc).await? {
            return Ok((found, "file"));
        }
        let Some(pccs) = &self.pccs else {
            return Err(AttestationError::NoCollateral);
        };
        Ok((pccs.collateral(quote.tee(), &fmspc, authority).await?, "pccs"))
    }

    async fn on_file(&self, tee: Tee, fmspc: &str) -> Result<Option<Collateral>, AttestationError> {
        let Some(file) = &self.file else { return Ok(None) };
        let broken = |why: String| {
            AttestationError::CollateralUnavailable(format!("SGX:Attestation:CollateralFile: {why}"))
        };
        let bytes = tokio::fs::read(file).await.map_err(|error| broken(error.to_string()))?;
        let all = match serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))? {
            File::One(one) => vec![*one],
            File::Many(many) => many,
        };
        Ok(all.into_iter().find(|collateral| covers(collateral, tee, fmspc)))
    }
}

/// For so long an answer of the PCCS is used again. Intel renews it monthly.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Platforms have few models; with more, somebody is making them up.
const MOST_KEPT: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest of the parts has some 100 KiB.
const LONGEST: usize = 1 << 20;

/// Intel's service itself has no path for its root's revocations; the certificate names this place.
const INTEL: &str = "api.trustedservices.intel.com";
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

type Kept = HashMap<(&'static str, String), (Timestamp, Collateral)>;

/// A provisioning certificate caching service, or Intel's own.
struct Pccs {
    http: Client,
    base: Url,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Deserialize)]
struct TcbInfoAnswer {
    /// As it was sent: Intel signed these bytes.
    #[serde(rename = "tcbInfo")]
    tcb_info: Box<RawValue>,
    signature: String,
}

#[derive(Deserialize)]
struct IdentityAnswer {
    #[serde(rename = "enclaveIdentity")]
    enclave_identity: Box<RawValue>,
    signature: String,
}

impl Pccs {
    fn new(url: &str, clock: Clock) -> Result<Self, HardwareError> {
        let refuse = |problem: String| HardwareError::Setting { setting: "PccsUrl", problem };
        let mut base = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || base.cannot_be_a_base() {
            return Err(refuse("it begins with neither https:// nor http://".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
        let http = http.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { http, base, clock, kept: Mutex::default() })
    }

    async fn collateral(
        &self,
        tee: Tee,
        fmspc: &str,
        authority: &str,
    ) -> Result<Collateral, AttestationError> {
        let now = self.clock.now();
        let key = (tee.as_str(), fmspc.to_owned());
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, collateral)) = known.filter(|(at, _)| *at <= now && now.duration_since(*at) < KEPT) {
            return Ok(collateral);
        }
        let fetched =
            self.fetch(tee, fmspc, authority).await.map_err(AttestationError::CollateralUnavailable)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, (now, fetched.clone()));
        Ok(fetched)
    }

    async fn fetch(&self, tee: Tee, fmspc: &str, authority: &str) -> Result<Collateral, String> {
        let kind = tee.as_str();
        let pck_crl = self.get(&format!("sgx/certification/v4/pckcrl?ca={authority}&encoding=der")).await?;
        let tcb = self.get(&format!("{kind}/certification/v4/tcb?fmspc={fmspc}")).await?;
        let identity = self.get(&format!("{kind}/certification/v4/qe/identity")).await?;
        let root_crl = if self.base.host_str() == Some(INTEL) {
            self.get_url(Url::parse(INTEL_ROOT_CRL).map_err(|error| error.to_string())?).await?
        } else {
            self.get("sgx/certification/v4/rootcacrl").await?
        };
        let tcb_info: TcbInfoAnswer =
            serde_json::from_slice(&tcb.body).map_err(|error| format!("TCB info: {error}"))?;
        let qe: IdentityAnswer =
            serde_json::from_slice(&identity.body).map_err(|error| format!("QE identity: {error}"))?;
        let signature = |text: &str| hex::decode(text).map_err(|error| format!("signature: {error}"));
        Ok(Collateral {
            pck_crl_issuer_chain: chain(&pck_crl.headers, &["SGX-PCK-CRL-Issuer-Chain"])?,
            root_ca_crl: der(root_crl.body)?,
            pck_crl: der(pck_crl.body)?,
            tcb_info_issuer_chain: chain(
                &tcb.headers,
                &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
            )?,
            tcb_info: tcb_info.tcb_info.get().to_owned(),
            tcb_info_signature: signature(&tcb_info.signature)?,
            qe_identity_issuer_chain: chain(&identity.headers, &["SGX-Enclave-Identity-Issuer-Chain"])?,
            qe_identity: qe.enclave_identity.get().to_owned(),
            qe_identity_signature: signature(&qe.signature)?,
            pck_certificate_chain: None,
        })
    }

    async fn get(&self, path: &str) -> Result<Answer, String> {
        self.get_url(self.base.join(path).map_err(|error| error.to_string())?).await
    }

    async fn get_url(&self, url: Url) -> Result<Answer, String> {
        let place = url.path().to_owned();
        let told = |error: reqwest::Error| format!("{place}: {}", error.without_url());
        let mut response = self.http.get(url).send().await.map_err(told)?;
        if !response.status().is_success() {
            return Err(format!("{place}: {}", response.status()));
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(format!("{place}: more than {LONGEST} bytes"));
            }
        }
        Ok(Answer { headers, body })
    }
}

struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A certificate chain in PEM, percent-encoded in a header.
fn chain(headers: &HeaderMap, names: &[&str]) -> Result<String, String> {
    let value =
        names.iter().find_map(|name| headers.get(*name)).ok_or_else(|| format!("no header {}", names[0]))?;
    let text = percent_decode_str(value.to_str().map_err(|error| error.to_string())?);
    text.decode_utf8().map(Cow::into_owned).map_err(|error| error.to_string())
}

/// A PCCS sends revocations as DER or as hexadecimal of it.
fn der(body: Vec<u8>) -> Result<Vec<u8>, String> {
    const SEQUENCE: u8 = 0x30;
    let text = body.trim_ascii();
    match hex::decode(text) {
        Ok(bytes) if !text.is_empty() => Ok(bytes),
        _ if body.first() == Some(&SEQUENCE) => Ok(body),
        _ => Err("a revocation list is neither DER nor hexadecimal".to_owned()),
    }
}
