//! HTTP through the real router on a real database.

/// Login, and what a stranger learns from it.
mod login;
/// The database's view: statements, secrets at rest, purge, first start.
mod store;
/// Access and refresh tokens: rotation, reuse, revocation, forgeries.
mod tokens;
/// Users of a tenant.
mod users;
/// What every test needs: an application with users in it.
mod world;
