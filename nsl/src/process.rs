//! The services put together into one process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use nsl_core::config::{Config, HttpConfig, RateLimitConfig};
use nsl_core::context::Base;
use nsl_core::db::health::PostgresHealth;
use nsl_core::db::{Db, idempotency, sequencer};
use nsl_core::health::{Health, HealthCheck};
use nsl_core::http;
use nsl_core::jobs::{JobError, Jobs, Stage};
use nsl_core::ports::Ports;
use nsl_core::telemetry::Metrics;
use nsl_core::{Context, clock::Clock};
use nsl_sgx::Mode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::enclave::EnclaveConfig;
use crate::enclave::listener::{self, EnclaveListener};
use crate::roles::{Role, Roles};
use crate::services::{self, Composition};

/// How long requests, loops and writers may take to end. `nsl up` has 5 s for all of it, its server included.
const DRAIN: Duration = Duration::from_secs(3);

/// The services of a process, ready to listen.
pub(crate) struct Process {
    context: Context,
    /// What is served on `Http:Listen`; None in the enclave's process.
    public: Option<Router>,
    /// What is served to other processes over mutual TLS.
    inside: Option<Router>,
    line: EnclaveConfig,
    listen: SocketAddr,
    mode: Option<Mode>,
}

/// Where a process listens.
pub(crate) struct Addresses {
    pub(crate) public: Option<SocketAddr>,
    pub(crate) enclave: Option<SocketAddr>,
}

impl Process {
    /// Makes the services of these roles on a migrated database.
    pub(crate) async fn compose(config: &Config, db: Db, roles: &Roles) -> anyhow::Result<Self> {
        let http_config: HttpConfig = config.section("Http")?;
        let rate_limit: RateLimitConfig = config.section("RateLimit")?;
        let line: EnclaveConfig = config.section("Enclave")?;
        let listen = http_config.listen;
        let base = Base { db, clock: Clock::system(), jobs: Jobs::new() };
        let sealed_at = if roles.is_enclave_apart() { line.listen } else { listen };
        let Composition { public, inside, authenticator, checks, mode } =
            services::compose(config, &base, roles, &line, sealed_at).await?;
        let mut all: Vec<(&'static str, Arc<dyn HealthCheck>)> =
            vec![("postgresql", Arc::new(PostgresHealth::new(&base.db)))];
        all.extend(checks);
        if roles.has(Role::Jobs) {
            // After a restore into another cluster the leftovers get their positions before anyone reads.
            sequencer::step(&base.db).await.context("the sequencer cannot take its first step")?;
            sequencer::start(&base.jobs, &base.db);
            idempotency::start(&base.jobs, &base.db);
        }
        let metrics = Metrics::start().map_err(anyhow::Error::msg)?;
        let ports = Ports { authenticator };
        let context = Context::new(base, ports, Health::new(all), metrics, http_config, rate_limit);
        Ok(Self {
            public: roles.is_public().then(|| http::app(context.clone(), public)),
            inside: roles.is_enclave_apart().then(|| http::app(context.clone(), inside)),
            context,
            line,
            listen,
            mode,
        })
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

    /// How the enclave runs, where it is here: `simulation`, or on a platform.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Starts to serve; returns the addresses.
    pub(crate) async fn start(&self) -> anyhow::Result<Addresses> {
        let mut addresses = Addresses { public: None, enclave: None };
        if let Some(router) = &self.inside {
            let listener = EnclaveListener::bind(&self.line).await?;
            addresses.enclave = Some(axum::serve::Listener::local_addr(&listener)?);
            self.listen_with("nsl.enclave", listener, router, listener::serve);
        }
        if let Some(router) = &self.public {
            let listener = http::bind(self.listen).await.map_err(anyhow::Error::msg)?;
            addresses.public = Some(listener.local_addr()?);
            self.listen_with("core.http", listener, router, http::serve);
        }
        Ok(addresses)
    }

    fn listen_with<L, S, Fut>(&self, name: &'static str, listener: L, router: &Router, serve: S)
    where
        L: Send + 'static,
        S: Fn(L, Router, CancellationToken) -> Fut + Copy + Send + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let listener = Mutex::new(Some(listener));
        let router = router.clone();
        self.jobs().spawn(name, Stage::Http, move |stop| {
            let listener = listener.lock().unwrap_or_else(PoisonError::into_inner).take();
            let router = router.clone();
            async move {
                // A server that failed once has no listener any more; its end is the process's.
                let listener = listener.ok_or("the listener is gone: start the process again")?;
                serve(listener, router, stop).await
            }
        });
    }

    /// Drains what is under way and closes the pools.
    pub(crate) async fn shut_down(&self) {
        self.context.shut_down(DRAIN).await;
    }
}

/// SIGINT or SIGTERM; both drain.
pub(crate) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// From here on a signal is waited for, and ends nothing by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for either.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    StopSignal::listen()?.received().await;
    Ok(())
}
