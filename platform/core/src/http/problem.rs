//! Problem details (RFC 9457): the one place where an error becomes a body, and where it is logged, once.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Origin;
use crate::db::chain;
use crate::error::{ApiError, FieldError};

/// What went wrong, and what to do next.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:nsl:problem:<code>`.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// Says what to do next.
    detail: String,
    /// Stable; programs decide by it.
    code: String,
    /// Names this request in the operator's log.
    trace_id: String,
    /// What is wrong with single fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// Writes the body of an answer that carries an [`ApiError`], or is a bare 4xx or 5xx of the framework.
pub(super) fn render(mut response: Response, origin: &Origin) -> Response {
    let error = response.extensions_mut().remove::<Arc<ApiError>>();
    let status = response.status();
    let error = match error {
        Some(error) => error,
        None if status.is_client_error() || status.is_server_error() => {
            if response.headers().contains_key(CONTENT_TYPE) {
                return response;
            }
            Arc::new(bare(status))
        }
        None => return response,
    };
    let request_id = origin.request_id.as_deref().unwrap_or_default();
    log(&error, request_id);
    let problem = Problem {
        kind: format!("urn:nsl:problem:{}", error.code),
        title: error.status.canonical_reason().unwrap_or("Error").to_owned(),
        status: error.status.as_u16(),
        detail: error.detail.clone(),
        code: error.code.to_owned(),
        trace_id: request_id.to_owned(),
        errors: error.errors.clone(),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.remove(axum::http::header::CONTENT_LENGTH);
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    // A struct of strings and numbers always has a JSON form.
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    response
}

/// The framework's own refusals, in our words.
fn bare(status: StatusCode) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => {
            ApiError::not_found("core.no_such_route", "There is no such path; /docs lists all of them.")
        }
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(
            status,
            "core.method_not_allowed",
            "This path does not take that method; the Allow header and /docs list those it takes.",
        ),
        StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ApiError::unavailable(
                "core.timeout",
                "The request took longer than the service allows; a change may have taken effect: read it back \
                 before you try again.",
            )
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(status, "core.body_too_large", "The body is larger than this path takes.")
        }
        _ if status.is_server_error() => ApiError::internal(format!("the framework answered {status}")),
        _ => ApiError::new(status, "core.refused", "The request was refused before it reached a service."),
    }
}

fn log(error: &ApiError, request_id: &str) {
    let cause = error.cause.as_deref().map(|cause| chain(cause)).unwrap_or_default();
    if error.status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request_id, code = error.code, cause, "request failed");
    } else if error.status.is_server_error() {
        tracing::warn!(request_id, code = error.code, cause, "request failed");
    } else {
        tracing::debug!(request_id, code = error.code, cause, "request refused");
    }
}
