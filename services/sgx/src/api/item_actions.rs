//! What is done to an item beside putting, reading and deleting it. A key takes the rest of a path, so these have the
//! address in the body.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use nsl_core::http::{Allowed, Answer, Body, IdempotencyKey, Permission as _, Problem, etag};
use nsl_core::{ApiError, Caller};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::named;
use super::items::ItemView;
use super::{DeleteItems, ReadItems, WriteItems};
use crate::actions::{Route, Sgx};
use crate::error::Error;

/// Which item, and which of its versions.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::RestoreRequest)]
pub(super) struct RestoreRequest {
    service: String,
    key: String,
    /// The version whose value becomes the current one; absent: the item's deletion is taken back.
    #[schema(minimum = 1)]
    version: Option<i64>,
}

/// Which item, and which of its versions.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::DestroyRequest)]
pub(super) struct DestroyRequest {
    service: String,
    key: String,
    /// The version to destroy; absent: all of them.
    #[schema(minimum = 1)]
    version: Option<i64>,
}

/// Another address.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = sgx::Target)]
pub(super) struct Target {
    service: String,
    key: String,
}

/// What to copy, and where to.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::CopyRequest)]
pub(super) struct CopyRequest {
    service: String,
    key: String,
    /// The version to copy; absent: the current one.
    #[schema(minimum = 1)]
    version: Option<i64>,
    to: Target,
}

/// What to rename, and how it is called then.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = sgx::RenameRequest)]
pub(super) struct RenameRequest {
    service: String,
    key: String,
    to: Target,
}

/// What was destroyed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Destroyed)]
pub(super) struct DestroyedView {
    service: String,
    key: String,
    /// The versions whose keys and values went.
    versions: Vec<i64>,
}

/// Take the deletion of an item back, or seal the value of one of its versions anew as the current one. A restored value
/// keeps the rules, the expiry and the count of reads that were bound to it.
#[utoipa::path(post, path = "/item-actions/restore", tag = "sgx", operation_id = "sgxRestoreItem",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = RestoreRequest, security(("bearer" = ["sgx:write"])),
    responses(
        (status = 200, description = "The item as it is now", body = ItemView, headers(("ETag" = String))),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item or version, or it has expired", body = Problem),
        (status = 409, description = "`sgx.not_deleted`: no version was named, and the item is alive", body = Problem),
        (status = 410, description = "`sgx.version_destroyed`", body = Problem),
        (status = 422, description = "A name that cannot be", body = Problem),
        (status = 507, description = "`sgx.quota_exceeded`", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn restore_item(
    caller: Allowed<WriteItems>,
    key: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<RestoreRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.items.restore", &request)?;
    let address = named(&sgx, &caller, "RESTORE_ITEM", request.service, request.key).await?;
    let answer = sgx.restore(&caller, &address, request.version, &once, ItemView::from).await?;
    Ok(item_answer(StatusCode::OK, answer))
}

/// Destroy a version of an item, or all of them: the wrapped keys and the sealed values go in one transaction, the row stays
/// as a tombstone until the purge. What backups and replicas taken before hold is not touched.
#[utoipa::path(post, path = "/item-actions/destroy", tag = "sgx", operation_id = "sgxDestroyItem",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = DestroyRequest, security(("bearer" = ["sgx:delete"])),
    responses(
        (status = 200, description = "The versions that went", body = DestroyedView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item or version", body = Problem),
        (status = 410, description = "`sgx.version_destroyed`: it went before", body = Problem),
        (status = 422, description = "A name that cannot be", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn destroy_item(
    caller: Allowed<DeleteItems>,
    key: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<DestroyRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.items.destroy", &request)?;
    let address = named(&sgx, &caller, "DESTROY_ITEM", request.service, request.key).await?;
    let view =
        |versions| DestroyedView { service: address.service.clone(), key: address.key.clone(), versions };
    Ok(match sgx.destroy(&caller, &address, request.version, &once, view).await? {
        Answer::Made(view) => Json(view).into_response(),
        Answer::Replayed(before) => before,
    })
}

/// Copy a value to another address, where nothing may be alive: sealed anew under its name, as a value of its own with the
/// rules, the expiry and the count of reads of the one that it came from. Needs `sgx:read` too.
#[utoipa::path(post, path = "/item-actions/copy", tag = "sgx", operation_id = "sgxCopyItem",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = CopyRequest, security(("bearer" = ["sgx:write"])),
    responses(
        (status = 201, description = "The copy", body = ItemView, headers(("ETag" = String))),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item or version, or it has expired", body = Problem),
        (status = 409, description = "`sgx.target_exists`", body = Problem),
        (status = 410, description = "`sgx.version_destroyed`", body = Problem),
        (status = 422, description = "A name that cannot be, or the source itself", body = Problem),
        (status = 507, description = "`sgx.quota_exceeded`", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn copy_item(
    caller: Allowed<WriteItems>,
    key: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<CopyRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.items.copy", &request)?;
    let from = named(&sgx, &caller, "COPY_ITEM", request.service, request.key).await?;
    also(&sgx, &caller, ReadItems::NAME, "COPY_ITEM", from.resource()).await?;
    let to = named(&sgx, &caller, "COPY_ITEM", request.to.service, request.to.key).await?;
    let route = Route { from: &from, version: request.version, to: &to };
    let answer = sgx.copy(&caller, route, &once, ItemView::from).await?;
    Ok(item_answer(StatusCode::CREATED, answer))
}

/// Rename an item, in one transaction: its value is sealed anew under the other name, where nothing may be alive, and the
/// source is deleted. Its former versions stay restorable under the old name. Needs `sgx:delete` too.
#[utoipa::path(post, path = "/item-actions/rename", tag = "sgx", operation_id = "sgxRenameItem",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = RenameRequest, security(("bearer" = ["sgx:write"])),
    responses(
        (status = 201, description = "The item under its other name", body = ItemView, headers(("ETag" = String))),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item, or it has expired", body = Problem),
        (status = 409, description = "`sgx.target_exists`", body = Problem),
        (status = 422, description = "A name that cannot be, or the source itself", body = Problem),
        (status = 507, description = "`sgx.quota_exceeded`", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn rename_item(
    caller: Allowed<WriteItems>,
    key: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<RenameRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.items.rename", &request)?;
    let from = named(&sgx, &caller, "RENAME_ITEM", request.service, request.key).await?;
    also(&sgx, &caller, DeleteItems::NAME, "RENAME_ITEM", from.resource()).await?;
    let to = named(&sgx, &caller, "RENAME_ITEM", request.to.service, request.to.key).await?;
    let answer =
        sgx.rename(&caller, Route { from: &from, version: None, to: &to }, &once, ItemView::from).await?;
    Ok(item_answer(StatusCode::CREATED, answer))
}

/// A second permission that an action needs.
async fn also(
    sgx: &Sgx,
    caller: &Caller,
    permission: &str,
    action: &'static str,
    resource: String,
) -> Result<(), ApiError> {
    match caller.authorize(permission) {
        Ok(()) => Ok(()),
        Err(error) => Err(sgx.refused_request(caller, action, resource, Error::from(error)).await.into()),
    }
}

fn item_answer(status: StatusCode, answer: Answer<ItemView>) -> Response {
    match answer {
        Answer::Made(view) => {
            (status, [(axum::http::header::ETAG, etag(view.version))], Json(view)).into_response()
        }
        Answer::Replayed(before) => before,
    }
}
