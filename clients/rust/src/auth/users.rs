//! Users of a tenant.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use crate::error::Error;
use crate::path;
use crate::secret::Secret;

/// A user, as a member of the caller's tenant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: String,
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// `active`, `locked` or `disabled`.
    pub status: String,
    /// In this tenant.
    pub roles: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<Timestamp>,
}

/// A user to be made.
pub struct NewUser<'a> {
    pub username: &'a str,
    pub password: &'a Secret,
    pub email: Option<&'a str>,
    pub full_name: Option<&'a str>,
    /// Names of roles; without any, the service gives `User`.
    pub roles: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateUser<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
}

const USERS: &str = "/api/v1/auth/users";

impl Auth<'_> {
    /// All users of the caller's tenant.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.all(USERS, &[]).await
    }

    pub async fn user(&self, id: &str) -> Result<User, Error> {
        self.ask(self.client.get(&user_path(id)?)).await
    }

    /// Keeps a user out; their sessions end.
    pub async fn lock_user(&self, id: &str) -> Result<User, Error> {
        self.ask(self.client.post(&format!("{}/lock", user_path(id)?))).await
    }

    /// Lets a user in again, and forgets their wrong passwords.
    pub async fn unlock_user(&self, id: &str) -> Result<User, Error> {
        self.ask(self.client.post(&format!("{}/unlock", user_path(id)?))).await
    }

    /// Ends a user's membership in the tenant.
    pub async fn remove_user(&self, id: &str) -> Result<(), Error> {
        self.tell(self.client.request(Method::DELETE, &user_path(id)?)).await
    }

    pub async fn create_user(&self, user: &NewUser<'_>) -> Result<User, Error> {
        let NewUser { username, password, email, full_name, roles } = *user;
        let body = CreateUser { username, password: password.expose(), email, full_name, roles };
        self.ask(self.client.post(USERS).json(&body)).await
    }
}

pub(super) fn user_path(id: &str) -> Result<String, Error> {
    Ok(format!("{USERS}/{}", path::segment("user", id)?))
}
