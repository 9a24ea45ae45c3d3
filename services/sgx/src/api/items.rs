//! One item at a time, and lists of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Cursor, IfMatch, Limit, Page, Problem, Search, etag, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::address::{ItemParts, address};
use super::content::{declared_length, give_out, take_in};
use super::{DeleteItems, ReadItems, WriteItems};
use crate::actions::{Item, Listing, Sgx, Upload, Wanted};
use crate::domain::{Attributes, has_nul};
use crate::error::Error;

/// A value to be sealed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::PutItem)]
pub(super) struct PutItem {
    /// Standard base64; at most `SGX:Database:InlineBytes` bytes (1 MiB). Larger values, up to
    /// `SGX:Database:MaxValueBytes`, are put as octets.
    #[schema(content_encoding = "base64")]
    data: String,
    /// A JSON object of at most 16 KiB. Searchable, bound to the value, and not secret.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// MRSIGNER (default) or MRENCLAVE, which have no rules, or the name of a policy, whose rules are bound to the value.
    policy: Option<String>,
    /// RFC 3339. The item is gone from then on.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Options of a put whose body is the value itself.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub(super) struct PutOptions {
    /// MRSIGNER (default), MRENCLAVE or the name of a policy; with an octet-stream body only.
    policy: Option<String>,
    /// RFC 3339; with an octet-stream body only.
    #[param(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Which version to read.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadOptions {
    /// A version that is kept; the current one where none is named.
    #[param(minimum = 1)]
    version: Option<i64>,
}

/// No query at all: an answer that passed over `?version=1` would be taken for that version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

/// A sealed item, without its value.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Item)]
pub(super) struct ItemView {
    service: String,
    key: String,
    /// 1 for the first value, one more with each put. The ETag.
    pub(super) version: i64,
    /// Bytes of the value.
    size: usize,
    /// Bytes of the sealed value.
    sealed_size: usize,
    /// `sha256:<hex>` over the sealed bytes, which tell nothing about the value.
    fingerprint: String,
    policy: String,
    /// `aes-256-gcm`, or `none` where the operator turned encryption off.
    encryption: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<Item> for ItemView {
    fn from(item: Item) -> Self {
        Self {
            service: item.service,
            key: item.key,
            version: item.version,
            size: item.size,
            sealed_size: item.sealed_size,
            fingerprint: item.fingerprint,
            policy: item.policy,
            encryption: item.encryption,
            metadata: item.metadata,
            created_at: item.created_at,
            updated_at: item.updated_at,
            expires_at: item.expires_at,
        }
    }
}

/// A sealed item, opened.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::OpenedItem)]
pub(super) struct OpenedView {
    #[serde(flatten)]
    pub(super) item: ItemView,
    /// Standard base64.
    #[schema(content_encoding = "base64")]
    pub(super) data: String,
}

/// Which items to list.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Items of this service only.
    service: Option<String>,
    /// Items whose key begins with this.
    prefix: Option<String>,
    /// 1–1000, default 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// A JSON object: items whose metadata contain it (jsonb containment). Metadata are not secret, and a search looks at
    /// each item after the cursor.
    metadata: Option<String>,
}

