//! One router out of every service's, with the same layers over all of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::SwaggerUi;

use super::rate_limit::RateLimits;
use super::{openapi, origin, rate_limit, refusal, time_limit};
use crate::composition::Service;
use crate::context::Context;
use crate::error::ApiError;

/// The application of this process.
pub fn app(context: Context, services: Vec<Service>) -> Router {
    let timeout = Duration::from_secs(context.http().request_timeout_seconds.get());
    let max_body = context.http().max_body_bytes.get();
    let (router, document) = openapi::split(services);
    let limits = Arc::new(RateLimits::new(context.clock(), context.rate_limit(), &document));
    // The page's badge would send the document to a validator on the network.
    let page = utoipa_swagger_ui::Config::default().validator_url("none");
    router
        .merge(SwaggerUi::new("/docs").url("/api/openapi.json", document).config(page))
        .layer(DefaultBodyLimit::max(max_body))
        .layer(from_fn_with_state(timeout, time_limit::layer))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal("a handler panicked").into_response()))
        .layer(from_fn_with_state(limits, rate_limit::layer))
        .layer(from_fn_with_state(context.clone(), refusal::layer))
        .layer(from_fn(origin::layer))
        .with_state(context)
}
