//! Sealing keys and their rotations.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Answer, Body, Cursor, IdempotencyKey, Limit, Page, Parts, Problem, Search};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::RotateKeys;
use crate::actions::Sgx;
use crate::actions::rotation::{Order, Rotation, seconds_left};
use crate::domain::rotation::Scope;
use crate::domain::{LONGEST_REASON, violation};
use crate::error::Error;
use crate::store::sealing_keys::Overview;

/// A version of the tenant's sealing key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::SealingKey)]
pub(super) struct SealingKeyView {
    version: i32,
    /// `active`: new values go under it; `superseded`: another one follows; `retired`: a signed statement says that
    /// nothing is under it.
    state: String,
    /// Data keys that it may have wrapped; counted in blocks, before they are wrapped.
    wraps: i64,
    /// Values whose data key is under it now, former versions too.
    rows: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    retired_at: Option<Timestamp>,
}

impl From<Overview> for SealingKeyView {
    fn from(key: Overview) -> Self {
        Self {
            version: key.version,
            state: key.state,
            wraps: key.wraps,
            rows: key.rows,
            created_at: key.created_at,
            retired_at: key.retired_at,
        }
    }
}

/// The tenant's sealing keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::SealingKeys)]
pub(super) struct SealingKeysView {
    /// Newest first.
    items: Vec<SealingKeyView>,
    /// What completion statements are verified with: a verifier key of C2SP signed notes.
    statement_key: String,
}

/// What is to be rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[schema(as = sgx::Rotate)]
pub(super) struct RotateRequest {
    /// For the audit log; at most 500 characters.
    reason: Option<String>,
    /// `tenant` (default), or `root` for the root key of the installation, which its operator alone may rotate.
    scope: Scope,
    /// Also seals each value anew under a fresh data key; with the scope `tenant` only.
    reseal: bool,
}

/// A rotation and how far it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Rotation)]
pub(super) struct RotationView {
    rotation_id: Uuid,
    /// `tenant`, `root` or `reseal`.
    kind: String,
    /// `running`, `completed` or `failed`.
    state: String,
    /// The key before: a version of the tenant's sealing key, or the id of a root key.
    from: String,
    to: String,
    /// Values (with the kind `root`: sealing keys) that are to be moved.
    total: i64,
    done: i64,
    #[schema(minimum = 0, maximum = 100)]
    percent: i64,
    /// An estimate from how fast it went so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why it failed, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Rotation> for RotationView {
    fn from(rotation: Rotation) -> Self {
        let percent = match (rotation.state.as_str(), rotation.done, rotation.total) {
            ("completed", ..) => 100,
            (_, _, ..=0) => 0,
            // The last percent is the walk that finds nothing left.
            (_, done, total) => (done.saturating_mul(100) / total).min(99),
        };
        Self {
            percent,
            seconds_left: seconds_left(&rotation),
            rotation_id: rotation.rotation_id,
            kind: rotation.kind,
            state: rotation.state,
            from: rotation.from_key,
            to: rotation.to_key,
            total: rotation.total,
            done: rotation.done,
            reason: rotation.reason,
            failure: rotation.failure,
            requested_by: rotation.requested_by,
            started_at: rotation.started_at,
            finished_at: rotation.finished_at,
        }
    }
}

/// Which of the rows of a list.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// 1–1000, default 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<Limit>,
    /// `nextCursor` of the page before.
    pub cursor: Option<String>,
}

