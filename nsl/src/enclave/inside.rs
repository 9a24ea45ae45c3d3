//! What the enclave does for other processes, beside answering requests: it signs their access tokens, and seals and
//! opens the few secrets that they keep. Reached over the enclave's own listener only, and in no document of the API.

use std::sync::Arc;

use axum::extract::Extension;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_core::config::Secret;
use nsl_core::http::Body;
use nsl_core::ports::{SealedSecret, SecretSealer, TokenSigner};
use nsl_core::{ApiError, Context};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use zeroize::Zeroizing;

use super::{OPEN, SEAL, SIGN};

/// What is done for others, and by whom.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) signer: Arc<dyn TokenSigner>,
    pub(crate) sealer: Arc<dyn SecretSealer>,
    /// The only purposes that are sealed and opened for others: the enclave's own secrets are not among them.
    pub(crate) purposes: &'static [&'static str],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignRequest {
    claims: Value,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Signed {
    pub(super) token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealRequest {
    purpose: String,
    name: String,
    secret: Secret,
}

/// A sealed secret, in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sealed {
    bytes: String,
    root_key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenRequest {
    purpose: String,
    name: String,
    sealed: Sealed,
}

#[derive(Deserialize)]
pub(super) struct Opened {
    pub(super) secret: Secret,
}

impl From<&SealedSecret> for Sealed {
    fn from(sealed: &SealedSecret) -> Self {
        Self { bytes: STANDARD.encode(&sealed.bytes), root_key_id: STANDARD.encode(&sealed.root_key_id) }
    }
}

impl TryFrom<Sealed> for SealedSecret {
    type Error = ApiError;

    fn try_from(sealed: Sealed) -> Result<Self, ApiError> {
        Ok(Self { bytes: decode(&sealed.bytes)?, root_key_id: decode(&sealed.root_key_id)? })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, ApiError> {
    STANDARD
        .decode(text)
        .map_err(|_| ApiError::bad_request("core.invalid_body", "The body does not fit: bytes are base64."))
}

/// The routes, without a declaration.
pub(crate) fn router(inside: Inside) -> OpenApiRouter<Context> {
    Router::new()
        .route(SIGN, post(sign))
        .route(SEAL, post(seal))
        .route(OPEN, post(open))
        .layer(Extension(inside))
        .into()
}

impl Inside {
    fn purpose(&self, name: &str) -> Result<&'static str, ApiError> {
        self.purposes.iter().find(|known| **known == name).copied().ok_or_else(|| {
            ApiError::forbidden(
                "core.purpose_refused",
                "Secrets of this purpose are not sealed or opened for other processes: run the same version in both.",
            )
        })
    }
}

async fn sign(
    Extension(inside): Extension<Inside>,
    Body(request): Body<SignRequest>,
) -> Result<Json<Signed>, ApiError> {
    let token = inside.signer.sign(&request.claims).await?;
    metrics::counter!("nsl_enclave_tokens_signed_total").increment(1);
    Ok(Json(Signed { token }))
}

async fn seal(
    Extension(inside): Extension<Inside>,
    Body(request): Body<SealRequest>,
) -> Result<Json<Sealed>, ApiError> {
    let purpose = inside.purpose(&request.purpose)?;
    let secret = Zeroizing::new(decode(request.secret.expose())?);
    let sealed = inside.sealer.seal(purpose, &request.name, &secret).await?;
    metrics::counter!("nsl_enclave_secrets_sealed_total", "purpose" => purpose).increment(1);
    Ok(Json(Sealed::from(&sealed)))
}

async fn open(
    Extension(inside): Extension<Inside>,
    Body(request): Body<OpenRequest>,
) -> Result<Json<Value>, ApiError> {
    let purpose = inside.purpose(&request.purpose)?;
    let secret = inside.sealer.open(purpose, &request.name, &request.sealed.try_into()?).await?;
    metrics::counter!("nsl_enclave_secrets_opened_total", "purpose" => purpose).increment(1);
    Ok(Json(json!({ "secret": STANDARD.encode(&*secret) })))
}