/// Seal a value under a name: a new item, or the next version of one, atomically. The body is JSON, or the value itself
/// as `application/octet-stream`.
#[utoipa::path(put, path = "/items/{service}/{*key}", tag = "sgx", operation_id = "sgxPutItem",
    params(("service" = String, Path, description = "1–100 characters, no slash"),
           ("key" = String, Path, description = "1–255 characters; slashes part it, `.`, `..` and empty parts are refused"),
           ("If-Match" = Option<String>, Header, description = "Only if this is the version, or `*`: if it exists"),
           ("If-None-Match" = Option<String>, Header, description = "`*`: only if it does not exist"),
           PutOptions),
    request_body(content((PutItem = "application/json"), (Vec<u8> = "application/octet-stream"))),
    security(("bearer" = ["sgx:write"])),
    responses(
        (status = 200, description = "The next version", body = ItemView, headers(("ETag" = String))),
        (status = 201, description = "A new item", body = ItemView, headers(("ETag" = String))),
        (status = 400, description = "Not JSON, not base64, an unknown field", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 412, description = "Another version", body = Problem),
        (status = 413, description = "The value is too large", body = Problem),
        (status = 415, description = "Neither JSON nor octet-stream", body = Problem),
        (status = 422, description = "A name, expiry, policy or metadata that cannot be", body = Problem),
        (status = 507, description = "`sgx.quota_exceeded`", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn put_item(
    caller: Allowed<WriteItems>,
    parts: ItemParts,
    Search(options): Search<PutOptions>,
    condition: IfMatch,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
    request: Request,
) -> Result<Response, ApiError> {
    let address = address(&sgx, &caller, "SEAL_ITEM", parts).await?;
    let is_small = declared_length(&request).is_some_and(|length| length <= sgx.inline_bytes());
    let done = if is_octets(&request) && !is_small {
        let attributes = Attributes::new(None, options.policy, options.expires_at);
        take_in(&sgx, &caller, Upload { address, attributes, condition }, request).await?
    } else {
        match read_value(request, options, &sgx).await {
            Ok((value, attributes)) => sgx.put(&caller, address, value, attributes, condition).await?,
            Err(error) => {
                let resource = address.resource();
                return Err(sgx.refused_request(&caller, "SEAL_ITEM", resource, error.into()).await.into());
            }
        }
    };
    let status = if done.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let headers = item_headers(&done.item);
    Ok((status, headers, Json(ItemView::from(done.item))).into_response())
}

/// Open a sealed item: as JSON with `data`, or as the value itself with `Accept: application/octet-stream`.
#[utoipa::path(get, path = "/items/{service}/{*key}", tag = "sgx", operation_id = "sgxGetItem",
    params(("service" = String, Path), ("key" = String, Path), ReadOptions,
           ("X-Attestation-Id" = Option<Uuid>, Header, description = "The id of a verified attestation, where the policy needs one")),
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "The item and its value", headers(("ETag" = String)),
            content((OpenedView = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission, or the item's policy refuses", body = Problem),
        (status = 404, description = "No such item or version in this tenant, or expired", body = Problem),
        (status = 406, description = "The value is too large for JSON: ask for `application/octet-stream`", body = Problem),
        (status = 409, description = "`sgx.attestation_unavailable`: the policy needs one, and this is simulation mode",
            body = Problem),
        (status = 410, description = "`sgx.version_destroyed`", body = Problem),
        (status = 500, description = "`sgx.integrity_violation`: the stored item is not what was sealed", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_item(
    caller: Allowed<ReadItems>,
    parts: ItemParts,
    Search(options): Search<ReadOptions>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let address = address(&sgx, &caller, "UNSEAL_ITEM", parts).await?;
    let wanted = Wanted {
        version: options.version,
        attestation: attestation(&headers).map_err(|error| error.unrecorded(&caller))?,
    };
    if wants_bytes(&headers) {
        return give_out(&sgx, &caller, &address, wanted).await;
    }
    let (item, value) = sgx.get(&caller, &address, wanted).await?;
    let answer = item_headers(&item);
    let data = STANDARD.encode(&*value);
    Ok((answer, Json(OpenedView { item: item.into(), data })).into_response())
}

/// Look at a sealed item without opening it.
#[utoipa::path(head, path = "/items/{service}/{*key}", tag = "sgx", operation_id = "sgxHeadItem",
    params(("service" = String, Path), ("key" = String, Path), ReadOptions),
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "It exists; the value's size is Content-Length", headers(("ETag" = String))),
        (status = 401, description = "No valid credential"),
        (status = 403, description = "No permission"),
        (status = 404, description = "No such item or version in this tenant, or expired"),
        (status = 410, description = "The version was destroyed")))]
pub(super) async fn head_item(
    caller: Allowed<ReadItems>,
    parts: ItemParts,
    Search(options): Search<ReadOptions>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Response, ApiError> {
    let address = address(&sgx, &caller, "STAT_ITEM", parts).await?;
    let item = match options.version {
        Some(version) => sgx.stat_version(&caller, &address, version).await?,
        None => sgx.stat(&caller, &address).await?,
    };
    let size = [(CONTENT_LENGTH, HeaderValue::from(item.size))];
    Ok((item_headers(&item), size, [(CONTENT_TYPE, "application/octet-stream")]).into_response())
}

/// Delete a sealed item. Its row is purged after `SGX:Database:DataRetentionDays`.
#[utoipa::path(delete, path = "/items/{service}/{*key}", tag = "sgx", operation_id = "sgxDeleteItem",
    params(("service" = String, Path), ("key" = String, Path),
           ("If-Match" = Option<String>, Header, description = "Only if this is the version")),
    security(("bearer" = ["sgx:delete"])),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item in this tenant", body = Problem),
        (status = 412, description = "Another version", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn delete_item(
    caller: Allowed<DeleteItems>,
    parts: ItemParts,
    _: Search<NoOptions>,
    condition: IfMatch,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<StatusCode, ApiError> {
    let address = address(&sgx, &caller, "DELETE_ITEM", parts).await?;
    sgx.delete(&caller, &address, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List sealed items by service and key, without their values.
#[utoipa::path(get, path = "/items", tag = "sgx", operation_id = "sgxListItems",
    params(ListQuery),
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "A page", body = Page<ItemView>),
        (status = 400, description = "A limit beyond 1000, a foreign cursor, an unknown parameter", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_items(
    caller: Allowed<ReadItems>,
    Search(query): Search<ListQuery>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<Page<ItemView>>, ApiError> {
    let listing = listing(query).map_err(|error| error.unrecorded(&caller))?;
    let items = sgx.list(&caller, &listing).await?;
    let page = Page::cut(items, listing.limit, |item| (item.service.clone(), item.key.clone()))?;
    Ok(Json(Page { items: page.items.into_iter().map(Into::into).collect(), next_cursor: page.next_cursor }))
}

/// What a list is asked for.
fn listing(query: ListQuery) -> Result<Listing, ApiError> {
    let limit = query.limit.unwrap_or_default();
    for text in [&query.service, &query.prefix].into_iter().flatten() {
        if text.contains('\0') {
            return Err(ApiError::bad_request(
                "core.invalid_query",
                "A filter contains the character U+0000.",
            )
            .at("query", "no name contains U+0000"));
        }
    }
    let after: (String, String) = query.cursor.as_deref().map(Cursor::read).transpose()?.unwrap_or_default();
    if after.0.contains('\0') || after.1.contains('\0') {
        // No name contains it, and PostgreSQL takes no such text.
        return Err(ApiError::bad_request(
            "core.invalid_cursor",
            "The cursor is not one that this list answered.",
        )
        .at("cursor", "not a cursor of this list"));
    }
    let metadata = query.metadata.as_deref().map(metadata_filter).transpose()?;
    let prefix = query.prefix.unwrap_or_default();
    Ok(Listing { service: query.service, prefix, after, limit, metadata })
}

fn metadata_filter(text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() && !has_nul(value)).ok_or_else(|| {
        ApiError::bad_request(
            "core.invalid_query",
            "metadata takes a JSON object, without the character U+0000, that the items' metadata are to contain.",
        )
        .at("metadata", "not a JSON object")
    })
}

/// The attestation that a reader names.
fn attestation(headers: &HeaderMap) -> Result<Option<Uuid>, ApiError> {
    let Some(value) = headers.get("x-attestation-id") else { return Ok(None) };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Some).ok_or_else(|| {
        ApiError::bad_request(
            "sgx.invalid_attestation_id",
            "X-Attestation-Id takes the id that POST /api/v1/sgx/attestations/verify answered.",
        )
        .at("X-Attestation-Id", "not a UUID")
    })
}

/// The version as ETag; and a value must not stay in a cache.
pub(super) fn item_headers(item: &Item) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, etag(item.version));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

fn wants_bytes(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| {
        accept.split(',').any(|kind| kind.trim().starts_with("application/octet-stream"))
    })
}

/// The media type of a body, without its parameters.
fn kind(request: &Request) -> String {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_octets(request: &Request) -> bool {
    kind(request) == "application/octet-stream"
}

async fn read_value(
    request: Request,
    options: PutOptions,
    sgx: &Sgx,
) -> Result<(Zeroizing<Vec<u8>>, Attributes), ApiError> {
    let limit = sgx.inline_bytes();
    match kind(&request).as_str() {
        "application/octet-stream" => {
            let value = read_body(request, limit, || Error::TooLarge { limit }).await?;
            Ok((value, Attributes::new(None, options.policy, options.expires_at)))
        }
        "application/json" => {
            if options.policy.is_some() || options.expires_at.is_some() {
                return Err(ApiError::bad_request(
                    "sgx.option_in_query",
                    "With a JSON body, policy and expiresAt stand in the body.",
                ));
            }
            // Base64 is a third longer; the rest is for metadata and names of fields.
            let largest = limit.div_ceil(3) * 4 + (64 << 10);
            let body = read_body(request, largest, || sgx.too_large_for_json()).await?;
            let put: PutItem = json(&body)?;
            let data = Zeroizing::new(put.data);
            let value = decode(&data)?;
            Ok((value, Attributes::new(put.metadata, put.policy, put.expires_at)))
        }
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "core.media_type",
            "Send the value as `Content-Type: application/octet-stream`, or as application/json with base64 in data.",
        )),
    }
}

/// A value out of JSON.
pub(super) fn decode(data: &str) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    STANDARD.decode(data.as_bytes()).map(Zeroizing::new).map_err(|error| {
        ApiError::bad_request(
            "sgx.invalid_base64",
            "data is not standard base64 (RFC 4648 §4, with padding).",
        )
        .at("/data", error.to_string())
    })
}

/// Reads the body up to a limit; what declares itself larger is refused before a byte of it is read.
pub(super) async fn read_body(
    request: Request,
    limit: usize,
    too_large: impl Fn() -> Error,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let too_large = || too_large().into_api();
    let declared =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let bytes = axum::body::to_bytes(request.into_body(), limit).await.map_err(|error| {
        if nsl_core::db::chain(&error).contains("length limit exceeded") {
            return too_large();
        }
        ApiError::bad_request(
            "core.unreadable_body",
            "The body ended early or could not be read; send it again.",
        )
        .because(error)
    })?;
    Ok(Zeroizing::new(bytes.to_vec()))
}
