//! Roles of a tenant, and who holds them.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use super::users::{User, user_path};
use crate::error::Error;
use crate::path;

/// A named set of permissions.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    pub id: String,
    pub name: String,
    pub description: String,
    /// Whether every tenant has it; such a role never changes.
    pub builtin: bool,
    pub permissions: Vec<String>,
    pub created_at: Timestamp,
}

#[derive(Serialize)]
struct CreateRole<'a> {
    name: &'a str,
    description: &'a str,
    permissions: &'a [String],
}

#[derive(Serialize)]
struct UpdateRole<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assign {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

const ROLES: &str = "/api/v1/auth/roles";

impl Auth<'_> {
    /// The roles that the tenant can give.
    pub async fn roles(&self) -> Result<Vec<Role>, Error> {
        self.all(ROLES, &[]).await
    }

    pub async fn create_role(
        &self,
        name: &str,
        description: &str,
        permissions: &[String],
    ) -> Result<Role, Error> {
        self.ask(self.client.post(ROLES).json(&CreateRole { name, description, permissions })).await
    }

    /// Changes what is given, and leaves the rest.
    pub async fn update_role(
        &self,
        name: &str,
        description: Option<&str>,
        permissions: Option<&[String]>,
    ) -> Result<Role, Error> {
        let request = self.client.request(Method::PATCH, &role_path(name)?);
        self.ask(request.json(&UpdateRole { description, permissions })).await
    }

    pub async fn delete_role(&self, name: &str) -> Result<(), Error> {
        self.tell(self.client.request(Method::DELETE, &role_path(name)?)).await
    }

    /// Gives a user a role, for good or until a time.
    pub async fn assign_role(
        &self,
        user: &str,
        role: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<User, Error> {
        let path = format!("{}/roles/{}", user_path(user)?, path::segment("role", role)?);
        self.ask(self.client.request(Method::PUT, &path).json(&Assign { expires_at })).await
    }

    pub async fn unassign_role(&self, user: &str, role: &str) -> Result<(), Error> {
        let path = format!("{}/roles/{}", user_path(user)?, path::segment("role", role)?);
        self.tell(self.client.request(Method::DELETE, &path)).await
    }
}

fn role_path(name: &str) -> Result<String, Error> {
    Ok(format!("{ROLES}/{}", path::segment("role", name)?))
}
