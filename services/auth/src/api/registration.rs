//! Accounts that their owners make, and addresses that they confirm.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use nsl_core::ApiError;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Answer, Body, IdempotencyKey, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Own;
use super::users::UserView;
use crate::actions::State;
use crate::actions::registration::ROLE;
use crate::domain::user::NewUser;

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::RegisterRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// 3 to 100 characters; upper and lower case are the same.
    username: String,
    /// At least 12 characters, and hard to guess.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    email: String,
}

/// Makes an account of one's own, where `Auth__AllowRegistration` is true, and mails a token that confirms its address.
#[utoipa::path(post, path = "/register", tag = "auth", operation_id = "authRegister",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = RegisterRequest, responses(
    (status = 201, description = "The new account", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 403, description = "Accounts are made by an administrator here", body = Problem),
    (status = 409, description = "The username or the e-mail address is taken", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 429, description = "Too many requests in a minute", body = Problem),
    (status = 503, description = "Too many passwords at once", body = Problem)))]
pub(super) async fn register(
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<RegisterRequest>,
) -> Result<Response, ApiError> {
    let roles = [ROLE.to_owned()];
    let new =
        NewUser { username: &request.username, email: Some(&request.email), full_name: None, roles: &roles };
    // Without the password: the hash of what is bound here is stored.
    let once = key.bind("auth.register", &new)?;
    match state.register(origin, &new, request.password, &once, UserView::from).await? {
        Answer::Made(user) => Ok((StatusCode::CREATED, Json(user)).into_response()),
        Answer::Replayed(before) => Ok(before),
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::VerifyEmailRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VerifyEmailRequest {
    /// The token of the mail.
    #[schema(value_type = String)]
    token: Secret,
}

/// Confirms an e-mail address by the token that was mailed to it, good once within a day.
#[utoipa::path(post, path = "/email/verify", tag = "auth", operation_id = "authVerifyEmail",
    request_body = VerifyEmailRequest, responses(
    (status = 204, description = "The address is confirmed"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "The token is unknown, was used or has expired", body = Problem),
    (status = 429, description = "Too many requests in a minute", body = Problem)))]
pub(super) async fn verify(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<VerifyEmailRequest>,
) -> Result<StatusCode, ApiError> {
    state.verify_email(origin, request.token.expose()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mails once more the token that confirms one's e-mail address; three at a time are good.
#[utoipa::path(post, path = "/email/verification", tag = "auth", operation_id = "authAskVerification",
    extensions(("x-rate-limit" = json!("login"))), security(("bearer" = ["auth:self"])), responses(
    (status = 202, description = "A mail is on its way, unless three are"),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem),
    (status = 409, description = "There is no address that waits to be confirmed", body = Problem),
    (status = 429, description = "Too many requests in a minute", body = Problem)))]
pub(super) async fn verify_again(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
) -> Result<StatusCode, ApiError> {
    state.verify_again(&caller).await?;
    Ok(StatusCode::ACCEPTED)
}
