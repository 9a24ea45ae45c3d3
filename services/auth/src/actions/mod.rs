//! Use cases, and the state that they share.

/// Turns bearer credentials into principals: the hot path of every service.
pub(crate) mod authenticate;
/// The first administrator.
pub(crate) mod bootstrap;
/// Whether authentication works.
mod health;
/// The verification keys of this process.
mod keys;
/// Passwords in, tokens out.
pub(crate) mod login;
/// The end of a session, by its user.
pub(crate) mod logout;
/// Password hashing on a bounded pool.
mod passwords;
/// Deletion of what has expired.
pub(crate) mod purge;
/// The next tokens of a session.
pub(crate) mod refresh;
/// The key that signs access tokens: found or made at the start.
mod signing_key;
/// The tokens of a session.
pub(crate) mod tokens;
/// The users of a tenant.
pub(crate) mod users;

use std::sync::Arc;

use nsl_core::context::Base;
use nsl_core::ports::SecretSealer;

use crate::config::{Algorithm, JwtConfig};
use crate::domain::token::{Jwk, Rules, Signer, VerificationKey};
use crate::error::StartError;

use self::authenticate::TokenAuthenticator;
use self::keys::VerificationKeys;
use self::passwords::Passwords;
use self::tokens::Mint;

/// Folder = schema = URL prefix = process role; also the service's name in audit rows.
pub(crate) const SERVICE: &str = "auth";

/// What the actions share.
pub(crate) struct State {
    base: Base,
    pub(crate) authenticator: Arc<TokenAuthenticator>,
    passwords: Passwords,
    mint: Mint,
}

impl State {
    pub(crate) async fn start(
        base: &Base,
        config: &JwtConfig,
        sealer: &dyn SecretSealer,
    ) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let secret = config.secret()?.expose().as_bytes();
        let lifetimes = config.lifetimes();
        let (signer, keys) = match config.algorithm {
            Algorithm::EdDSA => {
                let signer = signing_key::find_or_make(base, sealer).await?;
                (signer, VerificationKeys::published(base, lifetimes.access).await?)
            }
            Algorithm::HS256 => {
                (Signer::hs256(secret), VerificationKeys::shared(base, VerificationKey::hs256(secret)))
            }
        };
        let rules = Rules::new(config.algorithm, &config.issuer, &config.audience);
        Ok(Arc::new(Self {
            base: base.clone(),
            authenticator: Arc::new(TokenAuthenticator::new(base, rules, keys)),
            passwords: Passwords::start()?,
            mint: Mint::new(signer, config, lifetimes),
        }))
    }

    /// The keys that verify access tokens, as they are published; none where the shared secret signs.
    pub(crate) async fn published_keys(&self) -> crate::Result<Vec<Jwk>> {
        let keys = self.authenticator.keys();
        keys.refresh().await?;
        Ok(keys.jwks())
    }
}
