//! Who may call a route. A handler names its permission as its first argument, `Allowed<ReadItems>`; since extractors
//! run in order, a stranger gets 401 whatever else is wrong with the request.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::rate_limit;
use crate::caller::{Caller, Origin};
use crate::context::Context;
use crate::error::ApiError;

/// A permission as a type; made by [`permissions!`](crate::permissions).
pub trait Permission: Send + Sync {
    const NAME: &'static str;
}

/// Declares permissions: `ReadItems = "sgx:read";`. The same text stands in the route's OpenAPI security.
#[macro_export]
macro_rules! permissions {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$meta])*
            pub struct $name;
            impl $crate::http::Permission for $name {
                const NAME: &'static str = $text;
            }
        )*
    };
}

/// A caller that has the permission `P`.
pub struct Allowed<P> {
    caller: Caller,
    permission: PhantomData<P>,
}

impl<P> Deref for Allowed<P> {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<P: Permission> FromRequestParts<Context> for Allowed<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        let bearer = bearer(parts)?;
        let principal = context.ports().authenticator.authenticate(bearer).await?;
        let origin = parts.extensions.get::<Arc<Origin>>().cloned().unwrap_or_default();
        let caller = Caller::new(principal, origin);
        caller.authorize(P::NAME).map_err(|error| error.unrecorded(&caller))?;
        rate_limit::charge(parts, &caller.principal)?;
        // For the extractors after this one: what they refuse is recorded as this caller's.
        parts.extensions.insert(caller.clone());
        Ok(Self { caller, permission: PhantomData })
    }
}

fn bearer(parts: &Parts) -> Result<&str, ApiError> {
    let header = parts.headers.get(AUTHORIZATION).ok_or_else(|| {
        ApiError::unauthorized(
            "core.credential_missing",
            "Send `Authorization: Bearer <access token>`; POST /api/v1/auth/login gives one.",
        )
    })?;
    header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
        .ok_or_else(|| {
            ApiError::unauthorized(
                "core.credential_malformed",
                "The Authorization header is not of the form `Bearer <access token>`.",
            )
        })
}
