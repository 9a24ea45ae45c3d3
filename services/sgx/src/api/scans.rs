//! Scans of everything that a tenant has sealed.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::http::{Allowed, Answer, Cursor, IdempotencyKey, Page, Parts, Problem, Search};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ScanItems;
use super::rotations::PageQuery;
use crate::actions::Sgx;
use crate::actions::scan::{Finding, Scan, seconds_left};

/// A scan and how far it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Scan)]
pub(super) struct ScanView {
    scan_id: Uuid,
    /// `running`, `completed` or `failed`.
    state: String,
    /// Items and former versions.
    total: i64,
    checked: i64,
    #[schema(minimum = 0, maximum = 100)]
    percent: i64,
    /// An estimate from how fast it went so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    finding_count: i64,
    /// Why it was broken off, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Scan> for ScanView {
    fn from(scan: Scan) -> Self {
        let percent = match (scan.state.as_str(), scan.checked, scan.total) {
            ("completed", ..) => 100,
            (_, _, ..=0) => 0,
            // The last percent is the walk over the log.
            (_, checked, total) => (checked.saturating_mul(100) / total).min(99),
        };
        Self {
            percent,
            seconds_left: seconds_left(&scan),
            scan_id: scan.scan_id,
            state: scan.state,
            total: scan.total,
            checked: scan.checked,
            finding_count: scan.findings,
            failure: scan.failure,
            requested_by: scan.requested_by,
            started_at: scan.started_at,
            finished_at: scan.finished_at,
        }
    }
}

/// An item or a version of it that is not as it should be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::Finding)]
pub(super) struct FindingView {
    /// `damaged`, `misplaced`, `rolled_back`, `undeleted`, `vanished`, `invented` or `unsealed`.
    kind: String,
    service: Option<String>,
    key: Option<String>,
    item_id: Option<Uuid>,
    version: Option<i64>,
    detail: String,
    #[schema(value_type = String, format = DateTime)]
    found_at: Timestamp,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            kind: finding.kind,
            service: finding.service_name,
            key: finding.key,
            item_id: finding.item_id,
            version: finding.version,
            detail: finding.detail,
            found_at: finding.found_at,
        }
    }
}

/// A scan with what it found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = sgx::ScanResult)]
pub(super) struct ScanResultView {
    #[serde(flatten)]
    scan: ScanView,
    /// The first 1000 of them.
    findings: Vec<FindingView>,
}

/// Open everything that the tenant has sealed, and compare it with the event log, in the background.
#[utoipa::path(post, path = "/scans", tag = "sgx", operation_id = "sgxStartScan",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key replays the first answer for 24 h")),
    security(("bearer" = ["sgx:scan"])), responses(
    (status = 202, description = "The scan runs", body = ScanView),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:scan is missing", body = Problem),
    (status = 409, description = "`sgx.scan_running`", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn start_scan(
    caller: Allowed<ScanItems>,
    key: IdempotencyKey,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Response, ApiError> {
    let once = key.bind("sgx.scans.start", &())?;
    match sgx.start_scan(&caller, &once, ScanView::from).await? {
        Answer::Made(scan) => {
            let location = format!("/api/v1/sgx/scans/{}", scan.scan_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(scan)).into_response())
        }
        Answer::Replayed(before) => Ok(before),
    }
}

/// Scans of the tenant, newest first.
#[utoipa::path(get, path = "/scans", tag = "sgx", operation_id = "sgxListScans", params(PageQuery),
    security(("bearer" = ["sgx:scan"])), responses(
    (status = 200, description = "A page", body = Page<ScanView>),
    (status = 400, description = "A limit beyond 1000, a foreign cursor, an unknown parameter", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:scan is missing", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn list_scans(
    caller: Allowed<ScanItems>,
    Search(query): Search<PageQuery>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<Page<ScanView>>, ApiError> {
    let limit = query.limit.unwrap_or_default();
    let before = query.cursor.as_deref().map(Cursor::read).transpose()?;
    let scans: Vec<ScanView> = sgx.scans(&caller, before, limit).await?.into_iter().map(Into::into).collect();
    Ok(Json(Page::cut(scans, limit, |scan| scan.scan_id)?))
}

/// One scan: its state, progress and findings.
#[utoipa::path(get, path = "/scans/{id}", tag = "sgx", operation_id = "sgxGetScan",
    params(("id" = Uuid, Path)), security(("bearer" = ["sgx:scan"])), responses(
    (status = 200, description = "The scan", body = ScanResultView),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission sgx:scan is missing", body = Problem),
    (status = 404, description = "No such scan in this tenant", body = Problem),
    (status = 503, description = "The database is away or busy", body = Problem)))]
pub(super) async fn get_scan(
    caller: Allowed<ScanItems>,
    Parts(id): Parts<Uuid>,
    axum::Extension(sgx): axum::Extension<Arc<Sgx>>,
) -> Result<Json<ScanResultView>, ApiError> {
    let (scan, findings) = sgx.scan(&caller, id).await?;
    Ok(Json(ScanResultView { scan: scan.into(), findings: findings.into_iter().map(Into::into).collect() }))
}
