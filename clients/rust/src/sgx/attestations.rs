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
    /// Instead of the report data, for a quote of a service such as this: the nonce of [`Sgx::own_quote`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    pub policy: AttestationPolicy,
}

/// What a quote has to say; a list that is empty takes anything. Default: a platform that is up to date, whatever runs on
/// it. Bytes in hex.
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
    pub rtmr0: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtmr1: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtmr2: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtmr3: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_tcb_status: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_advisories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tcb_evaluation_data_number: Option<u32>,
}

/// A verdict on a quote.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    pub id: String,
    pub accepted: bool,
    /// `sgx` or `tdx`.
    pub tee: String,
    /// Intel's word for the state of the platform; none where nothing vouches for the quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcb_status: Option<String>,
    #[serde(default)]
    pub advisory_ids: Vec<String>,
    /// What the quote says; none where nothing vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurements: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_data: Option<String>,
    pub quote_sha256: String,
    /// Whose collateral it was judged by: `caller`, `file` or `pccs`.
    pub collateral: String,
    /// Why it is not accepted.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    pub verified_at: Timestamp,
    /// Until when it counts as fresh.
    pub expires_at: Timestamp,
}

/// Why a quote is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reason {
    /// Stable, such as `tcb_status`.
    pub code: String,
    pub detail: String,
}

/// What the service says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnQuote {
    /// `hardware` or `simulation`.
    pub mode: String,
    /// Standard base64; none in simulation, where there is nothing to prove.
    pub quote: Option<String>,
    /// What the quote carries for the nonce, in hex.
    pub report_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurements: Option<Map<String, Value>>,
    pub statement: String,
}

#[derive(Serialize)]
struct Ask<'a> {
    nonce: &'a str,
}

impl Sgx<'_> {
    /// A quote of the service's own enclave over a nonce: 16 to 64 random bytes in standard base64.
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
