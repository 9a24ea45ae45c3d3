//! Tenants and their members. The paths are core's, whose tenants are; membership is auth's.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::config::Secret;
use nsl_core::db::tenants::Tenant;
use nsl_core::http::{Allowed, Answer, Body, Cursor, IdempotencyKey, Page, Parts, Problem, Search};
use nsl_core::ids::{TenantId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::{ListQuery, UserView};
use super::{Tenants, Users};
use crate::actions::State;
use crate::actions::tenants::NewTenant;
use crate::domain::tenant::TenantStatus;
use crate::domain::user::NewUser;

/// A tenant: the unit of isolation. A user sees things of the tenant that their credential names, and of no other.
#[derive(Serialize, ToSchema)]
#[schema(as = core::TenantView)]
#[serde(rename_all = "camelCase")]
pub(super) struct TenantView {
    id: TenantId,
    /// What a login names.
    name: String,
    display_name: String,
    /// `active` or `suspended`.
    status: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            display_name: tenant.display_name,
            status: tenant.status,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

/// The first administrator of a tenant.
#[derive(Deserialize, ToSchema)]
#[schema(as = core::FirstAdministrator)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FirstAdministrator {
    username: String,
    /// For a new user; without it, the username is that of one that there is.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    /// For a new user.
    #[serde(default)]
    email: Option<String>,
    /// For a new user.
    #[serde(default)]
    full_name: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = core::CreateTenantRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateTenantRequest {
    /// 1 to 63 lower-case letters, digits and dashes; it never changes.
    name: String,
    /// For people; the name where it is left out.
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    #[schema(inline)]
    administrator: Option<FirstAdministrator>,
}

/// Makes a tenant, and its first administrator where one is named. For administrators of the tenant `default`.
#[utoipa::path(post, path = "/api/v1/core/tenants", tag = "core", operation_id = "coreCreateTenant",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = CreateTenantRequest, security(("bearer" = ["core:tenants"])), responses(
    (status = 201, description = "The new tenant", body = TenantView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission core:tenants is missing, or the caller is of another tenant than `default`",
        body = Problem),
    (status = 409, description = "A name is taken", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 503, description = "Too many passwords at once", body = Problem)))]
pub(super) async fn create(
    caller: Allowed<Tenants>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<CreateTenantRequest>,
) -> Result<Response, ApiError> {
    let CreateTenantRequest { name, display_name, administrator } = request;
    let (user, password) = match administrator {
        Some(FirstAdministrator { username, password, email, full_name }) => {
            (Some((username, email, full_name)), password)
        }
        None => (None, None),
    };
    let new = NewTenant {
        name: &name,
        display_name: display_name.as_deref().unwrap_or(&name),
        administrator: user.as_ref().map(|(username, email, full_name)| NewUser {
            username,
            email: email.as_deref(),
            full_name: full_name.as_deref(),
            roles: &[],
        }),
    };
    // Without the password: the hash of what is bound here is stored.
    let once = key.bind("core.tenants.create", &new)?;
    let tenant = match state.create_tenant(&caller, &new, password, &once, TenantView::from).await? {
        Answer::Made(tenant) => tenant,
        Answer::Replayed(before) => return Ok(before),
    };
    let location = format!("/api/v1/core/tenants/{}", tenant.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(tenant)).into_response())
}

/// The tenants, in the order in which they were made. For administrators of the tenant `default`.
#[utoipa::path(get, path = "/api/v1/core/tenants", tag = "core", operation_id = "coreListTenants", params(ListQuery),
    security(("bearer" = ["core:tenants"])), responses(
    (status = 200, description = "A page of tenants", body = Page<TenantView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission core:tenants is missing, or the caller is of another tenant than `default`",
        body = Problem)))]
pub(super) async fn list(
    caller: Allowed<Tenants>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<ListQuery>,
) -> Result<Json<Page<TenantView>>, ApiError> {
    let after = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rows = state.tenants(&caller, after, query.limit).await?;
    let tenants = rows.into_iter().map(TenantView::from).collect();
    Ok(Json(Page::cut(tenants, query.limit, |tenant: &TenantView| tenant.id)?))
}

/// One tenant. For administrators of the tenant `default`.
#[utoipa::path(get, path = "/api/v1/core/tenants/{id}", tag = "core", operation_id = "coreGetTenant",
    params(("id" = TenantId, Path, description = "The tenant's id")),
    security(("bearer" = ["core:tenants"])), responses(
    (status = 200, description = "The tenant", body = TenantView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission core:tenants is missing, or the caller is of another tenant than `default`",
        body = Problem),
    (status = 404, description = "There is no such tenant", body = Problem)))]
