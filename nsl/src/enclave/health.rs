//! The enclave's health, as the processes show it that ask it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nsl_core::health::{Finding, HealthCheck, Status};
use serde_json::{Map, Value, json};

use super::link::Link;

/// Shorter than a whole check may take, so that the answer says what hangs.
const PATIENCE: Duration = Duration::from_millis(2500);

const AWAY: &str =
    "the enclave's process does not answer: start it, or look at Enclave:Url and the certificates";

/// One check of the enclave's process, under the same name here.
pub(crate) struct ElsewhereHealth {
    link: Arc<Link>,
    path: &'static str,
}

impl ElsewhereHealth {
    pub(crate) fn new(link: &Arc<Link>, path: &'static str) -> Self {
        Self { link: Arc::clone(link), path }
    }
}

#[async_trait]
impl HealthCheck for ElsewhereHealth {
    async fn check(&self) -> Finding {
        let Some(mut report) = look(&self.link, self.path).await else { return Finding::unhealthy(AWAY) };
        let status = status(&report["status"]);
        let detail = report["detail"].as_str().map(str::to_owned);
        Finding { status, detail, data: report["data"].take() }
    }
}

/// The enclave's process as a whole: everything that is wrong with it.
pub(crate) struct EnclaveHealth(pub(crate) Arc<Link>);

#[async_trait]
impl HealthCheck for EnclaveHealth {
    async fn check(&self) -> Finding {
        let Some(report) = look(&self.0, "/health").await else { return Finding::unhealthy(AWAY) };
        let (mut details, mut checks) = (Vec::new(), Map::new());
        for check in report["checks"].as_array().into_iter().flatten() {
            let name = check["name"].as_str().unwrap_or_default();
            checks.insert(name.to_owned(), check["status"].clone());
            details.extend(check["detail"].as_str().map(|detail| format!("{name}: {detail}")));
        }
        let detail = (!details.is_empty()).then(|| details.join("; "));
        Finding { status: status(&report["status"]), detail, data: json!({ "checks": checks }) }
    }
}

async fn look(link: &Link, path: &'static str) -> Option<Value> {
    match tokio::time::timeout(PATIENCE, link.look(path)).await {
        Ok(Ok(report)) if report["status"].is_string() => Some(report),
        Ok(Err(error)) => {
            let cause = error.cause.map(|cause| nsl_core::db::chain(cause.as_ref()));
            tracing::debug!(path, cause, "the enclave's health could not be read");
            None
        }
        _ => None,
    }
}

fn status(text: &Value) -> Status {
    match text.as_str() {
        Some("Healthy") => Status::Healthy,
        Some("Degraded") => Status::Degraded,
        _ => Status::Unhealthy,
    }
}
