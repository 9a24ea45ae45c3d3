//! Use cases, and the state that they share.

/// The accounts of a tenant's users: changed, locked, removed.
pub(crate) mod accounts;
/// API keys: made, seen, rotated, revoked.
pub(crate) mod api_keys;
/// Which member has which role.
pub(crate) mod assignments;
/// Turns bearer credentials into principals: the hot path of every service.
pub(crate) mod authenticate;
/// The first administrator.
pub(crate) mod bootstrap;
/// What the enclave's process does for this service.
pub(crate) mod enclave;
/// Guessing: what a failure counts for, and when it locks.
mod guesses;
/// Whether authentication works.
mod health;
/// API keys as bearer credentials.
mod key_authenticator;
/// The verification keys of this process.
mod keys;
/// Tokens of the legacy system.
mod legacy;
/// Which legacy forms of password hashes are still there.
mod legacy_hashes;
/// Passwords in, tokens out.
pub(crate) mod login;
/// The end of a session, by its user.
pub(crate) mod logout;
/// One's own second factor.
pub(crate) mod mfa;
/// Mail: wrapped into the outbox, and sent from there.
pub(crate) mod outbox;
/// One's own password: changed with the old one.
mod password_change;
/// Password hashing on a bounded pool.
mod passwords;
/// Deletion of what has expired.
pub(crate) mod purge;
/// A forgotten password: a mail, and a new password by its token.
mod recovery;
/// The next tokens of a session.
pub(crate) mod refresh;
/// Accounts that their owners make.
pub(crate) mod registration;
/// The feed of revocations.
pub(crate) mod revocations;
/// Roles of a tenant.
pub(crate) mod roles;
/// The second factor at a login, and what a user may do whose roles need one.
pub(crate) mod second_factor;
/// Sessions: seen and ended.
pub(crate) mod sessions;
/// The keys that sign access tokens: made when they are due.
pub(crate) mod signing_key;
/// Tenants and their members.
pub(crate) mod tenants;
/// The tokens of a session.
pub(crate) mod tokens;
/// The users of a tenant.
pub(crate) mod users;
/// Addresses that their owners confirm.
mod verification;
/// Sign-in with a wallet, and the wallets of one's account.
pub(crate) mod wallets;

use std::sync::Arc;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::ports::{SecretSealer, SecurityEvents, TokenSigner};

use crate::config::{Algorithm, Sections};
use crate::domain::backup_code::BackupKey;
use crate::domain::token::{Jwk, Signer};
use crate::error::StartError;

use self::authenticate::TokenAuthenticator;
use self::guesses::Guesses;
use self::legacy_hashes::LegacyHashes;
use self::outbox::Outbox;
use self::passwords::Passwords;
use self::second_factor::MfaPolicy;
use self::signing_key::{Ring, Rotation, Signing};
use self::tokens::Mint;
use self::wallets::Wallets;

/// Folder = schema = URL prefix = process role; also the service's name in audit rows.
pub(crate) const SERVICE: &str = "auth";

/// What the actions share.
pub(crate) struct State {
    base: Base,
    pub(crate) authenticator: Arc<TokenAuthenticator>,
    passwords: Passwords,
    legacy_hashes: LegacyHashes,
    guesses: Guesses,
    mfa_policy: MfaPolicy,
    backup_key: BackupKey,
    pub(crate) outbox: Arc<Outbox>,
    allow_registration: bool,
    mint: Mint,
    /// None where the shared secret signs, or the enclave's process.
    pub(crate) rotation: Option<Arc<Rotation>>,
    wallets: Wallets,
    pub(crate) sealer: Arc<dyn SecretSealer>,
    pub(crate) security: Arc<dyn SecurityEvents>,
}

impl State {
    /// `apart` signs where the enclave is another process; None where this one has its keys.
    pub(crate) async fn start(
        base: &Base,
        sections: &Sections,
        sealer: Arc<dyn SecretSealer>,
        apart: Option<Arc<dyn TokenSigner>>,
        security: Arc<dyn SecurityEvents>,
    ) -> Result<Arc<Self>, StartError> {
        let config = &sections.jwt;
        config.validate()?;
        sections.auth.validate()?;
        let secret = config.secret()?.expose().as_bytes();
        // Before the verification keys are read: its first step may publish one.
        let (rotation, signing) = match (config.algorithm, apart) {
            (Algorithm::HS256, _) => (None, Signing::Here(Arc::new(Ring::shared(Signer::hs256(secret))))),
            (Algorithm::EdDSA, Some(signer)) => (None, Signing::Apart(signer)),
            (Algorithm::EdDSA, None) => {
                let rotation = Rotation::start(base, Arc::clone(&sealer), config.rotation()).await?;
                let ring = rotation.ring();
                (Some(Arc::new(rotation)), Signing::Here(ring))
            }
        };
        let mfa_policy = MfaPolicy::new(&sections.auth.require_mfa_for_roles);
        Ok(Arc::new(Self {
            base: base.clone(),
            authenticator: Arc::new(TokenAuthenticator::start(base, Login::Api, sections).await?),
            passwords: Passwords::start()?,
            legacy_hashes: LegacyHashes::new(base),
            guesses: Guesses::new(&sections.auth),
            mfa_policy,
            backup_key: BackupKey::derive(secret),
            outbox: Arc::new(Outbox::new(base, &sections.smtp, Arc::clone(&sealer))?),
            allow_registration: sections.auth.allow_registration,
            mint: Mint::new(signing, config, secret),
            rotation,
            wallets: Wallets::start(base, sections, secret).await?,
            sealer,
            security,
        }))
    }

    /// The keys that verify access tokens, as they are published; none where the shared secret signs.
    pub(crate) async fn published_keys(&self) -> crate::Result<Vec<Jwk>> {
        let keys = self.authenticator.keys();
        keys.refresh().await?;
        Ok(keys.jwks())
    }
}
