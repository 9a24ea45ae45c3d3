//! What everything is reached through. Cheap to clone; handed to each service when it is made, and to each request.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{HttpConfig, RateLimitConfig};
use crate::db::audit::AuditLog;
use crate::db::{Db, Login};
use crate::health::Health;
use crate::jobs::Jobs;
use crate::ports::Ports;
use crate::telemetry::Metrics;

/// What a service needs to be made.
#[derive(Clone)]
pub struct Base {
    pub db: Db,
    pub clock: Clock,
    pub jobs: Jobs,
}

struct Inner {
    base: Base,
    ports: Ports,
    health: Health,
    metrics: Metrics,
    http: HttpConfig,
    rate_limit: RateLimitConfig,
    /// None in a process that answers nobody.
    refusals: Option<AuditLog>,
}

/// The state of every request.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

impl Context {
    pub fn new(
        base: Base,
        ports: Ports,
        health: Health,
        metrics: Metrics,
        http: HttpConfig,
        rate_limit: RateLimitConfig,
    ) -> Self {
        let login = [Login::Api, Login::Enclave].into_iter().find(|login| base.db.has(*login));
        let refusals = login.map(|login| AuditLog::start(&base.jobs, &base.db, login));
        Self(Arc::new(Inner { base, ports, health, metrics, http, rate_limit, refusals }))
    }

    pub fn base(&self) -> &Base {
        &self.0.base
    }

    pub fn db(&self) -> &Db {
        &self.0.base.db
    }

    pub fn clock(&self) -> &Clock {
        &self.0.base.clock
    }

    pub fn jobs(&self) -> &Jobs {
        &self.0.base.jobs
    }

    pub fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub fn health(&self) -> &Health {
        &self.0.health
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn http(&self) -> &HttpConfig {
        &self.0.http
    }

    pub fn rate_limit(&self) -> RateLimitConfig {
        self.0.rate_limit
    }

    /// Where requests are recorded that were refused before their service saw them.
    pub(crate) fn refusals(&self) -> Option<&AuditLog> {
        self.0.refusals.as_ref()
    }

    /// Drains the jobs in order, then closes the pools.
    pub async fn shut_down(&self, within: Duration) {
        self.jobs().shut_down(within).await;
        self.db().close();
    }
}
