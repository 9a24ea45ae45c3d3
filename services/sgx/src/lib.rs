#![doc = include_str!("../README.md")]

/// Use cases: authorize → load → decide → store → event and audit → commit.
mod actions;
/// Request and response types, thin handlers, routes.
mod api;
/// Section `SGX`.
mod config;
/// Types and rules of sealed items, pure.
mod domain;
/// The one error enum and its one mapping to an API error.
mod error;
/// The events that the service emits.
mod events;
/// Background loops.
mod jobs;
/// All SQL of the schema `sgx`.
pub mod store;

use std::sync::Arc;

use nsl_core::context::Base;
use nsl_core::ports::{EventLog, SecurityEvents};
use nsl_core::{ApiError, Service};

pub use actions::Sgx;
pub use actions::platform::Mode;
pub use actions::root::RootRing;
pub use config::{AttestationConfig, PlatformKey, SgxConfig, section};
pub use error::{HardwareError, StartError};

/// Makes the service: its key ring, its writers, its routes.
pub fn service(
    base: &Base,
    config: SgxConfig,
    root: Arc<RootRing>,
    security: Arc<dyn SecurityEvents>,
    log: Arc<dyn EventLog>,
) -> Result<Service, StartError> {
    let sgx = Sgx::start(base, config, root, security, log)?;
    jobs::start(base, &sgx);
    Ok(Service {
        name: "sgx",
        router: api::router(Arc::clone(&sgx)),
        root: utoipa_axum::router::OpenApiRouter::new(),
        health: sgx,
    })
}

/// The declarations of the service's routes, without the service: for a process that forwards them to the enclave's.
pub fn declarations() -> utoipa::openapi::OpenApi {
    api::routes().into_openapi()
}

/// The error that a request meets when the service's own data are at fault.
pub(crate) type Result<T, E = error::Error> = std::result::Result<T, E>;

impl From<error::Error> for ApiError {
    fn from(error: error::Error) -> Self {
        error.into_api()
    }
}
