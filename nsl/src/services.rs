//! Which services a process has, by its roles: made here, or forwarded to the enclave's process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use nsl_core::caller::Principal;
use nsl_core::config::{Config, DatabaseConfig};
use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::health::HealthCheck;
use nsl_core::ports::{Authenticator, SecretSealer, SecurityEvents};
use nsl_core::{ApiError, Service};
use nsl_sgx::{Mode, RootRing, SgxConfig};

use crate::enclave::EnclaveConfig;
use crate::enclave::forward;
use crate::enclave::health::{ElsewhereHealth, EnclaveHealth};
use crate::enclave::inside::{self, Inside};
use crate::enclave::link::Link;
use crate::roles::{Role, Roles};

/// What a process is put together from.
pub(crate) struct Composition {
    /// Served on `Http:Listen`.
    pub(crate) public: Vec<Service>,
    /// Served to other processes over mutual TLS.
    pub(crate) inside: Vec<Service>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) checks: Vec<(&'static str, Arc<dyn HealthCheck>)>,
    /// Of the enclave, where it is here.
    pub(crate) mode: Option<Mode>,
}

/// The enclave, as this process has it.
enum Enclave {
    Here(SealedStorage),
    Elsewhere(Arc<Link>),
    /// What this process does needs none.
    Unneeded,
}

/// Sealed storage before it serves: the root key is what others are sealed by.
struct SealedStorage {
    config: SgxConfig,
    root: Arc<RootRing>,
}

/// Makes the services of these roles, and starts their loops.
pub(crate) async fn compose(
    config: &Config,
    base: &Base,
    roles: &Roles,
    line: &EnclaveConfig,
    listen: SocketAddr,
) -> anyhow::Result<Composition> {
    let enclave = Enclave::of(config, base, roles, line, listen).await?;
    let mode = match &enclave {
        Enclave::Here(SealedStorage { root, .. }) => Some(root.mode()),
        Enclave::Elsewhere(_) | Enclave::Unneeded => None,
    };
    let security = nsl_monitoring::security_events();
    let sections = nsl_auth::Sections::read(config)?;
    let mut services = Services::default();

    if !roles.serves_auth() && roles.has(Role::Jobs) {
        nsl_auth::background(base, &sections, enclave.sealer())?;
    }
    let authenticator = authentication(base, roles, sections, &enclave, &security, &mut services).await?;
    match enclave {
        Enclave::Here(SealedStorage { config, root }) => {
            let log = nsl_eventsourcing::event_log(&base.db, Login::Enclave);
            let mut sgx = nsl_sgx::service(base, config, root, security, log)?;
            let place = match services.offered.take() {
                Some(offered) => {
                    sgx.root = sgx.root.merge(inside::router(offered));
                    Place::Inside
                }
                None => Place::Public,
            };
            services.add(sgx, place);
        }
        Enclave::Elsewhere(link) if roles.serves_auth() => {
            if roles.has(Role::Api) {
                let health = Arc::new(ElsewhereHealth::new(&link, "/health/sgx"));
                let sgx = forward::service("sgx", nsl_sgx::declarations(), &link, health);
                services.add(sgx, Place::Public);
            }
            services.checks.push(("enclave", Arc::new(EnclaveHealth(link))));
        }
        Enclave::Elsewhere(_) | Enclave::Unneeded => {}
    }
    // Where their routes are not served, their loops may run all the same.
    for (is_served, make) in [
        (roles.serves_monitoring(), nsl_monitoring::service as fn(&Base) -> Service),
        (roles.serves_event_sourcing(), nsl_eventsourcing::service),
    ] {
        if is_served || roles.has(Role::Jobs) {
            services.add(make(base), if is_served { Place::Public } else { Place::Nowhere });
        }
    }
    let Services { public, inside, checks, .. } = services;
    Ok(Composition { public, inside, authenticator, checks, mode })
}

