//! The routes of the process itself: health and metrics.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts as HttpParts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Parts, Problem};
use crate::context::Context;
use crate::error::ApiError;
use crate::health::{CheckReport, HealthReport, Status};

pub(super) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(one))
        .routes(routes!(metrics))
}

fn code(status: Status) -> StatusCode {
    match status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn answer<T: serde::Serialize>(status: Status, body: T) -> Response {
    (code(status), [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Every check of this process; the worst decides.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "health", responses(
    (status = 200, description = "Healthy or Degraded", body = HealthReport),
    (status = 503, description = "Unhealthy, with the reason", body = HealthReport)))]
async fn health(State(context): State<Context>) -> Response {
    let report = context.health().report().await;
    answer(report.status, report)
}

/// The process answers; nothing else is looked at.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "healthLive", responses(
    (status = 200, description = "The process is alive", body = HealthReport)))]
async fn live() -> Response {
    answer(Status::Healthy, HealthReport { status: Status::Healthy, checks: Vec::new() })
}

/// Whether requests can be served: as `/health`, under the name that orchestrators expect.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "healthReady", responses(
    (status = 200, description = "Ready", body = HealthReport),
    (status = 503, description = "Not ready, with the reason", body = HealthReport)))]
async fn ready(State(context): State<Context>) -> Response {
    let report = context.health().report().await;
    answer(report.status, report)
}

/// One check, by its name.
#[utoipa::path(get, path = "/health/{check}", tag = "health", operation_id = "healthCheck",
    params(("check" = String, Path, description = "postgresql or a service, such as sgx")),
    responses(
    (status = 200, description = "Healthy or Degraded", body = CheckReport),
    (status = 404, description = "This process has no such check", body = Problem),
    (status = 503, description = "Unhealthy, with the reason", body = CheckReport)))]
async fn one(State(context): State<Context>, Parts(check): Parts<String>) -> Result<Response, ApiError> {
    let report = context.health().one(&check).await.ok_or_else(|| {
        ApiError::not_found(
            "core.no_such_check",
            "This process has no such health check; GET /health lists those it has.",
        )
    })?;
    Ok(answer(report.status, report))
}

/// Metrics in the Prometheus text format: on loopback freely, elsewhere with the scrape token (`Http:ScrapeToken`).
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics", responses(
    (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
    (status = 403, description = "Not from loopback, and without the scrape token", body = Problem)))]
async fn metrics(
    State(context): State<Context>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !peer.is_local && !has_scrape_token(&context, &headers) {
        return Err(ApiError::forbidden(
            "core.metrics_not_public",
            "Metrics are served on loopback, or to `Authorization: Bearer <Http:ScrapeToken>`.",
        ));
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], context.metrics().render()).into_response())
}

fn has_scrape_token(context: &Context, headers: &HeaderMap) -> bool {
    let Some(token) = &context.http().scrape_token else { return false };
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).is_some_and(
        |given| nsl_crypto::digest::constant_time_eq(given.as_bytes(), token.expose().as_bytes()),
    )
}

/// Where the connection comes from.
struct Peer {
    is_local: bool,
}

impl FromRequestParts<Context> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut HttpParts, _context: &Context) -> Result<Self, ApiError> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self { is_local: address.is_some_and(|ConnectInfo(address)| address.ip().is_loopback()) })
    }
}
