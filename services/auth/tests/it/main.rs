//! HTTP through the real router on a real database.

/// Accounts: changed, locked, removed, and by whom they are not.
mod accounts;
/// The port of security events.
mod alarms;
/// API keys.
mod api_keys;
/// Guessing, floods, and what a stranger can tell.
mod defence;
/// The part in the enclave's process.
mod enclave;
/// Wallets that others wrote (`make test-chains`).
mod foreign_wallets;
/// Tokens of the legacy system.
mod legacy;
/// Login, and what a stranger learns from it.
mod login;
/// Mail: lost passwords, new accounts, and the server that takes it.
mod mail;
/// A mail server (aiosmtpd).
mod mail_server;
/// The second factor.
mod mfa;
/// Passwords: their strength, their change, and those of the legacy system.
mod passwords;
/// Roles: built-in and a tenant's own, given and taken away.
mod roles;
/// Signing keys: published, changed, retired.
mod rotation;
/// Sessions: listed, ended, refused everywhere.
mod sessions;
/// The database's view: statements, secrets at rest, purge, first start.
mod store;
/// Tenants: made, suspended, closed to others.
mod tenants;
/// Access and refresh tokens: rotation, reuse, revocation, forgeries.
mod tokens;
/// Users of a tenant.
mod users;
/// Wallets that sign.
mod wallet;
/// The accounts of wallets.
mod wallet_accounts;
/// Sign-in with wallets.
mod wallets;
/// What every test needs: an application with users in it.
mod world;
