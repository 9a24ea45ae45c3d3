//! Many items in one request.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Body, IdempotencyKey, IfMatch, Problem, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::items::{ItemView, OpenedView, decode, read_body};
use super::{ReadItems, WriteItems};
use crate::actions::{PutDone, Sgx, ToPut};
use crate::domain::{Address, Attributes};
use crate::error::Error;

/// Items of one request.
const MOST: usize = 1000;
/// A batch put's body.
const LARGEST_BODY: usize = 16 << 20;

/// Values to be sealed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::BatchPut)]
pub(super) struct BatchPut {
    /// 1–1000.
    items: Vec<BatchPutItem>,
    /// True (default): all of them in one transaction, or none. False: each for itself, with its own outcome.
    #[serde(default = "yes")]
    atomic: bool,
}

fn yes() -> bool {
    true
}

/// One value of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::BatchPutItem)]
pub(super) struct BatchPutItem {
    service: String,
    key: String,
    /// Standard base64.
    #[schema(content_encoding = "base64")]
    data: String,
    /// A JSON object of at most 16 KiB. Searchable, bound to the value, and not secret.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// MRSIGNER (default) or MRENCLAVE.
    policy: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Only if this is the version; 0: only if it does not exist.
    if_version: Option<i64>,
}

/// What became of the values, in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = sgx::BatchPutAnswer)]
pub(super) struct BatchPutAnswer {
    items: Vec<BatchPutOutcome>,
}

/// 201 when new, 200 when replaced, else what was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = sgx::BatchPutOutcome)]
pub(super) struct BatchPutOutcome {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// Why one item of a batch was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = sgx::ItemError)]
pub(super) struct ItemError {
    code: &'static str,
    detail: String,
}

impl From<&ApiError> for ItemError {
    fn from(error: &ApiError) -> Self {
        Self { code: error.code, detail: error.detail.clone() }
    }
}

/// Items to be opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = sgx::BatchGet)]
pub(super) struct BatchGet {
    /// 1–1000; their values together at most 16 MiB.
    items: Vec<Place>,
}

/// Where an item lies.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = sgx::Place)]
pub(super) struct Place {
    service: String,
    key: String,
}

/// The items in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = sgx::BatchGetAnswer)]
pub(super) struct BatchGetAnswer {
    items: Vec<BatchGetOutcome>,
}

/// 200 with the item, else why there is none.
#[derive(Serialize, ToSchema)]
#[schema(as = sgx::BatchGetOutcome)]
pub(super) struct BatchGetOutcome {
    service: String,
    key: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<OpenedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// Seal many values: all in one transaction, or each for itself. What refuses an atomic batch is answered with its place
/// in the request, and nothing is put.
#[utoipa::path(post, path = "/items/batch-put", tag = "sgx", operation_id = "sgxBatchPut",
    params(("Idempotency-Key" = Option<String>, Header, description = "Replays the first answer for 24 h")),
    request_body = BatchPut,
    security(("bearer" = ["sgx:write"])),
    responses(
        (status = 200, description = "What became of each", body = BatchPutAnswer),
        (status = 400, description = "Not JSON, not base64, an unknown field", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 412, description = "Atomic: an item is at another version", body = Problem),
        (status = 413, description = "The body or a value is too large", body = Problem),
        (status = 422, description = "A name, expiry or metadata that cannot be; an item twice; none or too many", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem),
        (status = 507, description = "Atomic: `sgx.quota_exceeded`", body = Problem)))]
