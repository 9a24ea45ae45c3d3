//! The slots that hold the root key.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::config::{Secret, check_strength};
use nsl_core::http::{Allowed, Answer, Body, IdempotencyKey, Page, Parts, Problem};
use nsl_crypto::key::Key256;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Operate;
use crate::actions::{NewSlot, Sgx, SlotInfo};
use crate::domain::slot::SlotKind;

/// A slot: the root key, wrapped under one key that opens it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Slot)]
pub(super) struct SlotView {
    id: Uuid,
    /// The root key's public id.
    root_key_id: String,
    /// `active`, `superseded` or `retired`.
    root_state: String,
    /// `configured`, `mrsigner` or `mrenclave`.
    kind: String,
    /// The public id of the key that opens it.
    opener_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// `active` or `retired`.
    state: String,
    /// Whether the serving process has the key.
    at_hand: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last opened for a test.
    #[schema(value_type = Option<String>, format = DateTime)]
    tested_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    retired_at: Option<Timestamp>,
}

impl From<SlotInfo> for SlotView {
    fn from(slot: SlotInfo) -> Self {
        Self {
            id: slot.id,
            root_key_id: hex::encode(slot.root_key_id),
            root_state: slot.root_state,
            kind: slot.kind,
            opener_id: hex::encode(slot.opener_id),
            label: slot.label,
            state: slot.state,
            at_hand: slot.at_hand,
            created_at: slot.created_at,
            tested_at: slot.tested_at,
            retired_at: slot.retired_at,
        }
    }
}

/// A further key that is to open the root key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::AddSlot)]
pub(super) struct AddSlot {
    kind: SlotKind,
    /// For kind `configured`: 32 bytes as base64 or hex. Neither stored nor logged; send it over TLS or loopback only.
    #[schema(value_type = Option<String>, write_only)]
    key: Option<Secret>,
    /// What the operators call it: 1 to 100 characters.
    label: Option<String>,
}

/// What is compared when an Idempotency-Key comes again: nothing of the key but its public id.
#[derive(Serialize)]
struct AddSlotOnce<'a> {
    kind: SlotKind,
    opener: Option<[u8; 8]>,
    label: Option<&'a str>,
}

/// With which key a slot is tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::TestSlot)]
pub(super) struct TestSlot {
    /// 32 bytes as base64 or hex; left out, the process tries the keys that it has.
    #[schema(value_type = Option<String>, write_only)]
    key: Option<Secret>,
}

/// List the slots of the root keys, retired ones too. For the operator of the installation: a caller of tenant `default`.
#[utoipa::path(get, path = "/slots", tag = "sgx", operation_id = "sgxListSlots",
    security(("bearer" = ["sgx:operate"])),
    responses(
        (status = 200, description = "All slots", body = Page<SlotView>),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission, or not of tenant `default`", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_slots(
    caller: Allowed<Operate>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<Page<SlotView>>, ApiError> {
    let items = sgx.slots(&caller).await?.into_iter().map(Into::into).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

/// Let a further key open the root key: one that an operator keeps (`configured`, its bytes in the body), or the platform's.
#[utoipa::path(post, path = "/slots", tag = "sgx", operation_id = "sgxAddSlot",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = AddSlot, security(("bearer" = ["sgx:operate"])),
    responses(
        (status = 201, description = "The slot of the active root key", body = SlotView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission, or not of tenant `default`", body = Problem),
        (status = 409, description = "The key has a slot, or the platform gives no such key", body = Problem),
        (status = 422, description = "Not a key, or a weak one", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn add_slot(
    caller: Allowed<Operate>,
    idempotency: IdempotencyKey,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<AddSlot>,
) -> Result<Response, ApiError> {
    let new = new_slot(request).map_err(|error| error.unrecorded(&caller))?;
    let compared =
        AddSlotOnce { kind: new.kind, opener: new.key.as_ref().map(Key256::id), label: new.label.as_deref() };
    let once = idempotency.bind("sgx.slots.add", &compared)?;
    match sgx.add_slot(&caller, new, &once, SlotView::from).await? {
        Answer::Made(slot) => {
            let location = [(LOCATION, format!("/api/v1/sgx/slots/{}", slot.id))];
            Ok((StatusCode::CREATED, location, Json(slot)).into_response())
        }
        Answer::Replayed(before) => Ok(before),
    }
}

/// Open a slot, to see that it would serve: with a key that the process has, or with the one in the body.
#[utoipa::path(post, path = "/slots/{id}/test", tag = "sgx", operation_id = "sgxTestSlot",
    params(("id" = Uuid, Path)),
    request_body = TestSlot, security(("bearer" = ["sgx:operate"])),
    responses(
        (status = 200, description = "It opens", body = SlotView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission, or not of tenant `default`", body = Problem),
        (status = 404, description = "No such slot", body = Problem),
        (status = 409, description = "The slot is retired, or its key is not at hand", body = Problem),
        (status = 422, description = "`sgx.wrong_key_slot`: the slot is for another key; or not a key", body = Problem),
        (status = 500, description = "`sgx.slot_damaged`: the slot is not what was wrapped there", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn test_slot(
    caller: Allowed<Operate>,
    Parts(id): Parts<Uuid>,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<TestSlot>,
) -> Result<Json<SlotView>, ApiError> {
    let key = request.key.as_ref().map(read_key).transpose().map_err(|error| error.unrecorded(&caller))?;
    Ok(Json(sgx.test_slot(&caller, id, key.as_ref()).await?.into()))
}

/// Take a key's slots away, of every root key: a process with that key alone does not start any more.
#[utoipa::path(post, path = "/slots/{id}/retire", tag = "sgx", operation_id = "sgxRetireSlot",
    params(("id" = Uuid, Path)),
    security(("bearer" = ["sgx:operate"])),
    responses(
        (status = 200, description = "Retired", body = SlotView),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission, or not of tenant `default`", body = Problem),
        (status = 404, description = "No such slot", body = Problem),
        (status = 409, description = "`sgx.last_slot`: nothing else opens the root key; or it is retired already", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn retire_slot(
    caller: Allowed<Operate>,
    Parts(id): Parts<Uuid>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<SlotView>, ApiError> {
    Ok(Json(sgx.retire_slot(&caller, id).await?.into()))
}

fn new_slot(request: AddSlot) -> Result<NewSlot, ApiError> {
    let key = request.key.as_ref().map(read_key).transpose()?;
    if request.kind == SlotKind::Configured && key.is_none() {
        return Err(invalid_key("a slot of kind configured needs the key's 32 bytes, as base64 or hex"));
    }
    let fits = |label: &str| (1..=100).contains(&label.chars().count()) && !label.contains(char::is_control);
    if request.label.as_deref().is_some_and(|label| !fits(label)) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "sgx.invalid_label",
            "A label has 1 to 100 characters and no control characters.",
        )
        .at("/label", "1 to 100 characters"));
    }
    Ok(NewSlot { kind: request.kind, key, label: request.label })
}

fn read_key(secret: &Secret) -> Result<Key256, ApiError> {
    let secret = check_strength("key", Some(secret), 32).map_err(|error| invalid_key(error.to_string()))?;
    Key256::parse(secret.expose()).map_err(|error| invalid_key(error.to_string()))
}

/// The texts of the errors carry nothing of the key.
fn invalid_key(problem: impl Into<String>) -> ApiError {
    let problem = problem.into();
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "sgx.invalid_key",
        format!("The key cannot be used: {problem}."),
    )
    .at("/key", problem)
}
