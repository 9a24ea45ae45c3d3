//! Tenants, for the operator.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use crate::error::Error;
use crate::path;
use crate::secret::Secret;

/// The unit of isolation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub id: String,
    /// What a login names.
    pub name: String,
    pub display_name: String,
    /// `active` or `suspended`.
    pub status: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The first administrator of a tenant.
pub struct FirstAdministrator<'a> {
    pub username: &'a str,
    /// Of a new user; without it, the username is that of one that there is.
    pub password: Option<&'a Secret>,
}

#[derive(Serialize)]
struct Administrator<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateTenant<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    administrator: Option<Administrator<'a>>,
}

#[derive(Serialize)]
struct UpdateTenant<'a> {
    status: &'a str,
}

const TENANTS: &str = "/api/v1/core/tenants";

impl Auth<'_> {
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.all(TENANTS, &[]).await
    }

    pub async fn create_tenant(
        &self,
        name: &str,
        display_name: Option<&str>,
        administrator: Option<FirstAdministrator<'_>>,
    ) -> Result<Tenant, Error> {
        let administrator = administrator.map(|FirstAdministrator { username, password }| Administrator {
            username,
            password: password.map(Secret::expose),
        });
        self.ask(self.client.post(TENANTS).json(&CreateTenant { name, display_name, administrator })).await
    }

    /// `active` or `suspended`.
    pub async fn set_tenant_status(&self, id: &str, status: &str) -> Result<Tenant, Error> {
        let path = format!("{TENANTS}/{}", path::segment("tenant", id)?);
        self.ask(self.client.request(Method::PATCH, &path).json(&UpdateTenant { status })).await
    }
}