pub(super) async fn get(
    caller: Allowed<Tenants>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<TenantId>,
) -> Result<Json<TenantView>, ApiError> {
    Ok(Json(state.tenant(&caller, id).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = core::UpdateTenantRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateTenantRequest {
    #[serde(default)]
    display_name: Option<String>,
    /// The members of a suspended tenant can do nothing.
    #[serde(default)]
    #[schema(inline)]
    status: Option<TenantStatus>,
}

/// Changes a tenant. Suspended, it refuses log-ins at once and tokens within a second. For administrators of the tenant
/// `default`.
#[utoipa::path(patch, path = "/api/v1/core/tenants/{id}", tag = "core", operation_id = "coreUpdateTenant",
    params(("id" = TenantId, Path, description = "The tenant's id")), request_body = UpdateTenantRequest,
    security(("bearer" = ["core:tenants"])), responses(
    (status = 200, description = "The tenant as it is now", body = TenantView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission core:tenants is missing, or the caller is of another tenant than `default`",
        body = Problem),
    (status = 404, description = "There is no such tenant", body = Problem),
    (status = 409, description = "The tenant `default` cannot be suspended", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem)))]
pub(super) async fn update(
    caller: Allowed<Tenants>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<TenantId>,
    Body(request): Body<UpdateTenantRequest>,
) -> Result<Json<TenantView>, ApiError> {
    let (display_name, status) = (request.display_name.as_deref(), request.status);
    Ok(Json(state.update_tenant(&caller, id, display_name, status).await?.into()))
}

/// The members of one's own tenant, in the order in which their accounts were made.
#[utoipa::path(get, path = "/api/v1/core/tenants/{id}/members", tag = "core", operation_id = "coreListMembers",
    params(("id" = TenantId, Path, description = "The tenant's id"), ListQuery),
    security(("bearer" = ["auth:users"])), responses(
    (status = 200, description = "A page of members", body = Page<UserView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing", body = Problem),
    (status = 404, description = "It is not one's own tenant", body = Problem)))]
pub(super) async fn members(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<TenantId>,
    Search(query): Search<ListQuery>,
) -> Result<Json<Page<UserView>>, ApiError> {
    State::own_tenant(&caller, id)?;
    let after = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rows = state.users(&caller, after, query.limit).await?;
    UserView::page(rows, query.limit).map(Json)
}

#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = core::AddMemberRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AddMemberRequest {
    /// Of a user that there is.
    username: String,
    /// The names of the roles in the tenant; `User` where none are named.
    #[serde(default = "super::users::default_roles")]
    roles: Vec<String>,
}

/// Makes a user a member of one's own tenant. The operator also names the first members of a tenant, until it has an
/// administrator.
#[utoipa::path(post, path = "/api/v1/core/tenants/{id}/members", tag = "core", operation_id = "coreAddMember",
    params(("id" = TenantId, Path, description = "The tenant's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = AddMemberRequest, security(("bearer" = ["auth:users"])), responses(
    (status = 201, description = "The new member", body = UserView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or a role permits more than the caller may",
        body = Problem),
    (status = 404, description = "It is not one's own tenant", body = Problem),
    (status = 409, description = "The user is a member already", body = Problem),
    (status = 422, description = "There is no such user or role", body = Problem)))]
pub(super) async fn add_member(
    caller: Allowed<Users>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<TenantId>,
    Body(request): Body<AddMemberRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("core.members.create", &(id, &request))?;
    let (username, roles) = (&request.username, &request.roles);
    let member = match state.add_member(&caller, id, username, roles, &once, UserView::from).await? {
        Answer::Made(member) => member,
        Answer::Replayed(before) => return Ok(before),
    };
    Ok((StatusCode::CREATED, Json(member)).into_response())
}

/// Ends a membership in one's own tenant, as DELETE auth/users/{id} does.
#[utoipa::path(delete, path = "/api/v1/core/tenants/{id}/members/{user}", tag = "core",
    operation_id = "coreRemoveMember",
    params(("id" = TenantId, Path, description = "The tenant's id"), ("user" = UserId, Path, description = "The user's id")),
    security(("bearer" = ["auth:users"])), responses(
    (status = 204, description = "The user is no member any more"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:users is missing, or the user may do more than the caller",
        body = Problem),
    (status = 404, description = "It is not one's own tenant, or it has no such user", body = Problem),
    (status = 409, description = "It is the last administrator", body = Problem)))]
pub(super) async fn remove_member(
    caller: Allowed<Users>,
    Extension(state): Extension<Arc<State>>,
    Parts((id, user)): Parts<(TenantId, UserId)>,
) -> Result<StatusCode, ApiError> {
    State::own_tenant(&caller, id)?;
    state.remove_user(&caller, user).await?;
    Ok(StatusCode::NO_CONTENT)
}
