#![doc = include_str!("../README.md")]

/// Use cases: authorize → load → decide → store → event and audit → commit.
mod actions;
/// Request and response types, thin handlers, routes.
mod api;
/// The sections of this service.
mod config;
/// Types and rules of users and tokens, pure.
mod domain;
/// The error enums and their one mapping to an API error.
mod error;
/// The events that the service emits.
mod events;
/// Background loops.
mod jobs;
/// All SQL of the schema `auth`.
pub mod store;

use std::sync::Arc;

use nsl_core::Service;
use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::ports::{Authenticator, SecretSealer, SecurityEvents, TokenSigner};

pub use actions::bootstrap::bootstrap;
pub use config::{Algorithm, AuthConfig, JwtConfig, Sections, SmtpConfig, SmtpTls, WalletConfig};
pub use error::{BootstrapError, StartError};

/// What the enclave's process seals and opens for this service, and nothing else: the signing keys stay inside.
pub const SEALED_ELSEWHERE: [&str; 2] = [actions::second_factor::PURPOSE, actions::outbox::PURPOSE];

/// The service, and the port that every other service's routes ask.
pub struct Auth {
    pub service: Service,
    pub authenticator: Arc<dyn Authenticator>,
}

/// Makes the service with the keys in this process: its signing key (at the first start), its password pool, its routes,
/// and its loops where this process has the login for them.
pub async fn service(
    base: &Base,
    config: Sections,
    sealer: Arc<dyn SecretSealer>,
    security: Arc<dyn SecurityEvents>,
) -> Result<Auth, StartError> {
    Ok(made(base, actions::State::start(base, &config, sealer, None, security).await?))
}

/// The same with the enclave in another process, which seals and signs.
pub async fn service_apart(
    base: &Base,
    config: Sections,
    sealer: Arc<dyn SecretSealer>,
    signer: Arc<dyn TokenSigner>,
    security: Arc<dyn SecurityEvents>,
) -> Result<Auth, StartError> {
    Ok(made(base, actions::State::start(base, &config, sealer, Some(signer), security).await?))
}

fn made(base: &Base, state: Arc<actions::State>) -> Auth {
    jobs::start_checks(base, &state.authenticator);
    if let Some(rotation) = &state.rotation {
        jobs::start_rotation(base, rotation);
    }
    if base.db.has(Login::Jobs) {
        jobs::start_background(base, Some(&state.outbox));
    }
    Auth {
        authenticator: Arc::clone(&state.authenticator) as Arc<dyn Authenticator>,
        service: Service {
            name: actions::SERVICE,
            router: api::router(&state),
            root: api::root(&state),
            health: state,
        },
    }
}

/// The service's part of the enclave's process.
pub struct Enclave {
    /// Checks the tokens of the requests that the enclave serves.
    pub authenticator: Arc<dyn Authenticator>,
    /// Signs for the process that has the users.
    pub signer: Arc<dyn TokenSigner>,
}

/// Makes the enclave's part: the signing keys, and what checks tokens on the enclave's own login.
pub async fn enclave(
    base: &Base,
    config: &Sections,
    sealer: Arc<dyn SecretSealer>,
) -> Result<Enclave, StartError> {
    let state = actions::enclave::EnclaveState::start(base, config, sealer).await?;
    jobs::start_checks(base, &state.authenticator);
    if let Some(rotation) = &state.rotation {
        jobs::start_rotation(base, rotation);
    }
    Ok(Enclave { authenticator: state.authenticator, signer: state.signer })
}

/// What checks credentials in a process that serves other services' routes only.
pub async fn verifier(base: &Base, config: &Sections) -> Result<Arc<dyn Authenticator>, StartError> {
    let authenticator = actions::authenticate::TokenAuthenticator::start(base, Login::Api, config).await?;
    let authenticator = Arc::new(authenticator);
    jobs::start_checks(base, &authenticator);
    Ok(authenticator)
}

/// The loops alone, for a process that serves none of the routes. Without a sealer no mail can be opened, and so none is
/// sent: where a mail server is configured, that is refused.
pub fn background(
    base: &Base,
    config: &Sections,
    sealer: Option<Arc<dyn SecretSealer>>,
) -> Result<(), StartError> {
    let outbox = match sealer {
        Some(sealer) => Some(Arc::new(actions::outbox::Outbox::new(base, &config.smtp, sealer)?)),
        None if config.smtp.server().is_some() => return Err(StartError::MailUnopened),
        None => None,
    };
    jobs::start_background(base, outbox.as_ref());
    Ok(())
}

pub(crate) type Result<T, E = error::Error> = std::result::Result<T, E>;
