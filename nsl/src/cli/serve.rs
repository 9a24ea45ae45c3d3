//! `nsl serve`: services on a PostgreSQL that someone else runs, in one process or several.

use std::path::PathBuf;

use nsl_core::config::LoggingConfig;
use nsl_core::telemetry::start_log;
use nsl_sgx::Mode;

use crate::process::{Process, StopSignal};
use crate::roles::{Role, Roles};
use crate::{db, hardening, settings};

/// Needs ConnectionStrings__DefaultConnection, JWT_SECRET_KEY and SGX_ENCRYPTION_KEY (`nsl secrets` makes the last two).
/// A process with some of the roles needs what belongs to these.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What this process does: api, auth, monitoring, eventsourcing, sgx, jobs, separated by commas; enclave is what is
    /// kept apart from the API, all is everything.
    #[arg(long, value_name = "LIST", default_value = "all", env = "NSL_ROLES")]
    roles: Roles,
    /// The settings file [default: ./appsettings.json if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port to listen on, 0 for any free one [default: that of Http:Listen, 8080].
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// The flag `--port`, as a setting.
pub(super) fn listen_flag(port: Option<u16>) -> Vec<(String, serde_json::Value)> {
    port.map(|port| ("Http:Listen".to_owned(), format!("127.0.0.1:{port}").into())).into_iter().collect()
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let config = settings::load(args.config, listen_flag(args.port))?;
    let logging: LoggingConfig = config.section("Logging")?;
    start_log(logging.format, &logging.level).map_err(anyhow::Error::msg)?;
    let roles = args.roles;
    let pools = db::remote_pools(&config, &roles.logins())?;
    if roles.has(Role::Sgx) {
        hardening::apply();
    }
    let mut stop = StopSignal::listen()?;
    let process = tokio::select! {
        process = async {
            db::wait_until_ready(&pools).await?;
            Process::compose(&config, pools.clone(), &roles).await
        } => process?,
        () = stop.received() => return Ok(()),
    };
    let addresses = process.start().await?;
    let mode = process.mode().map(Mode::as_str);
    if let Some(address) = addresses.enclave {
        tracing::info!(%address, %roles, mode, "serving other processes");
    }
    if let Some(address) = addresses.public {
        tracing::info!(%address, %roles, mode, "serving");
    }
    stop.received().await;
    tracing::info!("draining");
    process.shut_down().await;
    Ok(())
}
