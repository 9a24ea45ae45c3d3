//! The outermost layer: gives each request its id, its origin, its log line and its metrics, and turns errors into
//! problem+json.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use super::problem;
use crate::caller::Origin;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A user agent goes to audit rows; a longer one is cut.
const LONGEST_USER_AGENT: usize = 500;

pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let origin = Arc::new(read(&request));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(Arc::clone(&origin));

    let response = next.run(request).await;

    let mut response = problem::render(response, &origin);
    if let Some(Ok(id)) = origin.request_id.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    let took = started.elapsed();
    let labels =
        [("method", method.as_str().to_owned()), ("route", route.clone()), ("status", status.to_string())];
    metrics::counter!("nsl_http_requests_total", &labels).increment(1);
    metrics::histogram!("nsl_http_request_seconds", "route" => route.clone()).record(took.as_secs_f64());
    tracing::debug!(
        request_id = origin.request_id.as_deref(),
        %method,
        route,
        status,
        ms = took.as_secs_f64() * 1e3,
        "request"
    );
    response
}

fn read(request: &Request) -> Origin {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    // Only an id that is harmless in a log is taken over.
    let given = text(REQUEST_ID).filter(|id| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    });
    Origin {
        request_id: Some(given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)),
        trace_id: text(TRACEPARENT).and_then(trace_id),
        ip_address: request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.ip().to_string()),
        user_agent: text(USER_AGENT).map(|agent| agent.chars().take(LONGEST_USER_AGENT).collect()),
    }
}

/// The trace id of a W3C `traceparent` (version-traceid-parentid-flags).
fn trace_id(header: &str) -> Option<String> {
    let mut parts = header.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let valid = version.len() == 2 && id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    (valid && id.bytes().any(|b| b != b'0')).then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_gives_its_trace_id() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(header).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace_id("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id("nonsense"), None);
    }
}
