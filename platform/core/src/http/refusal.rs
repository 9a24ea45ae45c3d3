//! The audit row of a request that its service never saw: its permission is missing, or its path, query, headers or body
//! cannot be read. Only of callers that are known: a stranger could fill the log. What was wrong is told by code and field
//! alone, since the words may repeat what was sent.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::context::Context;
use crate::db::{Audit, AuditResult};
use crate::error::ApiError;

const ACTION: &str = "REFUSE_REQUEST";
/// Longer ones are cut: both may hold names of the caller's own.
const LONGEST_PATH: usize = 1000;
const LONGEST_DETAILS: usize = 300;

pub(super) async fn layer(State(context): State<Context>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let Some(error) = response.extensions().get::<Arc<ApiError>>().cloned() else { return response };
    let (Some(caller), Some(log)) = (error.unrecorded.as_deref(), context.refusals()) else {
        return response;
    };
    match log.record(caller, entry(&method, uri.path(), &error)).await {
        Ok(()) => response,
        // Nothing is answered that is not recorded.
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn entry(method: &Method, path: &str, error: &ApiError) -> Audit {
    let result =
        if error.status == StatusCode::FORBIDDEN { AuditResult::Denied } else { AuditResult::Failure };
    let service = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()).unwrap_or("core");
    let mut details = vec![error.status.as_str(), error.code];
    details.extend(error.errors.iter().map(|field| field.pointer.as_str()));
    Audit::new(service.to_owned(), ACTION, "request", cut(&format!("{method} {path}"), LONGEST_PATH), result)
        .details(cut(&details.join(" "), LONGEST_DETAILS))
}

/// Without control characters, of which PostgreSQL takes no U+0000.
fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|c| if c.is_control() { '?' } else { c }).collect()
}
