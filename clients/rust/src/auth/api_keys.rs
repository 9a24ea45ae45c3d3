//! API keys.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use crate::error::Error;
use crate::path;
use crate::secret::Secret;

/// An API key, without its text.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    pub id: String,
    pub user_id: String,
    pub name: String,
    pub format: String,
    /// How the key begins.
    pub prefix: String,
    pub permissions: Vec<String>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// An API key with its text, which no later answer shows again.
#[derive(Deserialize)]
pub struct NewApiKey {
    pub key: Secret,
    #[serde(flatten)]
    pub info: ApiKey,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateApiKey<'a> {
    name: &'a str,
    permissions: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

const KEYS: &str = "/api/v1/auth/api-keys";

impl Auth<'_> {
    /// One's own API keys; with `of_tenant` those of everybody in the tenant.
    pub async fn api_keys(&self, of_tenant: bool) -> Result<Vec<ApiKey>, Error> {
        let query: &[(&str, &str)] = if of_tenant { &[("all", "true")] } else { &[] };
        self.all(KEYS, query).await
    }

    pub async fn create_api_key(
        &self,
        name: &str,
        permissions: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<NewApiKey, Error> {
        self.ask(self.client.post(KEYS).json(&CreateApiKey { name, permissions, expires_at })).await
    }

    /// Gives an API key another text; the old one ends.
    pub async fn rotate_api_key(&self, id: &str) -> Result<NewApiKey, Error> {
        self.ask(self.client.post(&format!("{}/rotate", key_path(id)?))).await
    }

    pub async fn revoke_api_key(&self, id: &str) -> Result<(), Error> {
        self.tell(self.client.request(Method::DELETE, &key_path(id)?)).await
    }
}

fn key_path(id: &str) -> Result<String, Error> {
    Ok(format!("{KEYS}/{}", path::segment("API key", id)?))
}
