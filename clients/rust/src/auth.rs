//! Logging in and out, and who one is. A token is the caller's to keep: the client holds only the one it was given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::Client;
use crate::error::Error;
use crate::secret::Secret;

/// What a login gives.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Goes with every call ([`Client::with_token`]).
    pub access_token: Secret,
    /// Good for one [`Client::refresh`], which gives the next one.
    pub refresh_token: Secret,
    /// Seconds for which the access token is good.
    pub expires_in: u32,
}

/// Whom the credential names.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Me {
    pub username: String,
    /// Id, tenant, roles, permissions and whatever else the service tells.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_code: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refresh<'a> {
    refresh_token: &'a str,
}

impl Client {
    /// `totp` is the code of the second factor, for an account that has one.
    pub async fn login(&self, username: &str, password: &str, totp: Option<&str>) -> Result<Tokens, Error> {
        let login = Login { username, password, totp_code: totp };
        self.call(self.post("/api/v1/auth/login").json(&login)).await?.json()
    }

    /// Exchanges a refresh token for new tokens. The old one is void afterwards: using it again ends the session.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Tokens, Error> {
        let refresh = Refresh { refresh_token: refresh_token.expose() };
        self.call(self.post("/api/v1/auth/refresh").json(&refresh)).await?.json()
    }

    /// Ends the session of the refresh token.
    pub async fn logout(&self, refresh_token: &Secret) -> Result<(), Error> {
        let refresh = Refresh { refresh_token: refresh_token.expose() };
        self.call(self.post("/api/v1/auth/logout").json(&refresh)).await?;
        Ok(())
    }

    pub async fn me(&self) -> Result<Me, Error> {
        self.call(self.get("/api/v1/auth/me")).await?.json()
    }
}
