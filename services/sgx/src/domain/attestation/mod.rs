//! Attestation: whether Intel vouches for a quote, what it says, and whether that is what the caller expects.

/// What is expected of a quote.
mod expectation;
/// Quotes: read, and verified to Intel's root.
mod quote;
/// Real quotes: accepted at their time, refused otherwise.
#[cfg(test)]
mod samples;

use std::fmt;

use nsl_crypto::aad::Aad;
use nsl_crypto::digest::sha256;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::expectation::Expectation;
pub(crate) use self::quote::{Collateral, Quote, covers};

/// What a quote is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = sgx::Tee)]
pub(crate) enum Tee {
    Sgx,
    Tdx,
}

impl Tee {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
        }
    }
}

/// What a genuine quote says of the code that asked for it. Bytes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = sgx::Measurements)]
pub(crate) struct Measurements {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_enclave: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isv_prod_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isv_svn: Option<u16>,
    /// ATTRIBUTES of the enclave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_td: Option<String>,
    /// RTMR0 to RTMR3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtmr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_seam: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_config_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_owner_config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xfam: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn: Option<String>,
    /// Which model of platform it was made on.
    pub fmspc: String,
    /// How recent the knowledge of weaknesses is that it was judged by.
    pub tcb_evaluation_data_number: u32,
}

/// A quote that Intel's chain vouches for at the time asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Genuine {
    pub tee: Tee,
    /// Intel's word for the state of the platform, such as `UpToDate`.
    pub tcb_status: String,
    pub advisory_ids: Vec<String>,
    pub measurements: Measurements,
    pub report_data: ReportData,
    /// Seconds of the Unix time: when the first of the collateral's parts is out of date.
    pub collateral_until: i64,
}

/// The 64 bytes that the attested code chose.
pub(crate) type ReportData = [u8; 64];

/// Why a quote is not accepted: a stable word and what it means here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = sgx::AttestationReason)]
pub(crate) struct Reason {
    /// `not_genuine`, `collateral_expired`, `collateral_not_yet_valid`, `revoked`, `debug`, `tcb_status`, `advisory`,
    /// `tcb_evaluation`, `report_data`, `mr_enclave`, `mr_signer`, `isv_prod_id`, `isv_svn`, `mr_td`, `rtmr0` to `rtmr3`.
    #[schema(value_type = String)]
    pub code: std::borrow::Cow<'static, str>,
    pub detail: String,
}

impl Reason {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn read(text: &str) -> Self {
        let (code, detail) = text.split_once(": ").unwrap_or((text, ""));
        Self { code: code.to_owned().into(), detail: detail.to_owned() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// Up to 64 bytes as report data, padded with zeros; None for more.
pub(crate) fn padded(bytes: &[u8]) -> Option<ReportData> {
    let mut data = [0; 64];
    data.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(data)
}

/// The report data of this service's own quote for a caller's nonce. Not the nonce itself: a caller who chose all 64 bytes
/// could have the enclave quote the hash of a key of theirs, and pass for it elsewhere.
pub(crate) fn answer_to(nonce: &[u8]) -> ReportData {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(Aad::new("nsl.sgx.attestation.v1").bytes(nonce).encoded()));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_its_text() {
        let reason = Reason::new("tcb_status", "OutOfDate: not accepted");
        assert_eq!(Reason::read(&reason.to_string()), reason);
    }

    /// Others compute it as well: `docs/enclave.md` says how.
    #[test]
    fn the_answer_to_a_nonce_is_frozen() {
        let mut expected = [0_u8; 64];
        let mut message = Vec::new();
        for part in [b"nsl.sgx.attestation.v1".as_slice(), b"nonce of sixteen"] {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        expected[..32].copy_from_slice(&sha256(&message));
        assert_eq!(answer_to(b"nonce of sixteen"), expected);
        assert_eq!(padded(b"ab").unwrap()[..3], [b'a', b'b', 0]);
        assert_eq!((padded(&[1; 64]), padded(&[1; 65])), (Some([1; 64]), None));
    }
}
