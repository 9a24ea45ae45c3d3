//! API keys.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Answer, Body, Cursor, IdempotencyKey, Limit, Page, Parts, Problem, Search};
use nsl_core::ids::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiKeys;
use crate::actions::State;
use crate::actions::api_keys::NewApiKey;
use crate::store::api_keys::ApiKey;

/// An API key, without its text.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::ApiKeyView)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeyView {
    id: Uuid,
    user_id: UserId,
    name: String,
    /// `nslk`, or `legacy-sha256` for a key of the legacy system that was not rotated yet.
    format: String,
    /// How the key begins, to tell one from another.
    prefix: String,
    /// Good as long as the owner has them too.
    permissions: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            user_id: key.user_id,
            name: key.name,
            format: key.format,
            prefix: key.prefix,
            permissions: key.permissions,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// An API key with its text, which is shown once.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::ApiKeyMade)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeyMade<'a> {
    /// For `Authorization: Bearer`. It cannot be shown again.
    key: &'a str,
    #[serde(flatten)]
    view: ApiKeyView,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = auth::CreateApiKeyRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateApiKeyRequest {
    /// 1 to 100 characters.
    name: String,
    /// Of those that the caller has.
    permissions: Vec<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Makes an API key of the caller's.
#[utoipa::path(post, path = "/api-keys", tag = "auth", operation_id = "authCreateApiKey",
    extensions(("x-rate-limit" = json!("key-operations"))),
    params(("Idempotency-Key" = Option<String>, Header, description = "The key is shown once: a replay is 409")),
    request_body = CreateApiKeyRequest, security(("bearer" = ["auth:api-keys"])), responses(
    (status = 201, description = "The key, shown once", body = ApiKeyMade<'static>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing, the key would exceed the caller, or the \
        credential is no session", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 429, description = "Too many key operations in a minute", body = Problem)))]
pub(super) async fn create(
    caller: Allowed<ApiKeys>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<CreateApiKeyRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("auth.api-keys.create", &request)?;
    let new =
        NewApiKey { name: &request.name, permissions: &request.permissions, expires_at: request.expires_at };
    let made = match state.create_api_key(&caller, &new, &once).await? {
        Answer::Made(made) => made,
        Answer::Replayed(before) => return Ok(before),
    };
    let location = format!("/api/v1/auth/api-keys/{}", made.row.id);
    let headers = [(LOCATION, location), (CACHE_CONTROL, "no-store".to_owned())];
    let body = ApiKeyMade { key: made.key.expose(), view: made.row.into() };
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// 1 to 1000 (100).
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Those of the whole tenant, which needs the permission auth:users.
    #[serde(default)]
    all: bool,
}

/// The caller's API keys, revoked ones too, in the order in which they were made.
#[utoipa::path(get, path = "/api-keys", tag = "auth", operation_id = "authListApiKeys", params(ListQuery),
    security(("bearer" = ["auth:api-keys"])), responses(
    (status = 200, description = "A page of keys", body = Page<ApiKeyView>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing, or auth:users for those of others",
        body = Problem)))]
pub(super) async fn list(
    caller: Allowed<ApiKeys>,
    Extension(state): Extension<Arc<State>>,
    Search(query): Search<ListQuery>,
) -> Result<Json<Page<ApiKeyView>>, ApiError> {
    let after = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rows = state.api_keys(&caller, query.all, after, query.limit).await?;
    let keys = rows.into_iter().map(ApiKeyView::from).collect();
    Ok(Json(Page::cut(keys, query.limit, |key| key.id)?))
}

/// One API key: of the caller, or with the permission auth:users of the tenant.
#[utoipa::path(get, path = "/api-keys/{id}", tag = "auth", operation_id = "authGetApiKey",
    params(("id" = Uuid, Path, description = "The key's id")),
    security(("bearer" = ["auth:api-keys"])), responses(
    (status = 200, description = "The key, without its text", body = ApiKeyView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing", body = Problem),
    (status = 404, description = "There is no such key", body = Problem)))]
pub(super) async fn get(
    caller: Allowed<ApiKeys>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<Uuid>,
) -> Result<Json<ApiKeyView>, ApiError> {
    Ok(Json(state.api_key(&caller, id).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::RenameApiKeyRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RenameApiKeyRequest {
    /// 1 to 100 characters.
    name: String,
}

/// Gives one of the caller's API keys another name.
#[utoipa::path(patch, path = "/api-keys/{id}", tag = "auth", operation_id = "authRenameApiKey",
    params(("id" = Uuid, Path, description = "The key's id")),
    request_body = RenameApiKeyRequest, security(("bearer" = ["auth:api-keys"])), responses(
    (status = 200, description = "The key, without its text", body = ApiKeyView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing, or the credential is no session",
        body = Problem),
    (status = 404, description = "There is no such key", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem)))]
pub(super) async fn rename(
    caller: Allowed<ApiKeys>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<Uuid>,
    Body(request): Body<RenameApiKeyRequest>,
) -> Result<Json<ApiKeyView>, ApiError> {
    Ok(Json(state.rename_api_key(&caller, id, &request.name).await?.into()))
}

/// Gives one of the caller's API keys another text. The old one ends at once here, and within a second everywhere.
#[utoipa::path(post, path = "/api-keys/{id}/rotate", tag = "auth", operation_id = "authRotateApiKey",
    extensions(("x-rate-limit" = json!("key-operations"))),
    params(("id" = Uuid, Path, description = "The key's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The key is shown once: a replay is 409")),
    security(("bearer" = ["auth:api-keys"])), responses(
    (status = 200, description = "The key, shown once", body = ApiKeyMade<'static>),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing, or the credential is no session",
        body = Problem),
    (status = 404, description = "There is no such key", body = Problem),
    (status = 429, description = "Too many key operations in a minute", body = Problem)))]
pub(super) async fn rotate(
    caller: Allowed<ApiKeys>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<Uuid>,
) -> Result<Response, ApiError> {
    let once = key.bind("auth.api-keys.rotate", &id)?;
    let made = match state.rotate_api_key(&caller, id, &once).await? {
        Answer::Made(made) => made,
        Answer::Replayed(before) => return Ok(before),
    };
    let body = ApiKeyMade { key: made.key.expose(), view: made.row.into() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Revokes an API key: one of the caller's, or with the permission auth:users one of the tenant.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "auth", operation_id = "authRevokeApiKey",
    extensions(("x-rate-limit" = json!("key-operations"))),
    params(("id" = Uuid, Path, description = "The key's id")),
    security(("bearer" = ["auth:api-keys"])), responses(
    (status = 204, description = "The key is good no longer"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:api-keys is missing", body = Problem),
    (status = 404, description = "There is no such key, or it was revoked", body = Problem),
    (status = 429, description = "Too many key operations in a minute", body = Problem)))]
pub(super) async fn revoke(
    caller: Allowed<ApiKeys>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<Uuid>,
) -> Result<StatusCode, ApiError> {
    state.revoke_api_key(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
