//! Health checks and their aggregate. A service that this build or process lacks is absent, not Healthy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The words of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub enum Status {
    Healthy,
    /// It works, and someone should look.
    Degraded,
    Unhealthy,
}

/// What one check found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub status: Status,
    /// The reason, where not Healthy: for the operator, without secrets.
    pub detail: Option<String>,
    /// Facts of the check, shown on its own route.
    pub data: Value,
}

impl Finding {
    pub fn healthy(data: Value) -> Self {
        Self { status: Status::Healthy, detail: None, data }
    }

    pub fn degraded(detail: impl Into<String>, data: Value) -> Self {
        Self { status: Status::Degraded, detail: Some(detail.into()), data }
    }

    pub fn unhealthy(detail: impl Into<String>) -> Self {
        Self { status: Status::Unhealthy, detail: Some(detail.into()), data: Value::Null }
    }
}

/// One thing that can be well or not.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    async fn check(&self) -> Finding;
}

/// A check's row in the answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    pub name: &'static str,
    pub status: Status,
    /// Milliseconds.
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// The answer of `/health`: the worst of its checks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HealthReport {
    pub status: Status,
    pub checks: Vec<CheckReport>,
}

/// The checks of this process.
#[derive(Clone, Default)]
pub struct Health(Arc<Vec<(&'static str, Arc<dyn HealthCheck>)>>);

/// A check that takes longer is Unhealthy: a probe must not hang with what it probes.
const LONGEST_CHECK: Duration = Duration::from_secs(3);

impl Health {
    pub fn new(checks: Vec<(&'static str, Arc<dyn HealthCheck>)>) -> Self {
        Self(Arc::new(checks))
    }

    /// Runs every check at the same time.
    pub async fn report(&self) -> HealthReport {
        let checks = join_all(self.0.iter().map(|(name, check)| run(name, check.as_ref()))).await;
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Healthy);
        HealthReport { status, checks }
    }

    /// Runs one check; None if this process has no such thing.
    pub async fn one(&self, name: &str) -> Option<CheckReport> {
        let (name, check) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(run(name, check.as_ref()).await)
    }
}

async fn run(name: &'static str, check: &dyn HealthCheck) -> CheckReport {
    let started = Instant::now();
    let finding = tokio::time::timeout(LONGEST_CHECK, check.check())
        .await
        .unwrap_or_else(|_| Finding::unhealthy(format!("no answer within {} s", LONGEST_CHECK.as_secs())));
    CheckReport {
        name,
        status: finding.status,
        duration_ms: (started.elapsed().as_secs_f64() * 1e5).round() / 1e2,
        detail: finding.detail,
        data: finding.data,
    }
}
