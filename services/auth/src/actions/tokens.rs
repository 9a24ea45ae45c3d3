//! The tokens of a session: a signed access token and an opaque refresh token.

use jiff::Timestamp;
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_crypto::digest::Sha256Digest;
use nsl_crypto::token::{Token, random_token, token_hash};
use uuid::Uuid;

use crate::config::{JwtConfig, Lifetimes};
use crate::domain::token::{CLIENT_ID, Claims, Signer};
use crate::error::Error;
use crate::store::users::Grants;

/// Tells people and secret scanners what it is.
const REFRESH_PREFIX: &str = "nslr_";
/// The prefix and 32 bytes in base64url.
const REFRESH_CHARS: usize = REFRESH_PREFIX.len() + 43;

/// Makes tokens.
pub(super) struct Mint {
    signer: Signer,
    issuer: String,
    audience: String,
    lifetimes: Lifetimes,
}

/// What a login or a refresh answers.
pub(crate) struct Tokens {
    pub(crate) access: String,
    /// Seconds.
    pub(crate) expires_in: i64,
    pub(crate) refresh: Token,
}

/// Tokens before their session is stored.
pub(super) struct Minted {
    pub(super) tokens: Tokens,
    /// What is stored of the refresh token.
    pub(super) refresh_hash: Sha256Digest,
    /// When the refresh token expires, and the session with it.
    pub(super) refresh_expires: Timestamp,
}

impl Mint {
    pub(super) fn new(signer: Signer, config: &JwtConfig, lifetimes: Lifetimes) -> Self {
        Self { signer, issuer: config.issuer.clone(), audience: config.audience.clone(), lifetimes }
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Tokens for a session. Signed before any transaction, since the key may be in another process.
    pub(super) fn tokens(
        &self,
        user: UserId,
        tenant: TenantId,
        session: SessionId,
        grants: Grants,
        now: Timestamp,
    ) -> crate::Result<Minted> {
        let lifetime = self.lifetimes.access.as_secs();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: user,
            aud: self.audience.clone(),
            exp: now.as_second() + lifetime,
            iat: now.as_second(),
            jti: Uuid::now_v7(),
            client_id: CLIENT_ID.to_owned(),
            tenant,
            sid: session,
            name: grants.username,
            scope: grants.permissions.join(" "),
            roles: grants.roles,
        };
        let refresh = random_token(REFRESH_PREFIX);
        Ok(Minted {
            refresh_hash: token_hash(refresh.expose()),
            refresh_expires: now + self.lifetimes.refresh,
            tokens: Tokens {
                access: self.signer.sign(&claims).map_err(Error::internal)?,
                expires_in: lifetime,
                refresh,
            },
        })
    }
}

/// What is stored of a refresh token; None for a text that cannot be one.
pub(super) fn refresh_hash(token: &str) -> Option<Sha256Digest> {
    (token.len() == REFRESH_CHARS && token.starts_with(REFRESH_PREFIX)).then(|| token_hash(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_known_by_its_form() {
        let token = random_token(REFRESH_PREFIX);
        assert_eq!(refresh_hash(token.expose()), Some(token_hash(token.expose())));
        assert_eq!(refresh_hash(&token.expose()[1..]), None);
        assert_eq!(refresh_hash(&format!("{}x", token.expose())), None);
        assert_eq!(refresh_hash(random_token("nslk_").expose()), None);
        assert_eq!(refresh_hash(""), None);
    }
}
