//! Quotes of enclaves, and what the service holds of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Sgx;
use crate::error::Error;
use crate::path;

/// A quote to be judged.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyQuote {
    /// Standard base64.
    pub quote: String,
    /// What Intel says about the platform; without it the service uses its own source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collateral: Option<Value>,
    /// What the quote has to carry as its report data, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<AttestationPolicy>,
}

/// What a quote has to say. Default: a platform that is up to date, whatever runs on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttestationPolicy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mr_enclave: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mr_signer: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isv_prod_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_isv_svn: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mr_td: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_tcb_status: Vec<String>,
}

/// A verdict on a quote.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    pub id: String,
    pub accepted: bool,
    /// `sgx`, `tdx` or `unknown`.
    pub tee: String,
    pub tcb_status: Option<String>,
    /// Why it is not accepted.
    #[serde(default)]
    pub reasons: Vec<String>,
    pub verified_at: Timestamp,
    /// Until when it counts as fresh.
    pub expires_at: Timestamp,
    /// Measurements and whatever else the service tells.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What the service says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnQuote {
    /// `hardware` or `simulation`.
    pub mode: String,
    /// Standard base64; none in simulation, where there is nothing to prove.
    pub quote: Option<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Serialize)]
struct Ask<'a> {
    nonce: &'a str,
}

impl Sgx<'_> {
    /// A quote of the service's own enclave over a nonce (standard base64).
    pub async fn own_quote(&self, nonce: &str) -> Result<OwnQuote, Error> {
        self.ask(self.client.post("/api/v1/sgx/attestation").json(&Ask { nonce })).await
    }

    /// A verdict, accepted or not; only what is no quote at all is an error.
    pub async fn verify_quote(&self, quote: &VerifyQuote) -> Result<Attestation, Error> {
        self.ask(self.client.post("/api/v1/sgx/attestations/verify").json(quote)).await
    }

    /// A verdict of before.
    pub async fn attestation(&self, id: &str) -> Result<Attestation, Error> {
        let id = path::segment("attestation", id)?;
        self.ask(self.client.get(&format!("/api/v1/sgx/attestations/{id}"))).await
    }
}
