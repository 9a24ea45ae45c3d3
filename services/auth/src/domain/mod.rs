//! Types and rules, pure: no async, SQL, HTTP or clock.

/// Whether a login succeeds, once the password was compared.
pub(crate) mod login;
/// Access tokens: claims, signing, verification, published keys.
pub(crate) mod token;
/// What usernames, passwords and profiles may be.
pub(crate) mod user;