pub(super) async fn batch_put(
    caller: Allowed<WriteItems>,
    key: IdempotencyKey,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = read_body(request, LARGEST_BODY, || Error::TooLarge { limit: LARGEST_BODY }).await;
    let body = body.map_err(|error| error.unrecorded(&caller))?;
    // The values are not to be guessed from what is stored of the request.
    let once = key.bind("sgx.batch-put", &sgx.keyed_digest(&body))?;
    let (items, atomic) = to_puts(&body).map_err(|error| error.unrecorded(&caller))?;
    let put = sgx.once(&caller, &once, async {
        if !atomic {
            let done = sgx.put_each(&caller, items).await;
            return Ok(BatchPutAnswer { items: done.into_iter().map(put_outcome).collect() });
        }
        match sgx.put_all(&caller, items).await {
            Ok(done) => {
                Ok(BatchPutAnswer { items: done.into_iter().map(|done| put_outcome(Ok(done))).collect() })
            }
            Err(refusal) => Err(ApiError::from(refusal.error)
                .at(format!("/items/{}", refusal.index), "this item was refused, so none was put")),
        }
    });
    Box::pin(put).await
}

/// Open many items, each with its own outcome and its own audit row.
#[utoipa::path(post, path = "/items/batch-get", tag = "sgx", operation_id = "sgxBatchGet",
    request_body = BatchGet,
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "Each item, or why there is none", body = BatchGetAnswer),
        (status = 400, description = "Not JSON, an unknown field", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 413, description = "The values together are more than one answer holds", body = Problem),
        (status = 422, description = "A name that cannot be; none or too many", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn batch_get(
    caller: Allowed<ReadItems>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
    Body(batch): Body<BatchGet>,
) -> Result<Json<BatchGetAnswer>, ApiError> {
    let addresses = addresses(batch.items).map_err(|error| error.unrecorded(&caller))?;
    let found = sgx.get_each(&caller, &addresses).await?;
    let items = addresses.into_iter().zip(found).map(|(address, found)| {
        let (status, item, error) = match found {
            Ok((item, value)) => {
                let data = STANDARD.encode(&*value);
                (StatusCode::OK, Some(OpenedView { item: item.into(), data }), None)
            }
            Err(error) => {
                let error = ApiError::from(error);
                (error.status, None, Some(ItemError::from(&error)))
            }
        };
        BatchGetOutcome { service: address.service, key: address.key, status: status.as_u16(), item, error }
    });
    Ok(Json(BatchGetAnswer { items: items.collect() }))
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    let problem = format!("it has {count} items; it takes 1 to {MOST}");
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "sgx.invalid_batch", format!("/items: {problem}."))
        .at("/items", problem))
}

/// The items of a body, and whether they are put all or none.
fn to_puts(body: &[u8]) -> Result<(Vec<ToPut>, bool), ApiError> {
    let batch: BatchPut = json(body)?;
    Ok((each(batch.items, to_put)?, batch.atomic))
}

fn addresses(places: Vec<Place>) -> Result<Vec<Address>, ApiError> {
    each(places, |place| Ok(Address::new(place.service, place.key).map_err(Error::from)?))
}

/// Reads each item, saying which is at fault.
fn each<T, U>(items: Vec<T>, read: impl Fn(T) -> Result<U, ApiError>) -> Result<Vec<U>, ApiError> {
    check_count(items.len())?;
    let named = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| read(item).map_err(|error| error.at(format!("/items/{index}"), "of this item")));
    named.collect()
}

fn to_put(item: BatchPutItem) -> Result<ToPut, ApiError> {
    let data = Zeroizing::new(item.data);
    let condition = match item.if_version {
        None => IfMatch::Any,
        Some(0) => IfMatch::Absent,
        Some(version) => IfMatch::Versions(vec![version]),
    };
    Ok(ToPut {
        address: Address::new(item.service, item.key).map_err(Error::from)?,
        value: decode(&data)?,
        attributes: Attributes::new(item.metadata, item.policy, item.expires_at),
        condition,
    })
}

fn put_outcome(done: Result<PutDone, Error>) -> BatchPutOutcome {
    match done {
        Ok(done) => {
            let status = if done.is_new { StatusCode::CREATED } else { StatusCode::OK };
            BatchPutOutcome { status: status.as_u16(), item: Some(done.item.into()), error: None }
        }
        Err(error) => {
            let error = ApiError::from(error);
            BatchPutOutcome {
                status: error.status.as_u16(),
                item: None,
                error: Some(ItemError::from(&error)),
            }
        }
    }
}
