//! Request and response types, thin handlers, routes.

/// The published keys.
mod jwks;
/// Login, refresh, logout, and who one is.
mod sessions;
/// The users of a tenant.
mod users;

use std::sync::Arc;

use axum::Extension;
use nsl_core::Context;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actions::State;

nsl_core::permissions! {
    /// One's own account and sessions.
    Own = "auth:self";
    /// The users of the tenant.
    Users = "auth:users";
}

/// The routes below `/api/v1/auth`.
pub(crate) fn router(state: &Arc<State>) -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get))
        .layer(Extension(Arc::clone(state)))
}

/// The routes at absolute paths.
pub(crate) fn root(state: &Arc<State>) -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(jwks::jwks)).layer(Extension(Arc::clone(state)))
}
