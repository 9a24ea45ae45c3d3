//! Scans of everything that is sealed, against the seals and against the event log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Sgx;
use crate::error::Error;
use crate::path;

/// A scan, and how far it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scan {
    #[serde(rename = "scanId")]
    pub id: String,
    /// `running`, `completed` or `failed`.
    pub state: String,
    pub total: u64,
    pub checked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    #[serde(default)]
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// An item or a version that is not as it should be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `damaged`, `misplaced`, `rolled_back`, `undeleted`, `vanished`, `invented`, `unsealed`.
    pub kind: String,
    pub service: Option<String>,
    pub key: Option<String>,
    pub item_id: Option<String>,
    pub version: Option<i64>,
    pub detail: String,
}

const SCANS: &str = "/api/v1/sgx/scans";

impl Sgx<'_> {
    /// Begins a scan; it goes on at the service.
    pub async fn start_scan(&self) -> Result<Scan, Error> {
        self.ask(self.client.post(SCANS)).await
    }

    pub async fn scans(&self) -> Result<Vec<Scan>, Error> {
        self.all(SCANS).await
    }

    pub async fn scan(&self, id: &str) -> Result<Scan, Error> {
        self.ask(self.client.get(&format!("{SCANS}/{}", path::segment("scan", id)?))).await
    }
}
