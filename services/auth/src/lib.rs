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
use nsl_core::ports::{Authenticator, SecretSealer, SecurityEvents};

pub use actions::bootstrap::bootstrap;
pub use config::{Algorithm, AuthConfig, JwtConfig, Sections, SmtpConfig, SmtpTls, WalletConfig};
pub use error::{BootstrapError, StartError};

/// The service, and the port that every other service's routes ask.
pub struct Auth {
    pub service: Service,
    pub authenticator: Arc<dyn Authenticator>,
}

/// Makes the service: its signing key (at the first start), its password pool, its routes, and its loops where
/// this process has the login for them.
pub async fn service(
    base: &Base,
    config: Sections,
    sealer: Arc<dyn SecretSealer>,
    security: Arc<dyn SecurityEvents>,
) -> Result<Auth, StartError> {
    let state = actions::State::start(base, &config, sealer, security).await?;
    jobs::start(base, &state);
    Ok(Auth {
        authenticator: Arc::clone(&state.authenticator) as Arc<dyn Authenticator>,
        service: Service {
            name: actions::SERVICE,
            router: api::router(&state),
            root: api::root(&state),
            health: state,
        },
    })
}

pub(crate) type Result<T, E = error::Error> = std::result::Result<T, E>;
