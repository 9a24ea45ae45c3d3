//! `Idempotency-Key` on requests that create or move something: the same key and body replays the first answer for
//! 24 h; the same key with another body is refused.

use axum::extract::FromRequestParts;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use nsl_crypto::digest::{constant_time_eq, sha256};
use serde::Serialize;

use super::extract::refused;
use crate::caller::Caller;
use crate::context::Context;
use crate::db::idempotency::{Before, Key};
use crate::db::{DbError, UnitOfWork};
use crate::error::ApiError;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const LONGEST: usize = 255;

/// The header, always optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdempotencyKey(Option<String>);

impl FromRequestParts<Context> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _context: &Context) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        match value.to_str() {
            Ok(key) if (1..=LONGEST).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => {
                let error = ApiError::bad_request(
                    "core.invalid_idempotency_key",
                    "The Idempotency-Key takes 1 to 255 visible ASCII characters; a UUID is a good one.",
                )
                .at("Idempotency-Key", "1 to 255 visible ASCII characters");
                Err(refused(error, parts.extensions.get()))
            }
        }
    }
}

/// What a request that creates came to.
pub enum Answer<T> {
    Made(T),
    /// It was made before: the first answer.
    Replayed(Response),
}

/// One request under its key, bound to a route and a body.
pub struct Once {
    key: Option<String>,
    route: &'static str,
    request_hash: [u8; 32],
}

impl IdempotencyKey {
    /// Binds the key to a route and a request. Secrets of the request, such as a password, are left out of `request`:
    /// its hash is stored.
    pub fn bind(self, route: &'static str, request: &impl Serialize) -> Result<Once, ApiError> {
        let request_hash = sha256(&serde_json::to_vec(request).map_err(ApiError::internal)?);
        Ok(Once { key: self.0, route, request_hash })
    }
}

impl Once {
    /// Whether the request came with a key at all.
    pub fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    fn key<'a>(&'a self, caller: &'a Caller) -> Option<Key<'a>> {
        let key = self.key.as_deref()?;
        Some(Key { tenant: caller.tenant(), principal: &caller.principal.name, key })
    }

    /// The first thing in the transaction: the answer to replay, if the key was used before.
    pub async fn replay(&self, work: &UnitOfWork<'_>, caller: &Caller) -> Result<Option<Response>, ApiError> {
        let Some(key) = self.key(caller) else { return Ok(None) };
        match key.claim(work, self.route, &self.request_hash).await? {
            None => Ok(None),
            Some(before) => self.answer(before).map(Some),
        }
    }

    fn answer(&self, before: Before) -> Result<Response, ApiError> {
        if before.route != self.route || !constant_time_eq(&before.request_hash, &self.request_hash) {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "core.idempotency_key_reused",
                "This Idempotency-Key was used for another request within 24 h; use a new one.",
            ));
        }
        if before.secret {
            let id = before.resource_id.unwrap_or_default();
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "core.secret_already_shown",
                format!(
                    "This request was carried out before; its answer held a secret and was not kept (id {id})."
                ),
            ));
        }
        let status = before.status.and_then(|status| u16::try_from(status).ok());
        let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
        let headers = [(CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
        Ok((status, headers, before.body.unwrap_or_default()).into_response())
    }

    /// The last thing in the transaction: keeps the answer for a replay.
    pub async fn keep(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Result<(), ApiError> {
        if let Some(key) = self.key(caller) {
            let bytes = serde_json::to_vec(body).map_err(ApiError::internal)?;
            key.keep(work, status.as_u16(), Some(&bytes), None).await?;
        }
        Ok(())
    }

    /// The same for an answer that carries a secret: only the id of what it was about is kept.
    pub async fn keep_secret(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        status: StatusCode,
        id: &str,
    ) -> Result<(), DbError> {
        match self.key(caller) {
            Some(key) => key.keep(work, status.as_u16(), None, Some(id)).await,
            None => Ok(()),
        }
    }
}
