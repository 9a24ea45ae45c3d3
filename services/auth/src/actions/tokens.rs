//! The tokens of a session: a signed access token and an opaque refresh token.

use jiff::{SignedDuration, Timestamp};
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_crypto::digest::Sha256Digest;
use nsl_crypto::token::token_hash;
use uuid::Uuid;

use super::signing_key::Signing;
use crate::config::{JwtConfig, Lifetimes};
use crate::domain::refresh::{self, RefreshKey, RefreshToken};
use crate::domain::token::{CLIENT_ID, Claims};
use crate::store::users::Grants;

/// Clocks of two hosts differ by less.
pub(super) const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Makes tokens.
pub(super) struct Mint {
    signing: Signing,
    refresh_key: RefreshKey,
    issuer: String,
    audience: String,
    lifetimes: Lifetimes,
}

/// What a login or a refresh answers.
pub(crate) struct Tokens {
    pub(crate) access: String,
    /// Seconds.
    pub(crate) expires_in: i64,
    pub(crate) refresh: RefreshToken,
}

/// Tokens before their session is stored.
pub(super) struct Minted {
    pub(super) tokens: Tokens,
    /// What is stored of the refresh token.
    pub(super) refresh_hash: Sha256Digest,
    /// When the refresh token expires, and the session with it.
    pub(super) refresh_expires: Timestamp,
}

/// Where the key that signs access tokens is.
pub(super) enum SigningKey {
    /// In this process, under this name.
    Here(String),
    /// In the enclave's process.
    Apart,
    /// There should be one here.
    Missing,
}

/// Whose tokens they are.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
}

impl Mint {
    pub(super) fn new(signing: Signing, config: &JwtConfig, secret: &[u8]) -> Self {
        Self {
            signing,
            refresh_key: RefreshKey::derive(secret),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetimes: config.lifetimes(),
        }
    }

    /// The key that signs now.
    pub(super) fn signing_key(&self, now: Timestamp) -> SigningKey {
        match &self.signing {
            Signing::Here(ring) => ring
                .signer(now)
                .map_or(SigningKey::Missing, |signer| SigningKey::Here(signer.kid().to_owned())),
            Signing::Apart(_) => SigningKey::Apart,
        }
    }

    /// When every access token that was signed until now has expired, on every host.
    pub(super) fn all_expired(&self, now: Timestamp) -> Timestamp {
        now + self.lifetimes.access + SKEW
    }

    /// The first tokens of a session. Signed before any transaction, since the key may be in another process.
    pub(super) async fn first(
        &self,
        holder: Holder,
        grants: &Grants,
        now: Timestamp,
    ) -> crate::Result<Minted> {
        self.minted(holder, grants, refresh::first(), now).await
    }

    /// Those that follow a refresh token of a generation.
    pub(super) async fn next(
        &self,
        holder: Holder,
        grants: &Grants,
        (token, generation): (&str, i32),
        now: Timestamp,
    ) -> crate::Result<Minted> {
        let next = self.refresh_key.successor(holder.session, generation + 1, token);
        self.minted(holder, grants, next, now).await
    }

    async fn minted(
        &self,
        holder: Holder,
        grants: &Grants,
        refresh: RefreshToken,
        now: Timestamp,
    ) -> crate::Result<Minted> {
        // A role that ends sooner takes the token with it.
        let end = now + self.lifetimes.access;
        let end = grants.until.map_or(end, |until| until.min(end));
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: holder.user,
            aud: self.audience.clone(),
            exp: end.as_second(),
            iat: now.as_second(),
            jti: Uuid::now_v7(),
            client_id: CLIENT_ID.to_owned(),
            tenant: holder.tenant,
            sid: holder.session,
            name: grants.username.clone(),
            scope: grants.permissions.join(" "),
            roles: grants.roles.clone(),
        };
        let access = self.signing.sign(&claims, now).await?;
        Ok(Minted {
            refresh_hash: token_hash(&refresh),
            refresh_expires: now + self.lifetimes.refresh,
            tokens: Tokens { access, expires_in: claims.exp - claims.iat, refresh },
        })
    }
}
