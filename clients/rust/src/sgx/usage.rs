//! How much is kept, and how much may be.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Sgx;
use crate::error::Error;

/// A limit, of one service or of the tenant as a whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// None: the tenant as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Sealed bytes of all versions that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Items that are not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    pub updated_at: Timestamp,
}

/// What a tenant keeps.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Items that are not deleted.
    pub items: u64,
    /// Versions whose values are kept, the current ones too.
    pub versions: u64,
    /// Sealed, of those.
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    pub services: Vec<ServiceUsage>,
}

/// What a tenant keeps of one service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceUsage {
    pub service: String,
    pub items: u64,
    pub versions: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetQuota<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<u64>,
}

const QUOTAS: &str = "/api/v1/sgx/quotas";

impl Sgx<'_> {
    pub async fn statistics(&self) -> Result<Statistics, Error> {
        self.ask(self.client.get("/api/v1/sgx/statistics")).await
    }

    pub async fn quotas(&self) -> Result<Vec<Quota>, Error> {
        self.all(QUOTAS).await
    }

    /// Sets the limits of a service, or without one those of the tenant as a whole.
    pub async fn set_quota(
        &self,
        service: Option<&str>,
        max_bytes: Option<u64>,
        max_items: Option<u64>,
    ) -> Result<Quota, Error> {
        let quota = SetQuota { service, max_bytes, max_items };
        self.ask(self.client.request(Method::PUT, QUOTAS).json(&quota)).await
    }

    pub async fn remove_quota(&self, service: Option<&str>) -> Result<(), Error> {
        let query: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
        self.tell(self.client.request(Method::DELETE, QUOTAS).query(&query)).await
    }
}
