//! Sessions: one for each login.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use crate::error::Error;
use crate::path;

/// A login, with all the tokens that came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    pub id: String,
    pub tenant_id: String,
    pub user_id: String,
    pub username: String,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether the request was of it.
    pub current: bool,
}

/// Whose sessions.
#[derive(Clone, Copy, Debug)]
pub enum SessionsOf<'a> {
    /// One's own, in every tenant.
    Me,
    /// A user's of the tenant, by id.
    User(&'a str),
    /// Everybody's in the tenant.
    Tenant,
}

const SESSIONS: &str = "/api/v1/auth/sessions";

impl Auth<'_> {
    /// The sessions that go on, the latest first.
    pub async fn sessions(&self, of: SessionsOf<'_>) -> Result<Vec<SessionInfo>, Error> {
        match of {
            SessionsOf::Me => self.all(SESSIONS, &[]).await,
            SessionsOf::User(id) => self.all(SESSIONS, &[("user", id)]).await,
            SessionsOf::Tenant => self.all(SESSIONS, &[("all", "true")]).await,
        }
    }

    pub async fn revoke_session(&self, id: &str) -> Result<(), Error> {
        let path = format!("{SESSIONS}/{}", path::segment("session", id)?);
        self.tell(self.client.request(Method::DELETE, &path)).await
    }

    /// Ends all of one's sessions, in every tenant; with `keep_current` all others.
    pub async fn revoke_sessions(&self, keep_current: bool) -> Result<(), Error> {
        let request = self.client.request(Method::DELETE, SESSIONS);
        self.tell(request.query(&[("keepCurrent", keep_current)])).await
    }
}
