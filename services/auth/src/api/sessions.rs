//! Login, refresh, logout, who one is, and the sessions that go on.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Body, Cursor, Limit, Page, Parts, Problem, Search};
use nsl_core::ids::{SessionId, TenantId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Own;
use super::users::UserView;
use crate::actions::State;
use crate::actions::login::Credentials;
use crate::actions::sessions::Whose;
use crate::actions::tokens::Tokens;
use crate::domain::login::Wishes;
use crate::error::Error;
use crate::store::sessions::Session;

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
    /// The name or the id of the tenant to log in to; without it, the one that the user has been a member of the longest.
    #[serde(default)]
    tenant: Option<String>,
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
pub(super) struct TokenResponse {
    /// A JWT (RFC 9068), for `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: i64,
    /// Good for one use at `auth/refresh`, which gives the next one.
    refresh_token: String,
}

pub(super) fn answer(tokens: Tokens) -> Response {
    let body = TokenResponse {
        access_token: tokens.access,
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: (*tokens.refresh).clone(),
    };
    // RFC 6749 section 5.1: no cache keeps tokens.
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Starts a session with a username and a password.
#[utoipa::path(post, path = "/login", tag = "auth", operation_id = "authLogin",
    extensions(("x-rate-limit" = json!("login"))), request_body = LoginRequest, responses(
    (status = 200, description = "The session's tokens", body = TokenResponse),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "Wrong username or password, an account that cannot log in, or a code that is needed \
        or wrong", body = Problem),
    (status = 403, description = "Not a member of the tenant asked for", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 429, description = "Too many logins in a minute", body = Problem),
    (status = 503, description = "Too many logins at once", body = Problem)))]
pub(super) async fn login(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<LoginRequest>,
) -> Result<Response, ApiError> {
    let LoginRequest { username, password, totp_code, tenant } = request;
    let tenant = match tenant {
        Some(text) => Some(state.named_tenant(&text).await?),
        None => None,
    };
    let wishes = Wishes { tenant };
    let tokens = state.login(origin, Credentials { username, password, totp_code, wishes }).await?;
    Ok(answer(tokens))
}

/// Exchanges a refresh token for the next tokens of its session. Two tabs that do so within 10 s get the same ones; any
/// other use of a refresh token that was used before ends the session.
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
    (status = 401, description = "No valid credential, or the refresh token is not of one of your sessions",
        body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem)))]
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

/// A session: one login, with all the tokens that came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::SessionView)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    id: SessionId,
    tenant_id: TenantId,
    user_id: UserId,
    username: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The login, or the latest refresh.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// Unless it is refreshed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Where the login came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// Whether this request is of it.
    current: bool,
}

impl SessionView {
    fn of(session: Session, current: Option<SessionId>) -> Self {
        Self {
            current: current == Some(session.id),
            id: session.id,
            tenant_id: session.tenant_id,
            user_id: session.user_id,
            username: session.username,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            ip_address: session.ip_address,
            user_agent: session.user_agent,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SessionsQuery {
    /// A user of the tenant; needs the permission auth:sessions.
    #[serde(default)]
    user: Option<UserId>,
    /// The sessions of everybody in the tenant; needs the permission auth:sessions.
    #[serde(default)]
    all: bool,
    /// 1 to 1000 (100).
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// The sessions that go on, the latest first: one's own in every tenant, or with auth:sessions those of the tenant.
#[utoipa::path(get, path = "/sessions", tag = "auth", operation_id = "authListSessions", params(SessionsQuery),
    security(("bearer" = ["auth:self"])), responses(
    (status = 200, description = "A page of sessions", body = Page<SessionView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or auth:sessions for those of others",
        body = Problem)))]
pub(super) async fn list(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<SessionsQuery>,
) -> Result<Json<Page<SessionView>>, ApiError> {
    let before = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let whose = match query.user {
        Some(user) => Whose::User(user),
        None if query.all => Whose::Tenant,
        None => Whose::Own,
    };
    let current = caller.principal.session;
    let rows = state.sessions(&caller, whose, before, query.limit).await?;
    let sessions = rows.into_iter().map(|session| SessionView::of(session, current)).collect();
    Ok(Json(Page::cut(sessions, query.limit, |session: &SessionView| session.id)?))
}

/// Ends a session: one of one's own, or with auth:sessions one of the tenant. Its tokens end with it, within a second.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "auth", operation_id = "authRevokeSession",
    params(("id" = SessionId, Path, description = "The session's id")),
    security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The session has ended"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem),
    (status = 404, description = "No such session goes on, or it is not yours", body = Problem)))]
pub(super) async fn revoke(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<SessionId>,
) -> Result<StatusCode, ApiError> {
    state.revoke_session(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RevokeQuery {
    /// Whether the session of this request goes on (false).
    #[serde(default)]
    keep_current: bool,
}

/// Ends all of one's sessions, in every tenant, or all others.
#[utoipa::path(delete, path = "/sessions", tag = "auth", operation_id = "authRevokeSessions", params(RevokeQuery),
    security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "The sessions have ended"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem)))]
pub(super) async fn revoke_all(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<RevokeQuery>,
) -> Result<StatusCode, ApiError> {
    state.revoke_sessions(&caller, query.keep_current).await?;
    Ok(StatusCode::NO_CONTENT)
}
