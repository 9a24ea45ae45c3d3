//! Logging in and out, and who one is; below it what an account has and an administrator keeps. A token is the caller's
//! to keep: the client holds only the one it was given.

/// API keys.
mod api_keys;
/// One's own password and second factor.
mod factors;
/// The keys that verify access tokens.
mod keys;
/// Roles of a tenant, and who holds them.
mod roles;
/// Sessions: one for each login.
mod sessions;
/// Tenants, for the operator.
mod tenants;
/// Users of a tenant.
mod users;
/// Sign-in with a wallet, and the wallets of one's account.
mod wallets;

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::Client;
use crate::error::Error;
use crate::page::Page;
use crate::secret::Secret;

pub use api_keys::{ApiKey, NewApiKey};
pub use factors::{OwnerProof, TotpEnrolment, TotpStatus};
pub use keys::Jwk;
pub use roles::Role;
pub use sessions::{SessionInfo, SessionsOf};
pub use tenants::{FirstAdministrator, Tenant};
pub use users::{NewUser, User};
pub use wallets::{Challenge, ChallengeRequest, Wallet, WalletProof};

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

/// Accounts and what belongs to them. From [`Client::auth`].
pub struct Auth<'c> {
    client: &'c Client,
}

impl Auth<'_> {
    /// The largest page that the service gives: fewest round trips.
    const PAGE: &'static str = "1000";

    /// All of a list, page after page.
    async fn all<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.client.get(path).query(query).query(&[("limit", Self::PAGE)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<T> = self.ask(request).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        self.client.call(request).await?.json()
    }

    async fn tell(&self, request: RequestBuilder) -> Result<(), Error> {
        self.client.call(request).await.map(|_| ())
    }
}

impl Client {
    pub fn auth(&self) -> Auth<'_> {
        Auth { client: self }
    }

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