/// Whoever checks credentials in this process; authentication itself where it is served here.
async fn authentication(
    base: &Base,
    roles: &Roles,
    sections: nsl_auth::Sections,
    enclave: &Enclave,
    security: &Arc<dyn SecurityEvents>,
    services: &mut Services,
) -> anyhow::Result<Arc<dyn Authenticator>> {
    if roles.serves_auth() {
        let security = Arc::clone(security);
        let auth = match enclave {
            Enclave::Here(SealedStorage { root, .. }) => {
                nsl_auth::service(base, sections, Arc::clone(root) as _, security).await?
            }
            Enclave::Elsewhere(link) => {
                let (sealer, signer) = (Arc::clone(link) as _, Arc::clone(link) as _);
                nsl_auth::service_apart(base, sections, sealer, signer, security).await?
            }
            Enclave::Unneeded => bail!("authentication needs an enclave, here or elsewhere"),
        };
        services.add(auth.service, Place::Public);
        return Ok(auth.authenticator);
    }
    if let Enclave::Here(SealedStorage { root, .. }) = enclave {
        let sealer = Arc::clone(root) as Arc<dyn SecretSealer>;
        let part = nsl_auth::enclave(base, &sections, Arc::clone(&sealer)).await?;
        services.offered =
            Some(Inside { signer: part.signer, sealer, purposes: &nsl_auth::SEALED_ELSEWHERE });
        return Ok(part.authenticator);
    }
    if roles.serves_monitoring() || roles.serves_event_sourcing() {
        return Ok(nsl_auth::verifier(base, &sections).await?);
    }
    Ok(Arc::new(NoCredentials))
}

impl Enclave {
    async fn of(
        config: &Config,
        base: &Base,
        roles: &Roles,
        line: &EnclaveConfig,
        listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        let sgx: SgxConfig = config.section("SGX")?;
        if roles.has(Role::Sgx) {
            if !sgx.database.enable_encryption && !listen.ip().is_loopback() {
                bail!(
                    "SGX:Database:EnableEncryption is false and this process listens on {listen}, beyond loopback: \
                     unsealed values are not served to a network; turn encryption on, or listen on 127.0.0.1"
                );
            }
            let root = Arc::new(RootRing::open(base, &sgx).await?);
            return Ok(Self::Here(SealedStorage { config: sgx, root }));
        }
        holds_nothing_of_the_enclave(config, &sgx, roles)?;
        let link = Link::new(line)?;
        if roles.needs_enclave_elsewhere() {
            let link = link.with_context(|| {
                format!(
                    "the roles {roles} need the enclave, which is not among them: give Enclave:Url of its process \
                     (`nsl serve --roles enclave`), or add the role"
                )
            })?;
            return Ok(Self::Elsewhere(link));
        }
        Ok(link.map_or(Self::Unneeded, Self::Elsewhere))
    }

    fn sealer(&self) -> Option<Arc<dyn SecretSealer>> {
        match self {
            Self::Here(storage) => Some(Arc::clone(&storage.root) as _),
            Self::Elsewhere(link) => Some(Arc::clone(link) as _),
            Self::Unneeded => None,
        }
    }
}

/// A process without the enclave's role is not even given what would make it one: that is what its capture is bounded by.
fn holds_nothing_of_the_enclave(config: &Config, sgx: &SgxConfig, roles: &Roles) -> anyhow::Result<()> {
    let database: DatabaseConfig = config.section("Database")?;
    for (name, is_given) in [
        ("SGX_ENCRYPTION_KEY", sgx.database.encryption_key.is_some()),
        ("Database__Roles__neo_enclave__Password", database.roles.neo_enclave.password.is_some()),
    ] {
        ensure!(
            !is_given,
            "{name} is set in a process of the roles {roles}: it belongs to the enclave's process alone; take it out of \
             this one's environment and settings"
        );
    }
    Ok(())
}

/// Where a service's routes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Public,
    Inside,
    Nowhere,
}

#[derive(Default)]
struct Services {
    public: Vec<Service>,
    inside: Vec<Service>,
    checks: Vec<(&'static str, Arc<dyn HealthCheck>)>,
    /// What the enclave does for other processes; in the enclave's process alone.
    offered: Option<Inside>,
}

impl Services {
    fn add(&mut self, service: Service, place: Place) {
        self.checks.push((service.name, Arc::clone(&service.health)));
        match place {
            Place::Public => self.public.push(service),
            Place::Inside => self.inside.push(service),
            Place::Nowhere => {}
        }
    }
}

/// A process that serves no route of a user.
struct NoCredentials;

#[async_trait]
impl Authenticator for NoCredentials {
    async fn authenticate(&self, _bearer: &str) -> Result<Principal, ApiError> {
        Err(ApiError::unauthorized(
            "core.no_credentials_here",
            "This process takes no credentials; ask the one that serves the API.",
        ))
    }
}
