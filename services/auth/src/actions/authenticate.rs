//! Turns bearer credentials into principals: the hot path of every service.
//!
//! What a token says cannot change, so it is verified once (some 45 µs) and remembered by its SHA-256 until it expires.
//! Whether its session goes on can change at any moment, in any process: that is the feed of revocations.

use std::sync::Arc;

use async_trait::async_trait;
use moka::sync::Cache;
use nsl_core::ApiError;
use nsl_core::caller::Principal;
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::ports::Authenticator;
use nsl_crypto::digest::{Sha256Digest, sha256};

use super::key_authenticator::KeyAuthenticator;
use super::keys::VerificationKeys;
use super::legacy::LegacyTokens;
use super::revocations::Revocations;
use super::second_factor::MfaPolicy;
use crate::config::{Algorithm, Sections};
use crate::domain::api_key::{Bearer, Format, recognise};
use crate::domain::legacy::LegacyRules;
use crate::domain::token::{NotOurs, Rules, VerificationKey};
use crate::error::{CredentialError, Error, StartError};

/// Tokens remembered at once: less than 1 KiB each. Only valid ones are, so that strangers cannot fill it.
const TOKENS: u64 = 20_000;

/// Access tokens of this service, as the port wants it.
pub(crate) struct TokenAuthenticator {
    clock: Clock,
    rules: Rules,
    keys: VerificationKeys,
    /// Where tokens of the legacy system are accepted.
    legacy: Option<LegacyTokens>,
    verified: Cache<Sha256Digest, Arc<Verified>>,
    revocations: Arc<Revocations>,
    api_keys: KeyAuthenticator,
}

/// A token whose signature and claims were found good.
struct Verified {
    principal: Principal,
    /// Seconds since 1970.
    expires_at: i64,
}

#[async_trait]
impl Authenticator for TokenAuthenticator {
    async fn authenticate(&self, bearer: &str) -> Result<Principal, ApiError> {
        Ok(self.principal(bearer).await?)
    }
}

impl TokenAuthenticator {
    /// What checks credentials in this process, which reads the database as `login`.
    pub(crate) async fn start(base: &Base, login: Login, sections: &Sections) -> Result<Self, StartError> {
        let config = &sections.jwt;
        config.validate_rules()?;
        let keys = match config.algorithm {
            Algorithm::EdDSA => VerificationKeys::published(base, login, config.lifetimes().access).await?,
            Algorithm::HS256 => {
                let key = VerificationKey::hs256(config.secret()?.expose().as_bytes());
                VerificationKeys::shared(base, login, key)
            }
        };
        let policy = MfaPolicy::new(&sections.auth.require_mfa_for_roles);
        let legacy = if config.accept_legacy_tokens {
            Some(LegacyTokens::new(base, login, config.secret()?.expose().as_bytes(), policy.clone()))
        } else {
            None
        };
        Ok(Self {
            clock: base.clock.clone(),
            rules: Rules::new(config.algorithm, &config.issuer, &config.audience),
            keys,
            legacy,
            verified: Cache::new(TOKENS),
            revocations: Revocations::start(base, login).await?,
            api_keys: KeyAuthenticator::new(base, login, policy),
        })
    }

    pub(super) fn keys(&self) -> &VerificationKeys {
        &self.keys
    }

    pub(crate) fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    pub(crate) fn api_keys(&self) -> &KeyAuthenticator {
        &self.api_keys
    }

    async fn principal(&self, token: &str) -> crate::Result<Principal> {
        match recognise(token) {
            Bearer::Broken => return Err(CredentialError::ApiKeyInvalid.into()),
            Bearer::Key(format) => match self.api_keys.key(token, format).await? {
                Some(key) => {
                    let principal = key.principal.clone();
                    self.revocations.check(principal.tenant, Some(key.id)).await?;
                    return Ok(principal);
                }
                None if format == Format::Nslk => return Err(CredentialError::ApiKeyInvalid.into()),
                // It only looked like a key of the legacy system.
                None => {}
            },
            Bearer::Other => {}
        }
        if let Some(legacy) = &self.legacy
            && LegacyRules::is_one(token)
        {
            let principal = legacy.principal(token).await?;
            self.revocations.check(principal.tenant, None).await?;
            return Ok(principal);
        }
        let digest = sha256(token.as_bytes());
        let verified = match self.verified.get(&digest) {
            Some(verified) => verified,
            None => self.verify(token, digest).await?,
        };
        if self.clock.now().as_second() >= verified.expires_at {
            self.verified.invalidate(&digest);
            return Err(Error::TokenExpired);
        }
        let principal = &verified.principal;
        self.revocations.check(principal.tenant, principal.session.map(|session| session.0)).await?;
        Ok(principal.clone())
    }

    async fn verify(&self, token: &str, digest: Sha256Digest) -> crate::Result<Arc<Verified>> {
        let refuse = |NotOurs| Error::TokenInvalid;
        let kid = self.rules.key_id(token).map_err(refuse)?;
        let checked = self.keys.with(&kid, |key| self.rules.verify(token, &key.key)).await?;
        let claims = checked.ok_or(Error::TokenInvalid)?.map_err(refuse)?;
        let verified = Arc::new(Verified { expires_at: claims.exp, principal: claims.principal() });
        self.verified.insert(digest, Arc::clone(&verified));
        Ok(verified)
    }
}
