//! Login, refresh, logout, and who one is.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use nsl_core::ApiError;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Body, Problem};
use nsl_core::ids::{SessionId, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Own;
use super::users::UserView;
use crate::actions::State;
use crate::actions::login::Credentials;
use crate::actions::tokens::Tokens;
use crate::domain::login::Wishes;
use crate::error::Error;

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::LoginRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// Upper and lower case are the same.
    username: String,
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// The code of the second factor, for accounts that have one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    totp_code: Option<Secret>,
    /// The id of the tenant to log in to; without it, the one that the user has been a member of the longest.
    #[serde(default)]
    tenant: Option<TenantId>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::RefreshRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RefreshRequest {
    /// The refresh token of the latest answer.
    #[schema(value_type = String)]
    refresh_token: Secret,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::TokenResponse)]
#[serde(rename_all = "camelCase")]
struct TokenResponse {
    /// A JWT (RFC 9068), for `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: i64,
    /// Good for one use at `auth/refresh`, which gives the next one.
    refresh_token: String,
}

fn answer(tokens: Tokens) -> Response {
    let body = TokenResponse {
        access_token: tokens.access,
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: tokens.refresh.expose().to_owned(),
    };
    // RFC 6749 section 5.1: no cache keeps tokens.
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Starts a session with a username and a password.
#[utoipa::path(post, path = "/login", tag = "auth", operation_id = "authLogin", request_body = LoginRequest, responses(
    (status = 200, description = "The session's tokens", body = TokenResponse),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "Wrong username or password, or an account that cannot log in", body = Problem),
    (status = 403, description = "Not a member of the tenant asked for", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 503, description = "Too many logins at once", body = Problem)))]
pub(super) async fn login(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<LoginRequest>,
) -> Result<Response, ApiError> {
    let LoginRequest { username, password, totp_code, tenant } = request;
    let wishes = Wishes { tenant, has_totp_code: totp_code.is_some() };
    let tokens = state.login(origin, Credentials { username, password, wishes }).await?;
    Ok(answer(tokens))
}

/// Exchanges a refresh token for the next tokens of its session. A refresh token that was used before ends the session.
#[utoipa::path(post, path = "/refresh", tag = "auth", operation_id = "authRefresh", request_body = RefreshRequest,
    responses(
    (status = 200, description = "The next tokens", body = TokenResponse),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "The refresh token is unknown, has expired or was used before", body = Problem)))]
pub(super) async fn refresh(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<RefreshRequest>,
) -> Result<Response, ApiError> {
    let tokens = state.refresh(origin, request.refresh_token.expose()).await?;
    Ok(answer(tokens))
}

/// Ends the session that a refresh token is of. Its access tokens end with it, within a second.
#[utoipa::path(post, path = "/logout", tag = "auth", operation_id = "authLogout", request_body = RefreshRequest,
    security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The session has ended"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem),
    (status = 422, description = "The refresh token is not of one of your sessions", body = Problem)))]
pub(super) async fn logout(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<RefreshRequest>,
) -> Result<StatusCode, ApiError> {
    state.logout(&caller, request.refresh_token.expose()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who one is, and what the credential allows.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::Me)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    #[serde(flatten)]
    user: UserView,
    tenant_id: TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    /// What this credential allows: that of the time when it was given. `*` is everything.
    permissions: Vec<String>,
}

/// The caller's own account.
#[utoipa::path(get, path = "/me", tag = "auth", operation_id = "authMe", security(("bearer" = ["auth:self"])),
    responses(
    (status = 200, description = "The account", body = Me),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem)))]
pub(super) async fn me(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
) -> Result<Json<Me>, ApiError> {
    let principal = &caller.principal;
    let user = principal.user.ok_or(Error::UserNotFound)?;
    Ok(Json(Me {
        user: state.user(&caller, user).await?.into(),
        tenant_id: principal.tenant,
        session_id: principal.session,
        permissions: principal.permissions.iter().map(str::to_owned).collect(),
    }))
}
