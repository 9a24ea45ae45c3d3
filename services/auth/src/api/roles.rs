//! The roles of a tenant, and who holds them.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Answer, Body, Cursor, IdempotencyKey, Page, Parts, Problem, Search};
use nsl_core::ids::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::users::{ListQuery, UserView};
use super::{Roles, Users};
use crate::actions::State;
use crate::domain::role::NewRole;
use crate::store::roles::Role;

/// A named set of permissions.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::RoleView)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleView {
    id: Uuid,
    name: String,
    description: String,
    /// Whether every tenant has it; such a role never changes.
    builtin: bool,
    /// As `service:verb`; `service:*` is all of a service, `*` is everything.
    permissions: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Role> for RoleView {
    fn from(role: Role) -> Self {
        Self {
            id: role.id,
            name: role.name,
            description: role.description,
            builtin: role.builtin,
            permissions: role.permissions,
            created_at: role.created_at,
        }
    }
}

/// The roles that this tenant can give: the built-in ones, then its own.
#[utoipa::path(get, path = "/roles", tag = "auth", operation_id = "authListRoles", params(ListQuery),
    security(("bearer" = ["auth:roles"])), responses(
    (status = 200, description = "A page of roles", body = Page<RoleView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:roles is missing", body = Problem)))]
pub(super) async fn list(
    caller: Allowed<Roles>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<ListQuery>,
) -> Result<Json<Page<RoleView>>, ApiError> {
    let after = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rows = state.roles(&caller, after, query.limit).await?;
    let roles = rows.into_iter().map(RoleView::from).collect();
    Ok(Json(Page::cut(roles, query.limit, |role: &RoleView| role.id)?))
}

/// One role, by its name.
#[utoipa::path(get, path = "/roles/{role}", tag = "auth", operation_id = "authGetRole",
    params(("role" = String, Path, description = "The role's name")),
    security(("bearer" = ["auth:roles"])), responses(
    (status = 200, description = "The role", body = RoleView),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:roles is missing", body = Problem),
    (status = 404, description = "This tenant has no such role", body = Problem)))]
pub(super) async fn get(
    caller: Allowed<Roles>,
    Extension(state): Extension<Arc<State>>,
    Parts(role): Parts<String>,
) -> Result<Json<RoleView>, ApiError> {
    Ok(Json(state.role(&caller, &role).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::CreateRoleRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRoleRequest {
    /// 1 to 100 letters, digits, spaces, `-`, `_` and `.`; upper and lower case are the same.
    name: String,
    #[serde(default)]
    description: String,
    /// At most 64, and none that the caller lacks.
    permissions: Vec<String>,
}

/// Makes a role of this tenant.
#[utoipa::path(post, path = "/roles", tag = "auth", operation_id = "authCreateRole",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = CreateRoleRequest, security(("bearer" = ["auth:roles"])), responses(
    (status = 201, description = "The new role", body = RoleView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:roles is missing, or one that the role is to have", body = Problem),
    (status = 409, description = "The name is taken", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem)))]
pub(super) async fn create(
    caller: Allowed<Roles>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<CreateRoleRequest>,
) -> Result<Response, ApiError> {
    let new =
        NewRole { name: &request.name, description: &request.description, permissions: &request.permissions };
    let once = key.bind("auth.roles.create", &new)?;
    let role = match state.create_role(&caller, &new, &once, RoleView::from).await? {
        Answer::Made(role) => role,
        Answer::Replayed(before) => return Ok(before),
    };
    let location = format!("/api/v1/auth/roles/{}", role.name.replace(' ', "%20"));
    let mut response = (StatusCode::CREATED, Json(role)).into_response();
    // A name of letters beyond ASCII is found by the list.
    if let Some(location) = location.is_ascii().then(|| location.parse().ok()).flatten() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::UpdateRoleRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateRoleRequest {
    #[serde(default)]
    description: Option<String>,
    /// All that it is to permit from now on.
    #[serde(default)]
    permissions: Option<Vec<String>>,
}

/// Changes a role of this tenant. The next access tokens of its holders carry what it permits then; those that are about
/// last at most 15 minutes (`Jwt:AccessTokenMinutes`).
#[utoipa::path(patch, path = "/roles/{role}", tag = "auth", operation_id = "authUpdateRole",
    params(("role" = String, Path, description = "The role's name")), request_body = UpdateRoleRequest,
    security(("bearer" = ["auth:roles"])), responses(
    (status = 200, description = "The role as it is now", body = RoleView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:roles is missing, or one that the role has or is to have",
        body = Problem),
    (status = 404, description = "This tenant has no such role", body = Problem),
    (status = 409, description = "The role is built in", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem)))]
pub(super) async fn update(
    caller: Allowed<Roles>,
    Extension(state): Extension<Arc<State>>,
    Parts(role): Parts<String>,
    Body(request): Body<UpdateRoleRequest>,
) -> Result<Json<RoleView>, ApiError> {
    let (description, permissions) = (request.description.as_deref(), request.permissions.as_deref());
    Ok(Json(state.update_role(&caller, &role, description, permissions).await?.into()))
}

/// Deletes a role of this tenant that nobody holds.
#[utoipa::path(delete, path = "/roles/{role}", tag = "auth", operation_id = "authDeleteRole",
    params(("role" = String, Path, description = "The role's name")),
    security(("bearer" = ["auth:roles"])), responses(
    (status = 204, description = "The role is gone"),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:roles is missing, or one that the role has", body = Problem),
    (status = 404, description = "This tenant has no such role", body = Problem),
    (status = 409, description = "Someone holds the role, or it is built in", body = Problem)))]
pub(super) async fn delete(
    caller: Allowed<Roles>,
    Extension(state): Extension<Arc<State>>,
    Parts(role): Parts<String>,
) -> Result<StatusCode, ApiError> {
    state.delete_role(&caller, &role).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::AssignRoleRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AssignRoleRequest {
    /// When the user loses the role again; without it, never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Gives a role to a user of this tenant, or another end to one that they hold. It is in their next access token.
#[utoipa::path(put, path = "/users/{id}/roles/{role}", tag = "auth", operation_id = "authAssignRole",
    params(("id" = UserId, Path, description = "The user's id"), ("role" = String, Path, description = "The role's name")),
    request_body = AssignRoleRequest, security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "The user as it is now", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or one that the role has", body = Problem),
    (status = 404, description = "This tenant has no such user or role", body = Problem),
    (status = 409, description = "The last administrator's role takes no end", body = Problem),
    (status = 422, description = "The end lies in the past", body = Problem)))]
pub(super) async fn assign(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts((id, role)): Parts<(UserId, String)>,
    Body(request): Body<AssignRoleRequest>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.assign_role(&caller, id, &role, request.expires_at).await?.into()))
}

/// Takes a role from a user of this tenant; their sessions in it end at once.
#[utoipa::path(delete, path = "/users/{id}/roles/{role}", tag = "auth", operation_id = "authUnassignRole",
    params(("id" = UserId, Path, description = "The user's id"), ("role" = String, Path, description = "The role's name")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 204, description = "The user does not hold the role any more"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or one that the role has", body = Problem),
    (status = 404, description = "This tenant has no such user or role, or the user does not hold it", body = Problem),
    (status = 409, description = "It is the last administrator", body = Problem)))]
pub(super) async fn unassign(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts((id, role)): Parts<(UserId, String)>,
) -> Result<StatusCode, ApiError> {
    state.unassign_role(&caller, id, &role).await?;
    Ok(StatusCode::NO_CONTENT)
}
