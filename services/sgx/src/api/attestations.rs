//! Attestation: quotes of others, and the service's own.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Body, Parts, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Attest;
use crate::actions::Sgx;
use crate::actions::attestation::{Attestation, Evidence, OwnQuote};
use crate::actions::platform::Mode;
use crate::domain::attestation::{Expectation, Measurements, Reason, ReportData, answer_to, padded};

/// A quote to be verified.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::VerifyAttestation)]
pub(super) struct VerifyAttestation {
    /// The quote, standard base64.
    #[schema(content_encoding = "base64")]
    quote: String,
    /// Intel's collateral for the platform, as `dcap-qvl` writes it (QuoteCollateralV3, binary parts in hexadecimal). Left
    /// out, the installation's own is used.
    #[schema(value_type = Option<Object>)]
    collateral: Option<Value>,
    /// The report data that the quote has to carry: up to 64 bytes in hexadecimal, padded with zeros.
    report_data: Option<String>,
    /// Instead of `reportData`, for a quote of this service: the nonce that it was asked with, standard base64.
    nonce: Option<String>,
    #[serde(default)]
    #[schema(required = false)]
    policy: Expectation,
}

/// A verdict on a quote.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Attestation)]
pub(super) struct AttestationView {
    id: Uuid,
    /// Whether Intel vouches for it and it is as the policy wants it.
    accepted: bool,
    /// `sgx` or `tdx`.
    tee: String,
    /// Intel's word for the state of the platform; absent where nothing vouches for the quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb_status: Option<String>,
    /// Intel's advisories that apply to the platform.
    advisory_ids: Vec<String>,
    /// What the quote says; absent where nothing vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    measurements: Option<Measurements>,
    /// 64 bytes in hexadecimal; absent where nothing vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    report_data: Option<String>,
    quote_sha256: String,
    /// Whose collateral it was judged by: `caller`, `file` or `pccs`.
    collateral: String,
    /// Why it is not accepted; empty where it is.
    reasons: Vec<Reason>,
    verified_by: String,
    #[schema(value_type = String, format = DateTime)]
    verified_at: Timestamp,
    /// Until then the verdict counts as fresh.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Attestation> for AttestationView {
    fn from(found: Attestation) -> Self {
        Self {
            id: found.id,
            accepted: found.accepted,
            tee: found.tee,
            report_data: found.report_data.map(hex::encode),
            tcb_status: found.tcb_status,
            advisory_ids: found.advisory_ids,
            measurements: found.measurements,
            quote_sha256: hex::encode(found.quote_sha256),
            collateral: found.collateral,
            reasons: found.reasons,
            verified_by: found.verified_by,
            verified_at: found.verified_at,
            expires_at: found.expires_at,
        }
    }
}

/// What the service is to answer with its quote.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::AttestService)]
pub(super) struct AttestService {
    /// 16 to 64 random bytes, standard base64.
    #[schema(content_encoding = "base64")]
    nonce: String,
}

/// The service's own quote.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::ServiceQuote)]
pub(super) struct ServiceQuoteView {
    /// `hardware`, or `simulation`: then there is no quote, and nothing vouches for the code that answers.
    mode: &'static str,
    /// Standard base64; null in simulation.
    quote: Option<String>,
    /// What the quote carries for this nonce, in hexadecimal: SHA-256 over the texts `nsl.sgx.attestation.v1` and the nonce,
    /// each behind its length as 64 bits, big-endian; then 32 zeros.
    report_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurements: Option<Measurements>,
    statement: &'static str,
}

impl From<OwnQuote> for ServiceQuoteView {
    fn from(own: OwnQuote) -> Self {
        Self {
            mode: own.mode.as_str(),
            quote: own.quote.map(|quote| STANDARD.encode(quote)),
            report_data: hex::encode(own.report_data),
            measurements: own.measurements,
            statement: match own.mode {
                Mode::Simulation => {
                    "This process runs in simulation mode, outside any enclave: nothing vouches for its code or its keys."
                }
                Mode::Hardware => {
                    "Verify the quote yourself and compare the measurements with those of the release that you expect; what \
                     this process says of itself proves nothing."
                }
            },
        }
    }
}

