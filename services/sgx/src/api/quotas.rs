//! Quotas and statistics.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Body, Page, Problem, Search};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Quotas, ReadItems};
use crate::actions::{Sgx, Statistics};
use crate::store::quotas::Quota;

/// How much a service, or the tenant as a whole, may keep.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Quota)]
pub(super) struct QuotaView {
    /// Absent: the tenant as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Sealed bytes of all versions that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<i64>,
    /// Items that are not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> Self {
        Self {
            service: Some(quota.service_name).filter(|service| !service.is_empty()),
            max_bytes: quota.max_bytes,
            max_items: quota.max_items,
            updated_at: quota.updated_at,
            updated_by: quota.updated_by,
        }
    }
}

/// A quota to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = sgx::SetQuota)]
pub(super) struct SetQuota {
    /// Absent: the tenant as a whole.
    #[serde(default)]
    service: String,
    /// Sealed bytes of all versions that are kept.
    max_bytes: Option<i64>,
    /// Items that are not deleted.
    max_items: Option<i64>,
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct QuotaQuery {
    /// Absent: the tenant as a whole.
    service: String,
}

/// What a service keeps.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::ServiceStatistics)]
pub(super) struct ServiceView {
    service: String,
    items: i64,
    versions: i64,
    bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<i64>,
}

/// What the tenant keeps.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Statistics)]
pub(super) struct StatisticsView {
    /// Items that are not deleted; one that has expired counts until it is purged.
    items: i64,
    /// Versions whose values are kept, the current ones and those of deleted items among them.
    versions: i64,
    /// Sealed bytes of those.
    bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<i64>,
    services: Vec<ServiceView>,
}

impl From<Statistics> for StatisticsView {
    fn from(Statistics { services, quotas }: Statistics) -> Self {
        let quota = |service: &str| quotas.iter().find(|quota| quota.service_name == service);
        let whole = quota("");
        let sum = |of: fn(&crate::store::usage::Used) -> i64| services.iter().map(of).sum();
        Self {
            items: sum(|used| used.items),
            versions: sum(|used| used.versions),
            bytes: sum(|used| used.bytes),
            max_bytes: whole.and_then(|quota| quota.max_bytes),
            max_items: whole.and_then(|quota| quota.max_items),
            services: services
                .iter()
                .map(|used| {
                    let own = quota(&used.service_name);
                    ServiceView {
                        service: used.service_name.clone(),
                        items: used.items,
                        versions: used.versions,
                        bytes: used.bytes,
                        max_bytes: own.and_then(|quota| quota.max_bytes),
                        max_items: own.and_then(|quota| quota.max_items),
                    }
                })
                .collect(),
        }
    }
}

/// List the tenant's quotas.
#[utoipa::path(get, path = "/quotas", tag = "sgx", operation_id = "sgxListQuotas",
    security(("bearer" = ["sgx:quotas"])),
    responses(
        (status = 200, description = "All of them", body = Page<QuotaView>),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_quotas(
    caller: Allowed<Quotas>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<Page<QuotaView>>, ApiError> {
    let items = sgx.quotas(&caller).await?.into_iter().map(Into::into).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

/// Set the quota of a service, or of the tenant as a whole. What is kept already stays; what would exceed it is refused.
#[utoipa::path(put, path = "/quotas", tag = "sgx", operation_id = "sgxSetQuota",
    request_body = SetQuota, security(("bearer" = ["sgx:quotas"])),
    responses(
        (status = 200, description = "The quota", body = QuotaView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 422, description = "Less than nothing, neither bytes nor items, or a name that cannot be", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn set_quota(
    caller: Allowed<Quotas>,
    Extension(sgx): Extension<Arc<Sgx>>,
    Body(request): Body<SetQuota>,
) -> Result<Json<QuotaView>, ApiError> {
    let SetQuota { service, max_bytes, max_items } = request;
    Ok(Json(sgx.set_quota(&caller, &service, max_bytes, max_items).await?.into()))
}

/// Remove the quota of a service, or of the tenant as a whole.
#[utoipa::path(delete, path = "/quotas", tag = "sgx", operation_id = "sgxRemoveQuota",
    params(QuotaQuery), security(("bearer" = ["sgx:quotas"])),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 404, description = "No such quota", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn remove_quota(
    caller: Allowed<Quotas>,
    Search(query): Search<QuotaQuery>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<StatusCode, ApiError> {
    sgx.remove_quota(&caller, &query.service).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How much the tenant keeps, by service, kept up with each change rather than counted.
#[utoipa::path(get, path = "/statistics", tag = "sgx", operation_id = "sgxStatistics",
    security(("bearer" = ["sgx:read"])),
    responses(
        (status = 200, description = "What is kept, and how much may be", body = StatisticsView),
        (status = 401, description = "No valid credential", body = Problem),
        (status = 403, description = "No permission", body = Problem),
        (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn statistics(
    caller: Allowed<ReadItems>,
    Extension(sgx): Extension<Arc<Sgx>>,
) -> Result<Json<StatisticsView>, ApiError> {
    Ok(Json(sgx.statistics(&caller).await?.into()))
}
