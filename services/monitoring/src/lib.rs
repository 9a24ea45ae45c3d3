#![doc = include_str!("../README.md")]

/// Reading the audit log and security events; recording the latter.
mod actions;
/// Request and response types, handlers, routes.
mod api;
/// Filters and what they may hold; when a backlog is worth a word.
mod domain;
/// The one enum of what can go wrong.
mod error;
/// What `/health/monitoring` looks at.
mod health;
/// The loop that makes partitions.
mod jobs;
/// All SQL of the schema, beside what `core::db` writes.
pub mod store;

use std::sync::Arc;

use nsl_core::Service;
use nsl_core::context::Base;
use nsl_core::db::Login;
use utoipa_axum::router::OpenApiRouter;

pub use actions::security_events;

/// The service. Its loops run where the process has the login `neo_jobs`.
pub fn service(base: &Base) -> Service {
    if base.db.has(Login::Jobs) {
        jobs::start(base);
    }
    Service {
        name: "monitoring",
        router: api::router(),
        root: OpenApiRouter::new(),
        health: Arc::new(health::AuditHealth::new(&base.db)),
    }
}
