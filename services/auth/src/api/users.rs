//! The users of a tenant.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Answer, Body, Cursor, IdempotencyKey, Limit, Page, Parts, Problem, Search};
use nsl_core::ids::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Users;
use crate::actions::State;
use crate::domain::account::{Changes, Edit, Status};
use crate::domain::user::NewUser;
use crate::store::users::Member;

/// A user, as a member of the caller's tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::UserView)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserView {
    id: UserId,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_name: Option<String>,
    /// `active`, `locked` or `disabled`.
    status: String,
    /// The roles in this tenant.
    roles: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl UserView {
    /// A page of members out of one row more than the limit.
    pub(super) fn page(rows: Vec<Member>, limit: Limit) -> Result<Page<Self>, ApiError> {
        Page::cut(rows.into_iter().map(Self::from).collect(), limit, |user: &Self| user.id)
    }
}

impl From<Member> for UserView {
    fn from(member: Member) -> Self {
        Self {
            id: member.id,
            username: member.username,
            email: member.email,
            full_name: member.full_name,
            status: member.status,
            roles: member.roles,
            created_at: member.created_at,
            updated_at: member.updated_at,
            last_login_at: member.last_login_at,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::CreateUserRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateUserRequest {
    /// 3 to 100 characters; upper and lower case are the same.
    username: String,
    /// At least 12 characters, and not the username.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    full_name: Option<String>,
    /// The names of the roles in this tenant; `User` where none are named.
    #[serde(default = "default_roles")]
    roles: Vec<String>,
}

pub(super) fn default_roles() -> Vec<String> {
    vec!["User".to_owned()]
}

/// Makes a user who is a member of the caller's tenant.
#[utoipa::path(post, path = "/users", tag = "auth", operation_id = "authCreateUser",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = CreateUserRequest, security(("bearer" = ["auth:users"])), responses(
    (status = 201, description = "The new user", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or a role permits more than the caller may",
        body = Problem),
    (status = 409, description = "The username or the e-mail address is taken", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 503, description = "Too many passwords at once", body = Problem)))]
pub(super) async fn create(
    caller: Allowed<Users>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<CreateUserRequest>,
) -> Result<Response, ApiError> {
    let new = NewUser {
        username: &request.username,
        email: request.email.as_deref(),
        full_name: request.full_name.as_deref(),
        roles: &request.roles,
    };
    // Without the password: the hash of what is bound here is stored.
    let once = key.bind("auth.users.create", &new)?;
    let user = match state.create_user(&caller, &new, request.password, &once, UserView::from).await? {
        Answer::Made(user) => user,
        Answer::Replayed(before) => return Ok(before),
    };
    let location = format!("/api/v1/auth/users/{}", user.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(user)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// 1 to 1000 (100).
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub(super) limit: Limit,
    /// `nextCursor` of the page before.
    #[serde(default)]
    pub(super) cursor: Option<String>,
}

/// The users of the caller's tenant, in the order in which they were made.
#[utoipa::path(get, path = "/users", tag = "auth", operation_id = "authListUsers", params(ListQuery),
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "A page of users", body = Page<UserView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing", body = Problem)))]
pub(super) async fn list(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<ListQuery>,
) -> Result<Json<Page<UserView>>, ApiError> {
    let after = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rows = state.users(&caller, after, query.limit).await?;
    UserView::page(rows, query.limit).map(Json)
}

/// One user of the caller's tenant.
#[utoipa::path(get, path = "/users/{id}", tag = "auth", operation_id = "authGetUser",
    params(("id" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "The user", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing", body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem)))]
pub(super) async fn get(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.user(&caller, id).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::UpdateUserRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateUserRequest {
    /// `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Edit<String>,
    /// `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    full_name: Edit<String>,
    #[serde(default)]
    #[schema(inline)]
    status: Option<Status>,
}

/// Changes an account that this tenant manages. A user who is locked or disabled loses their sessions at once.
#[utoipa::path(patch, path = "/users/{id}", tag = "auth", operation_id = "authUpdateUser",
    params(("id" = UserId, Path, description = "The user's id")), request_body = UpdateUserRequest,
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "The user as it is now", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, another tenant manages the account, or it may do \
        more than the caller", body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem),
    (status = 409, description = "The e-mail address is taken, or it is the last administrator", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem)))]
pub(super) async fn update(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
    Body(request): Body<UpdateUserRequest>,
) -> Result<Json<UserView>, ApiError> {
    let changes = Changes {
        email: request.email.as_deref(),
        full_name: request.full_name.as_deref(),
        status: request.status,
    };
    Ok(Json(state.update_user(&caller, id, &changes).await?.into()))
}

/// Ends a user's membership in this tenant, with their roles and sessions. An account that is a member nowhere any more
/// is disabled.
#[utoipa::path(delete, path = "/users/{id}", tag = "auth", operation_id = "authRemoveUser",
    params(("id" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 204, description = "The user is no member any more"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or the user may do more than the caller",
        body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem),
    (status = 409, description = "It is the last administrator", body = Problem)))]
pub(super) async fn remove(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
) -> Result<StatusCode, ApiError> {
    state.remove_user(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a user out until they are unlocked; their sessions end at once.
#[utoipa::path(post, path = "/users/{id}/lock", tag = "auth", operation_id = "authLockUser",
    params(("id" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "The user as it is now", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, another tenant manages the account, or it may do \
        more than the caller", body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem),
    (status = 409, description = "It is the last administrator", body = Problem)))]
pub(super) async fn lock(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.lock_user(&caller, id).await?.into()))
}

/// Lets a user in again, and forgets their wrong passwords.
#[utoipa::path(post, path = "/users/{id}/unlock", tag = "auth", operation_id = "authUnlockUser",
    params(("id" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "The user as it is now", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, another tenant manages the account, or it may do \
        more than the caller", body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem)))]
pub(super) async fn unlock(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.unlock_user(&caller, id).await?.into()))
}

/// Takes a user's second factor away, with its backup codes, for one who has lost it; their sessions end at once.
#[utoipa::path(delete, path = "/users/{id}/mfa/totp", tag = "auth", operation_id = "authRemoveUserTotp",
    params(("id" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 204, description = "The user has no second factor any more"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, the credential is no session, another tenant manages \
        the account, it may do more than the caller, or it is the caller's own", body = Problem),
    (status = 404, description = "This tenant has no such user", body = Problem),
    (status = 409, description = "There is no second factor", body = Problem)))]
pub(super) async fn remove_totp(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<UserId>,
) -> Result<StatusCode, ApiError> {
    state.remove_user_totp(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
