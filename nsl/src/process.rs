//! The services put together into one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use nsl_core::config::{Config, HttpConfig, RateLimitConfig};
use nsl_core::context::Base;
use nsl_core::db::health::PostgresHealth;
use nsl_core::db::{Db, idempotency, sequencer};
use nsl_core::health::{Health, HealthCheck};
use nsl_core::http;
use nsl_core::jobs::{Jobs, Stage};
use nsl_core::ports::Ports;
use nsl_core::telemetry::Metrics;
use nsl_core::{Context, Service, clock::Clock};
use nsl_sgx::{Mode, RootRing, SgxConfig};
use tokio::signal::unix::{SignalKind, signal};

/// How long requests, loops and writers may take to end. `nsl up` has 5 s for all of it, its server included.
const DRAIN: Duration = Duration::from_secs(3);

/// Every service of this build, ready to listen.
pub(crate) struct Process {
    context: Context,
    router: Router,
    listen: SocketAddr,
    mode: Mode,
}

impl Process {
    /// Makes the services on a migrated database.
    pub(crate) async fn compose(config: &Config, db: Db) -> anyhow::Result<Self> {
        let http_config: HttpConfig = config.section("Http")?;
        let rate_limit: RateLimitConfig = config.section("RateLimit")?;
        let listen = http_config.listen;
        let base = Base { db, clock: Clock::system(), jobs: Jobs::new() };
        let (services, ports, mode) = services(config, &base, listen).await?;
        let mut checks: Vec<(&'static str, Arc<dyn HealthCheck>)> =
            vec![("postgresql", Arc::new(PostgresHealth::new(&base.db)))];
        checks.extend(services.iter().map(|service| (service.name, Arc::clone(&service.health))));
        // After a restore into another cluster the leftovers get their positions before anyone reads.
        sequencer::step(&base.db).await.context("the sequencer cannot take its first step")?;
        sequencer::start(&base.jobs, &base.db);
        idempotency::start(&base.jobs, &base.db);
        let metrics = Metrics::start().map_err(anyhow::Error::msg)?;
        let context = Context::new(base, ports, Health::new(checks), metrics, http_config, rate_limit);
        let router = http::app(context.clone(), services);
        Ok(Self { context, router, listen, mode })
    }

    pub(crate) fn base(&self) -> &Base {
        self.context.base()
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        self.context.jobs()
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether an enclave holds the keys; every start says so.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Starts to serve; returns the address.
    pub(crate) async fn start(&self) -> anyhow::Result<SocketAddr> {
        let listener = http::bind(self.listen).await.map_err(anyhow::Error::msg)?;
        let address = listener.local_addr()?;
        let listener = std::sync::Mutex::new(Some(listener));
        let router = self.router.clone();
        self.jobs().spawn("core.http", Stage::Http, move |stop| {
            let listener = listener.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let router = router.clone();
            async move {
                // A server that failed once has no listener any more; its end is the process's.
                let listener = listener.ok_or("the listener is gone: start the process again")?;
                http::serve(listener, router, stop).await
            }
        });
        Ok(address)
    }

    /// Drains what is under way and closes the pools.
    pub(crate) async fn shut_down(&self) {
        self.context.shut_down(DRAIN).await;
    }
}

async fn services(
    config: &Config,
    base: &Base,
    listen: SocketAddr,
) -> anyhow::Result<(Vec<Service>, Ports, Mode)> {
    let sgx_config: SgxConfig = config.section("SGX")?;
    if !sgx_config.database.enable_encryption && !listen.ip().is_loopback() {
        bail!(
            "SGX:Database:EnableEncryption is false and Http:Listen is {listen}, beyond loopback: unsealed values are \
             not served to a network; turn encryption on, or listen on 127.0.0.1"
        );
    }
    let root = Arc::new(RootRing::open(base, &sgx_config).await?);
    let mode = root.mode();
    let security = nsl_monitoring::security_events();
    let sections = nsl_auth::Sections::read(config)?;
    let auth = nsl_auth::service(base, sections, Arc::clone(&root) as _, Arc::clone(&security)).await?;
    let sgx = nsl_sgx::service(base, sgx_config, root, security)?;
    let services = vec![auth.service, sgx, nsl_monitoring::service(base), nsl_eventsourcing::service(base)];
    Ok((services, Ports { authenticator: auth.authenticator }, mode))
}

/// Waits for SIGINT or SIGTERM; both drain.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
