//! Request and response types, thin handlers, routes.

/// API keys.
mod api_keys;
/// The published keys.
mod jwks;
/// One's own second factor.
mod mfa;
/// Passwords: changed, forgotten, reset.
mod password;
/// Accounts that their owners make, and addresses that they confirm.
mod registration;
/// The roles of a tenant, and who holds them.
mod roles;
/// Login, refresh, logout, who one is, and the sessions that go on.
mod sessions;
/// Tenants and their members.
mod tenants;
/// The users of a tenant.
mod users;
/// Sign-in with a wallet, and the wallets of one's account.
mod wallets;

use std::sync::Arc;

use axum::Extension;
use nsl_core::Context;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actions::State;

nsl_core::permissions! {
    /// One's own account and sessions.
    Own = "auth:self";
    /// One's own API keys.
    ApiKeys = "auth:api-keys";
    /// The users of the tenant.
    Users = "auth:users";
    /// The roles of the tenant.
    Roles = "auth:roles";
    /// Tenants; for the operator.
    Tenants = "core:tenants";
}

/// The routes below `/api/v1/auth`.
pub(crate) fn router(state: &Arc<State>) -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(sessions::list, sessions::revoke_all))
        .routes(routes!(sessions::revoke))
        .routes(routes!(users::get, users::update, users::remove))
        .routes(routes!(users::lock))
        .routes(routes!(users::unlock))
        .routes(routes!(users::remove_totp))
        .routes(routes!(roles::list, roles::create))
        .routes(routes!(roles::get, roles::update, roles::delete))
        .routes(routes!(roles::assign, roles::unassign))
        .routes(routes!(password::change))
        .routes(routes!(password::forgot))
        .routes(routes!(password::reset))
        .routes(routes!(registration::register))
        .routes(routes!(registration::verify))
        .routes(routes!(registration::verify_again))
        .routes(routes!(mfa::status, mfa::start, mfa::remove))
        .routes(routes!(mfa::confirm))
        .routes(routes!(mfa::backup_codes))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::get, api_keys::rename, api_keys::revoke))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(wallets::challenge))
        .routes(routes!(wallets::login))
        .routes(routes!(wallets::list, wallets::link))
        .routes(routes!(wallets::unlink))
        .layer(Extension(Arc::clone(state)))
}

/// The routes at absolute paths.
pub(crate) fn root(state: &Arc<State>) -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(jwks::jwks))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::get, tenants::update))
        .routes(routes!(tenants::members, tenants::add_member))
        .routes(routes!(tenants::remove_member))
        .layer(Extension(Arc::clone(state)))
}