/// Verify a quote of an SGX enclave or a TDX domain to Intel's root, and hold it against a policy. The verdict is kept, also
/// one that does not accept: a sealed item may ask for it (`X-Attestation-Id`).
#[utoipa::path(post, path = "/attestations/verify", tag = "sgx", operation_id = "sgxVerifyAttestation",
    request_body = VerifyAttestation, security(("bearer" = ["sgx:attest"])),
    responses(
        (status = 200, description = "The verdict", body = AttestationView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 422, description = "Not a quote, no collateral for it, or a policy that no quote could meet", body = Problem),
        (status = 503, description = "The collateral or the database is away", body = Problem)))]
pub(super) async fn verify_attestation(
    caller: Allowed<Attest>,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<VerifyAttestation>,
) -> Result<Json<AttestationView>, ApiError> {
    let evidence = evidence(request).map_err(|error| error.unrecorded(&caller))?;
    Ok(Json(sgx.verify_attestation(&caller, evidence).await?.into()))
}

/// A verdict that was given before.
#[utoipa::path(get, path = "/attestations/{id}", tag = "sgx", operation_id = "sgxGetAttestation",
    params(("id" = Uuid, Path)),
    security(("bearer" = ["sgx:attest"])),
    responses(
        (status = 200, description = "The verdict", body = AttestationView),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such attestation in this tenant", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_attestation(
    caller: Allowed<Attest>,
    Parts(id): Parts<Uuid>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<AttestationView>, ApiError> {
    Ok(Json(sgx.attestation(&caller, id).await?.into()))
}

/// Ask the service for its own quote over a nonce. In simulation mode it says so, and `quote` is null.
#[utoipa::path(post, path = "/attestation", tag = "sgx", operation_id = "sgxAttestService",
    request_body = AttestService, security(("bearer" = ["sgx:attest"])),
    responses(
        (status = 200, description = "The quote, or the word that there is none", body = ServiceQuoteView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 422, description = "A nonce of fewer than 16 or more than 64 bytes", body = Problem),
        (status = 503, description = "The platform or the database is away", body = Problem)))]
pub(super) async fn attest_service(
    caller: Allowed<Attest>,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<AttestService>,
) -> Result<Json<ServiceQuoteView>, ApiError> {
    let nonce = nonce(&request.nonce).map_err(|error| error.unrecorded(&caller))?;
    Ok(Json(sgx.own_quote(&caller, &nonce).await?.into()))
}

fn evidence(request: VerifyAttestation) -> Result<Evidence, ApiError> {
    Ok(Evidence {
        quote: base64(&request.quote, "/quote")?,
        collateral: request.collateral,
        report_data: expected_report_data(request.report_data.as_deref(), request.nonce.as_deref())?,
        expectation: request.policy,
    })
}

fn expected_report_data(
    report_data: Option<&str>,
    asked_with: Option<&str>,
) -> Result<Option<ReportData>, ApiError> {
    match (report_data, asked_with) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            let bytes = hex::decode(text).ok().filter(|bytes| !bytes.is_empty());
            let data = bytes.and_then(|bytes| padded(&bytes)).ok_or_else(|| {
                unprocessable("sgx.invalid_report_data", "/reportData", "1 to 64 bytes in hexadecimal")
            })?;
            Ok(Some(data))
        }
        (None, Some(text)) => Ok(Some(answer_to(&nonce(text)?))),
        (Some(_), Some(_)) => Err(unprocessable(
            "sgx.invalid_report_data",
            "/nonce",
            "one of `reportData` and `nonce`, not both",
        )),
    }
}

fn nonce(text: &str) -> Result<Vec<u8>, ApiError> {
    let bytes = base64(text, "/nonce")?;
    if (16..=64).contains(&bytes.len()) {
        return Ok(bytes);
    }
    Err(unprocessable("sgx.invalid_nonce", "/nonce", "16 to 64 bytes"))
}

fn base64(text: &str, pointer: &'static str) -> Result<Vec<u8>, ApiError> {
    STANDARD.decode(text).map_err(|error| {
        ApiError::bad_request(
            "sgx.invalid_base64",
            format!(
                "{} is not standard base64 (RFC 4648 §4, with padding).",
                pointer.trim_start_matches('/')
            ),
        )
        .at(pointer, error.to_string())
    })
}

fn unprocessable(code: &'static str, pointer: &'static str, problem: &str) -> ApiError {
    let name = pointer.trim_start_matches('/');
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, format!("{name} takes {problem}."))
        .at(pointer, problem)
}
