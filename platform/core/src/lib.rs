//! The ground that every service stands on. It names no service's concept.

/// Who calls, with which authority, from where: the first argument of every action.
pub mod caller;
/// The clock as a value, so that tests can set it.
pub mod clock;
/// What a service hands to the composition: routes, loops, health checks.
pub mod composition;
/// Layered configuration with the origin of each value, connection strings, secrets.
pub mod config;
/// What everything is reached through: database, configuration, ports, jobs, shutdown.
pub mod context;
/// Pools, checked SQL, units of work, group commit, the sequencer, migrations.
pub mod db;
/// The one error that crosses the HTTP boundary.
pub mod error;
/// Health checks and their aggregate.
pub mod health;
/// The HTTP surface: server, extractors, problem+json, paging, OpenAPI.
pub mod http;
/// Typed identifiers.
pub mod ids;
/// The only place that spawns tasks: named, supervised, drained in order.
pub mod jobs;
/// Traits through which one service uses another.
pub mod ports;
/// Logs and metrics.
pub mod telemetry;

pub use caller::Caller;
pub use composition::Service;
pub use context::Context;
pub use error::{ApiError, FieldError};
