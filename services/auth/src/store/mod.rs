//! All SQL of the schema `auth`; free functions over a connection, which never begin or commit.
//!
//! What do we store? Users, who belong to no tenant; their memberships and roles in tenants; sessions, one per login;
//! hashes of refresh tokens; keys that sign access tokens, the private half wrapped; every attempt to log in. Never a
//! password, a token or a private key.

/// API keys.
pub(crate) mod api_keys;
/// Attempts to log in.
pub(crate) mod attempts;
/// Passwords, and tokens that go out by mail.
pub(crate) mod credentials;
/// Second factors and the codes that stand in for one.
pub(crate) mod factors;
/// What a login is decided by, and what it starts.
pub(crate) mod logins;
/// Wrong passwords by the place that they came from.
pub(crate) mod origins;
/// Mail to be sent.
pub(crate) mod outbox;
/// The feed of revocations.
pub(crate) mod revocations;
/// Roles and what they permit.
pub(crate) mod roles;
/// Sessions and their refresh tokens.
pub(crate) mod sessions;
/// Keys that sign access tokens.
pub(crate) mod signing_keys;
/// Users, their memberships and what they may do.
pub(crate) mod users;
/// Wallets, and the challenges that were answered.
pub(crate) mod wallets;

use nsl_core::db::sql::Checked;

/// Every statement, for the test that checks them on a migrated database.
pub const ALL: &[&[Checked]] = &[
    api_keys::ALL,
    attempts::ALL,
    credentials::ALL,
    factors::ALL,
    logins::ALL,
    origins::ALL,
    outbox::ALL,
    revocations::ALL,
    roles::ALL,
    sessions::ALL,
    signing_keys::ALL,
    users::ALL,
    wallets::ALL,
];
