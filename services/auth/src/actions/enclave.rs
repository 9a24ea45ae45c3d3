//! What the enclave's process does for this service: it keeps the key that signs access tokens, and checks the tokens
//! of the requests that it serves itself, on its own login. The process that holds the users asks it to sign.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use nsl_core::ApiError;
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::ports::{SecretSealer, TokenSigner};
use serde::Deserialize as _;
use serde_json::Value;

use super::authenticate::TokenAuthenticator;
use super::signing_key::{Ring, Rotation};
use super::tokens::SKEW;
use crate::config::{Algorithm, JwtConfig, Sections};
use crate::domain::token::Claims;
use crate::error::StartError;

/// The service's part of the enclave.
pub(crate) struct EnclaveState {
    pub(crate) authenticator: Arc<TokenAuthenticator>,
    /// None where the shared secret signs.
    pub(crate) rotation: Option<Arc<Rotation>>,
    pub(crate) signer: Arc<RemoteSigner>,
}

impl EnclaveState {
    pub(crate) async fn start(
        base: &Base,
        sections: &Sections,
        sealer: Arc<dyn SecretSealer>,
    ) -> Result<Self, StartError> {
        let config = &sections.jwt;
        config.validate_rules()?;
        let rotation = match config.algorithm {
            Algorithm::EdDSA => Some(Arc::new(Rotation::start(base, sealer, config.rotation()).await?)),
            Algorithm::HS256 => None,
        };
        let ring = rotation.as_ref().map(|rotation| rotation.ring());
        Ok(Self {
            authenticator: Arc::new(TokenAuthenticator::start(base, Login::Enclave, sections).await?),
            signer: Arc::new(RemoteSigner::new(base, config, ring)),
            rotation,
        })
    }
}

/// Signs for another process. Whom that process lets in is its own business; what it gets signed is a token that
/// expires as soon as those of this installation do, so that whoever captured it has nothing to keep.
pub(crate) struct RemoteSigner {
    clock: Clock,
    ring: Option<Arc<Ring>>,
    issuer: String,
    audience: String,
    access: SignedDuration,
}

impl RemoteSigner {
    fn new(base: &Base, config: &JwtConfig, ring: Option<Arc<Ring>>) -> Self {
        Self {
            clock: base.clock.clone(),
            ring,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            access: config.lifetimes().access,
        }
    }
}

#[async_trait]
impl TokenSigner for RemoteSigner {
    async fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let ring = self
            .ring
            .as_ref()
            .ok_or_else(|| refuse("Jwt:Algorithm is HS256 here: give both processes the same section Jwt"))?;
        let claims = Claims::deserialize(claims).map_err(|error| {
            refuse("these are not the claims of an access token: run the same version in both processes")
                .because(error)
        })?;
        if claims.iss != self.issuer || claims.aud != self.audience {
            return Err(refuse(
                "they name another issuer or audience: give both processes the same section Jwt",
            ));
        }
        let now = self.clock.now();
        if claims.exp > (now + self.access + SKEW).as_second() {
            return Err(refuse(
                "the token would live longer than Jwt:AccessTokenMinutes: give both processes the same section Jwt, \
                 and their hosts the same time",
            ));
        }
        Ok(ring.sign(&claims, now)?)
    }
}

fn refuse(reason: &'static str) -> ApiError {
    ApiError::bad_request("auth.claims_refused", format!("The enclave does not sign these claims: {reason}."))
}
