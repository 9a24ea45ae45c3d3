//! The versions of an item.

use std::sync::Arc;

use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Cursor, Limit, Page, Problem, Search};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ReadItems;
use super::address::{ItemParts, address};
use crate::actions::Sgx;
use crate::store::versions::Listed;

/// A version of an item, without its value.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::ItemVersion)]
pub(super) struct VersionView {
    version: i64,
    /// Bytes of the value.
    size: i32,
    /// Bytes of the sealed value.
    sealed_size: i32,
    fingerprint: String,
    policy: String,
    /// When this version was put.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the next one took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    superseded_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Its key is gone: nobody can bring the value back.
    destroyed: bool,
    /// Whether a read that names no version gets it. Of a deleted item no version is.
    current: bool,
}

impl From<Listed> for VersionView {
    fn from(row: Listed) -> Self {
        Self {
            version: row.version,
            size: row.original_size,
            sealed_size: row.sealed_size,
            fingerprint: row.fingerprint,
            policy: row.policy_name.unwrap_or(row.policy_type),
            created_at: row.created_at,
            superseded_at: row.superseded_at,
            expires_at: row.expires_at,
            destroyed: row.destroyed,
            current: row.current,
        }
    }
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionsQuery {
    /// 1–1000, default 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// List the versions of an item that are kept, newest first; also of an item that is deleted and not purged yet.
#[utoipa::path(get, path = "/versions/{service}/{*key}", tag = "sgx", operation_id = "sgxListVersions",
    params(("service" = String, Path), ("key" = String, Path), VersionsQuery),
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "A page", body = Page<VersionView>),
        (status = 400, description = "A limit beyond 1000, a foreign cursor, an unknown parameter", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such item in this tenant", body = Problem),
        (status = 422, description = "A name that cannot be", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_versions(
    caller: Allowed<ReadItems>,
    parts: ItemParts,
    Search(query): Search<VersionsQuery>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<Page<VersionView>>, ApiError> {
    let limit = query.limit.unwrap_or_default();
    let below: Option<i64> = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let address = address(&sgx, &caller, "LIST_VERSIONS", parts).await?;
    let rows = sgx.versions(&caller, &address, below, limit).await?;
    let versions = rows.into_iter().map(VersionView::from).collect();
    Ok(Json(Page::cut(versions, limit, |view: &VersionView| view.version)?))
}
