#![doc = include_str!("../README.md")]

/// When a backlog or a missing partition is worth a word.
mod domain;
/// What `/health/eventsourcing` looks at.
mod health;
/// The loop that makes partitions.
mod jobs;
/// Streams as other services read them.
mod log;
/// All SQL of the schema, beside what `core::db` writes.
pub mod store;

use std::sync::Arc;

use nsl_core::Service;
use nsl_core::context::Base;
use nsl_core::db::Login;
use utoipa_axum::router::OpenApiRouter;

pub use log::event_log;

/// The service. Its loops run where the process has the login `neo_jobs`.
pub fn service(base: &Base) -> Service {
    if base.db.has(Login::Jobs) {
        jobs::start(base);
    }
    Service {
        name: "eventsourcing",
        router: OpenApiRouter::new(),
        root: OpenApiRouter::new(),
        health: Arc::new(health::LogHealth::new(&base.db)),
    }
}