/// The versions of the tenant's sealing key, with what is under each.
#[utoipa::path(get, path = "/sealing-keys", tag = "sgx", operation_id = "sgxListSealingKeys",
    security(("bearer" = ["sgx:rotate"])), responses(
    (status = 200, description = "The sealing keys", body = SealingKeysView),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:rotate is missing", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn sealing_keys(
    caller: Allowed<RotateKeys>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<SealingKeysView>, ApiError> {
    let (keys, statement_key) = sgx.sealing_keys(&caller).await?;
    Ok(Json(SealingKeysView { items: keys.into_iter().map(Into::into).collect(), statement_key }))
}

/// Make the next key the active one at once, and move everything under it in the background. At the end a signed statement
/// says that nothing is left under the former keys.
#[utoipa::path(post, path = "/sealing-keys/rotate", tag = "sgx", operation_id = "sgxRotateSealingKeys",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = RotateRequest, security(("bearer" = ["sgx:rotate"])), responses(
    (status = 202, description = "The rotation runs", body = RotationView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:rotate is missing, or the scope is `root` and the caller does not operate \
        the installation", body = Problem),
    (status = 409, description = "`sgx.rotation_running`", body = Problem),
    (status = 422, description = "A field cannot be accepted", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn rotate(
    caller: Allowed<RotateKeys>,
    key: IdempotencyKey,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
    Body(request): Body<RotateRequest>,
) -> Result<Response, ApiError> {
    if request
        .reason
        .as_deref()
        .is_some_and(|reason| reason.chars().count() > LONGEST_REASON || reason.contains('\0'))
    {
        let problem = format!("it takes at most {LONGEST_REASON} characters, and no U+0000");
        return Err(Error::from(violation("sgx.invalid_reason", "/reason", problem)).into());
    }
    let order = Order { scope: request.scope, reseal: request.reseal, reason: request.reason };
    let once = key.bind("sgx.sealing-keys.rotate", &order)?;
    match sgx.rotate(&caller, &order, &once, RotationView::from).await? {
        Answer::Made(rotation) => {
            let location = format!("/api/v1/sgx/rotations/{}", rotation.rotation_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(rotation)).into_response())
        }
        Answer::Replayed(before) => Ok(before),
    }
}

/// Rotations of the tenant's keys, newest first.
#[utoipa::path(get, path = "/rotations", tag = "sgx", operation_id = "sgxListRotations", params(PageQuery),
    security(("bearer" = ["sgx:rotate"])), responses(
    (status = 200, description = "A page", body = Page<RotationView>),
    (status = 400, description = "A limit beyond 1000, a foreign cursor, an unknown parameter", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:rotate is missing", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_rotations(
    caller: Allowed<RotateKeys>,
    Search(query): Search<PageQuery>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<Page<RotationView>>, ApiError> {
    let limit = query.limit.unwrap_or_default();
    let before = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let rotations = sgx.rotations(&caller, before, limit).await?;
    let rotations: Vec<RotationView> = rotations.into_iter().map(Into::into).collect();
    Ok(Json(Page::cut(rotations, limit, |rotation| rotation.rotation_id)?))
}

/// One rotation: its state, progress and time left.
#[utoipa::path(get, path = "/rotations/{id}", tag = "sgx", operation_id = "sgxGetRotation",
    params(("id" = Uuid, Path)), security(("bearer" = ["sgx:rotate"])), responses(
    (status = 200, description = "The rotation", body = RotationView),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:rotate is missing", body = Problem),
    (status = 404, description = "No such rotation in this tenant", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_rotation(
    caller: Allowed<RotateKeys>,
    Parts(id): Parts<Uuid>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<RotationView>, ApiError> {
    Ok(Json(sgx.rotation(&caller, id).await?.into()))
}

/// The signed statement of a completed rotation: how many values are under the new key, the Merkle root over them, and that
/// none is under a former one.
#[utoipa::path(get, path = "/rotations/{id}/statement", tag = "sgx", operation_id = "sgxGetRotationStatement",
    params(("id" = Uuid, Path)), security(("bearer" = ["sgx:rotate"])), responses(
    (status = 200, description = "A C2SP signed note; `statementKey` of `GET /sgx/sealing-keys` verifies it",
        body = String, content_type = "text/plain"),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:rotate is missing", body = Problem),
    (status = 404, description = "No such rotation in this tenant", body = Problem),
    (status = 409, description = "`sgx.rotation_not_completed`", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_statement(
    caller: Allowed<RotateKeys>,
    Parts(id): Parts<Uuid>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Response, ApiError> {
    let note = sgx.rotation_statement(&caller, id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}
