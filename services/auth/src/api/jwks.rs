//! The published keys.

use std::sync::Arc;

use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use nsl_core::ApiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::actions::State;
use crate::domain::token::Jwk;

/// A JWK set (RFC 7517 section 5).
#[derive(Serialize, ToSchema)]
#[schema(as = auth::JwkSet)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// The public keys that verify access tokens; none where `JWT_SECRET_KEY` signs them (`Jwt:Algorithm` HS256).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", operation_id = "authJwks",
    extensions(("x-rate-limit" = json!("none"))), responses(
    (status = 200, description = "The key set", body = JwkSet)))]
pub(super) async fn jwks(Extension(state): Extension<Arc<State>>) -> Result<Response, ApiError> {
    let keys = state.published_keys().await?;
    // Verifiers ask again when a token names a key that they do not know; this bounds how long they keep a retired one.
    Ok(([(CACHE_CONTROL, "public, max-age=300")], Json(JwkSet { keys })).into_response())
}
