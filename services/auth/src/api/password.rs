//! Passwords: changed, forgotten, reset.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use nsl_core::ApiError;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Body, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Own;
use crate::actions::State;

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::ChangePasswordRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangePasswordRequest {
    #[schema(value_type = String, format = Password)]
    current_password: Secret,
    /// At least 12 characters, and hard to guess.
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
}

/// Changes one's own password. Every other session of the account ends.
#[utoipa::path(post, path = "/password/change", tag = "auth", operation_id = "authChangePassword",
    request_body = ChangePasswordRequest, security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The password is another one"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential, or the present password is wrong", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 422, description = "The new password cannot be accepted", body = Problem),
    (status = 503, description = "Too many passwords at once", body = Problem)))]
pub(super) async fn change(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<ChangePasswordRequest>,
) -> Result<StatusCode, ApiError> {
    state.change_password(&caller, request.current_password, request.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::ForgotPasswordRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ForgotPasswordRequest {
    #[serde(default)]
    username: Option<String>,
    /// In place of the username.
    #[serde(default)]
    email: Option<String>,
}

/// Mails a token that sets a new password, good once within an hour. The answer is the same whether or not there is
/// such an account.
#[utoipa::path(post, path = "/password/forgot", tag = "auth", operation_id = "authForgotPassword",
    extensions(("x-rate-limit" = json!("login"))), request_body = ForgotPasswordRequest, responses(
    (status = 202, description = "If there is such an account with an address, a mail is on its way"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 429, description = "Too many requests in a minute", body = Problem)))]
pub(super) async fn forgot(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<ForgotPasswordRequest>,
) -> Result<StatusCode, ApiError> {
    let ((Some(name), None) | (None, Some(name))) = (request.username, request.email) else {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(ApiError::new(status, "auth.invalid_field", "Send either `username` or `email`.")
            .at("/username", "send it, or email"));
    };
    state.forgot_password(origin, &name).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::ResetPasswordRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResetPasswordRequest {
    /// The token of the mail.
    #[schema(value_type = String)]
    token: Secret,
    /// At least 12 characters, and hard to guess.
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
}

/// Sets a new password by the token of a mail. Every session of the account ends.
#[utoipa::path(post, path = "/password/reset", tag = "auth", operation_id = "authResetPassword",
    extensions(("x-rate-limit" = json!("login"))), request_body = ResetPasswordRequest, responses(
    (status = 204, description = "The password is another one"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "The token is unknown, was used or has expired", body = Problem),
    (status = 422, description = "The new password cannot be accepted", body = Problem),
    (status = 429, description = "Too many requests in a minute", body = Problem),
    (status = 503, description = "Too many passwords at once", body = Problem)))]
pub(super) async fn reset(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<ResetPasswordRequest>,
) -> Result<StatusCode, ApiError> {
    state.reset_password(origin, request.token.expose(), request.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
