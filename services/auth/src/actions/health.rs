//! Whether authentication works: its tables answer, and what it signs can be verified.

use async_trait::async_trait;
use nsl_core::db::{DbError, Login};
use nsl_core::health::{Finding, HealthCheck};
use serde_json::json;

use super::State;
use super::tokens::SigningKey;
use crate::store::{outbox, users};

#[async_trait]
impl HealthCheck for State {
    async fn check(&self) -> Finding {
        match self.look().await {
            Ok(finding) => finding,
            // The cause is in the database's own check.
            Err(_) => Finding::unhealthy("the tables of schema auth cannot be read"),
        }
    }
}

impl State {
    async fn look(&self) -> Result<Finding, DbError> {
        let has_users = users::any(&self.base.db.global(Login::Api)).await?.found;
        let keys = self.authenticator.keys();
        keys.refresh().await?;
        let kid = match self.mint.signing_key(self.base.clock.now()) {
            // The enclave's process has it, and a health check of its own.
            SigningKey::Apart if keys.jwks().is_empty() => {
                return Ok(Finding::unhealthy(
                    "no signing key is published yet: start the enclave's process",
                ));
            }
            SigningKey::Apart => None,
            SigningKey::Missing => {
                return Ok(Finding::unhealthy(
                    "there is no key that signs access tokens; restart this process",
                ));
            }
            SigningKey::Here(kid) if !keys.has(&kid) => {
                return Ok(Finding::unhealthy(format!(
                    "the signing key {kid} is not among the published ones; restart this process"
                )));
            }
            SigningKey::Here(kid) => Some(kid),
        };
        let mail = outbox::backlog(&self.base.db.global(Login::Api)).await?;
        let data = json!({
            "signingKey": kid,
            "publishedKeys": keys.jwks().len(),
            "mail": {"configured": self.outbox.has_server(), "waiting": mail.waiting, "failing": mail.failing},
        });
        if !has_users {
            return Ok(Finding::degraded(
                "there is no user yet: `nsl db administrator` makes the first",
                data,
            ));
        }
        if mail.failing > 0 {
            return Ok(Finding::degraded(
                "mail is not taken by the server of section Smtp; see the log",
                data,
            ));
        }
        if mail.waiting > 0 && !self.outbox.has_server() {
            return Ok(Finding::degraded("mail waits to be sent; set Smtp__Host", data));
        }
        Ok(Finding::healthy(data))
    }
}
