//! One's own second factor.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Answer, Body, IdempotencyKey, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Own;
use crate::actions::State;
use crate::actions::mfa::Proof;
use crate::error::{CredentialError, Error};

/// The second factor of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::TotpStatus)]
#[serde(rename_all = "camelCase")]
pub(super) struct TotpStatus {
    enrolled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    confirmed_at: Option<Timestamp>,
    backup_codes_left: i64,
}

/// Whether the caller has a second factor.
#[utoipa::path(get, path = "/mfa/totp", tag = "auth", operation_id = "authTotpStatus",
    security(("bearer" = ["auth:self"])), responses(
    (status = 200, description = "The second factor", body = TotpStatus),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem)))]
pub(super) async fn status(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
) -> Result<Json<TotpStatus>, ApiError> {
    let status = state.totp_status(&caller).await?;
    Ok(Json(TotpStatus {
        enrolled: status.confirmed_at.is_some(),
        confirmed_at: status.confirmed_at,
        backup_codes_left: status.backup_codes_left,
    }))
}

/// An enrolment, shown once.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::TotpEnrolment)]
#[serde(rename_all = "camelCase")]
pub(super) struct TotpEnrolment<'a> {
    /// In base 32, to be typed into an authenticator app.
    secret: &'a str,
    /// The same for apps that take a link.
    otpauth_url: &'a str,
    /// The same as a picture (SVG) for their cameras.
    qr_svg: &'a str,
}

/// Begins the enrolment of an authenticator app (RFC 6238). Logins need no code until it is confirmed.
#[utoipa::path(post, path = "/mfa/totp", tag = "auth", operation_id = "authStartTotp",
    params(("Idempotency-Key" = Option<String>, Header, description = "The secret is shown once: a replay is 409")),
    security(("bearer" = ["auth:self"])), responses(
    (status = 201, description = "The secret, shown once", body = TotpEnrolment<'static>),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 409, description = "There is a second factor already", body = Problem)))]
pub(super) async fn start(
    caller: Allowed<Own>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
) -> Result<Response, ApiError> {
    let once = key.bind("auth.mfa.totp.start", &())?;
    let made = match state.start_totp(&caller, &once).await? {
        Answer::Made(made) => made,
        Answer::Replayed(before) => return Ok(before),
    };
    let body = TotpEnrolment { secret: &made.secret, otpauth_url: &made.otpauth_url, qr_svg: &made.qr_svg };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::ConfirmTotpRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfirmTotpRequest {
    /// The present code of the app.
    #[schema(value_type = String)]
    code: Secret,
}

/// Ends the enrolment with a code of the app. From now on logins with a password need one.
#[utoipa::path(post, path = "/mfa/totp/confirm", tag = "auth", operation_id = "authConfirmTotp",
    request_body = ConfirmTotpRequest, security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The second factor is on"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential, or a wrong code", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 409, description = "No enrolment was begun, or it is confirmed", body = Problem)))]
pub(super) async fn confirm(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<ConfirmTotpRequest>,
) -> Result<StatusCode, ApiError> {
    state.confirm_totp(&caller, &request.code).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::RemoveTotpRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RemoveTotpRequest {
    /// The password of the account.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    /// In place of the password: the present code of the app.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// Takes the second factor away, with its backup codes.
#[utoipa::path(delete, path = "/mfa/totp", tag = "auth", operation_id = "authRemoveTotp",
    request_body = RemoveTotpRequest, security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The second factor is off"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential, or a wrong password or code", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 409, description = "There is no second factor", body = Problem),
    (status = 422, description = "Neither password nor code", body = Problem)))]
pub(super) async fn remove(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<RemoveTotpRequest>,
) -> Result<StatusCode, ApiError> {
    let proof = match (request.password, request.code) {
        (Some(password), None) => Proof::Password(password),
        (None, Some(code)) => Proof::Code(code),
        _ => return Err(Error::from(CredentialError::ProofMissing).into()),
    };
    state.remove_totp(&caller, proof).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Backup codes, shown once.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::BackupCodes)]
pub(super) struct BackupCodes<'a> {
    /// Each is good once, in place of `totpCode`.
    codes: Vec<&'a str>,
}

/// Makes ten backup codes; earlier ones are void.
#[utoipa::path(post, path = "/mfa/backup-codes", tag = "auth", operation_id = "authMakeBackupCodes",
    params(("Idempotency-Key" = Option<String>, Header, description = "The codes are shown once: a replay is 409")),
    security(("bearer" = ["auth:self"])), responses(
    (status = 201, description = "The codes, shown once", body = BackupCodes<'static>),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 409, description = "There is no second factor", body = Problem)))]
pub(super) async fn backup_codes(
    caller: Allowed<Own>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
) -> Result<Response, ApiError> {
    let once = key.bind("auth.mfa.backup-codes", &())?;
    let made = match state.make_backup_codes(&caller, &once).await? {
        Answer::Made(made) => made,
        Answer::Replayed(before) => return Ok(before),
    };
    let body = BackupCodes { codes: made.iter().map(|code| code.as_str()).collect() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
