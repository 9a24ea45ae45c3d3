//! Whether the service is well. These routes need no credential.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Status {
    Healthy,
    /// It works, and someone should look.
    Degraded,
    Unhealthy,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Unhealthy => "Unhealthy",
        })
    }
}

/// All checks of a process; the worst decides.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Health {
    pub status: Status,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub name: String,
    pub status: Status,
    pub duration_ms: f64,
    /// The reason, where it is not Healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Facts, different for each check.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Client {
    /// Every check. Unhealthy is an answer and not an error.
    pub async fn health(&self) -> Result<Health, Error> {
        self.report("/health").await
    }

    /// One check, such as `postgresql` or `sgx`.
    pub async fn health_check(&self, name: &str) -> Result<Check, Error> {
        self.report(&format!("/health/{}", path::segment("check", name)?)).await
    }

    async fn report<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.exchange(self.get(path)).await?;
        // Unhealthy is a 503 that carries the report; any other 503 is a refusal.
        if answer.status == reqwest::StatusCode::SERVICE_UNAVAILABLE
            && let Ok(report) = answer.json()
        {
            return Ok(report);
        }
        answer.accepted()?.json()
    }
}
