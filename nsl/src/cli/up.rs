//! `nsl up`: a local PostgreSQL and every service, in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nsl_core::config::{Config, DatabaseConfig, LoggingConfig, Secret, fresh};
use nsl_core::jobs::JobError;
use nsl_core::telemetry::start_log;
use nsl_postgres::{Binaries, DataDir, InstanceLock, Mode, Server, Settings};

use super::serve::listen_flag;
use super::{Globals, output};
use crate::local::{Credentials, Local, LocalServer, OWNER, SUPERUSER};
use crate::process::{Process, stop_signal};
use crate::roles::Roles;
use crate::{db, hardening, settings};

/// The first start makes the database, its secrets and an administrator. Ctrl-C drains and stops all of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port of the HTTP API, 0 for any free one [default: 8080].
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// The port of PostgreSQL; where another server has it, the next free one is taken and printed.
    #[arg(long, value_name = "N", default_value_t = 5432)]
    pg_port: u16,
    /// The settings file [default: ./appsettings.json if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How often a dead server is looked for.
const WATCH: Duration = Duration::from_millis(500);
/// For the server to stop; what it has not done then is recovered at the next start.
const STOP: Duration = Duration::from_secs(3);
const ADMINISTRATOR: &str = "admin";

/// What a start found or made.
struct Installation {
    local: Local,
    config: Config,
    server: Arc<Mutex<Server>>,
    place: LocalServer,
    /// Another program's port was asked for.
    moved_from: Option<u16>,
    reattached: bool,
    /// How this program is called again for this installation.
    again: String,
    /// The directory's lock; released at the end, however it comes.
    _lock: InstanceLock,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let data_dir = globals.data_dir.clone();
    let installation = tokio::task::spawn_blocking(move || install(args, data_dir.as_deref())).await??;
    // After the server was started: its own dumps are its owner's business.
    hardening::apply();
    let outcome = serve(&installation, globals.json).await;
    let server = Arc::clone(&installation.server);
    let stopped = tokio::task::spawn_blocking(move || {
        server.lock().unwrap_or_else(PoisonError::into_inner).stop(Mode::Fast, STOP)
    })
    .await?;
    outcome?;
    stopped.context("PostgreSQL did not stop in time; it recovers at the next start")
}

/// Everything before the first connection; blocking.
fn install(args: Args, given: Option<&Path>) -> anyhow::Result<Installation> {
    let dir = DataDir::resolve(given, Path::new(Local::DEFAULT))?;
    let lock = InstanceLock::acquire(&dir)?;
    let local = Local::at(dir.path());
    let config = settings::load_with(args.config, listen_flag(args.port), local.variables()?)?;
    let logging: LoggingConfig = config.section("Logging")?;
    start_log(logging.format, &logging.level).map_err(anyhow::Error::msg)?;
    let database: DatabaseConfig = config.section("Database")?;
    let binaries = Binaries::find(database.bin_dir.as_deref(), dir.major())?;
    let superuser = local.secret(SUPERUSER)?;
    let wanted = Settings { port: args.pg_port, ..Settings::default() };
    let server = Server::start(&binaries, &dir, wanted, superuser.expose())?;
    let place = LocalServer {
        socket_dir: server.socket_dir().to_owned(),
        port: server.port(),
        tcp: server.has_tcp(),
        ca_certificate: dir.ca_certificate(),
        bin_dir: binaries.dir().to_owned(),
    };
    local.write_server(&place)?;
    Ok(Installation {
        moved_from: (server.port() != args.pg_port).then_some(args.pg_port),
        reattached: server.reattached(),
        again: again(given),
        local,
        config,
        server: Arc::new(Mutex::new(server)),
        place,
        _lock: lock,
    })
}

/// The program as it was called, which need not be on the PATH, and the directory where one was given.
fn again(given: Option<&Path>) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "nsl".to_owned());
    let program = quoted(&program);
    given.map_or_else(
        || program.clone(),
        |dir| format!("{program} --data-dir {}", quoted(&dir.to_string_lossy())),
    )
}

/// For a shell, where it needs that.
fn quoted(word: &str) -> String {
    if word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

async fn serve(installation: &Installation, json: bool) -> anyhow::Result<()> {
    let Installation { local, config, place, .. } = installation;
    let process = tokio::select! {
        process = async {
            db::prepare_local(local, place).await?;
            Process::compose(config, db::local_pools(config, place)?, &Roles::all()).await
        } => process?,
        stopped = stop_signal() => return stopped,
    };
    watch(&process, &installation.server);
    let served = async {
        let first = administrator(&process, local).await?;
        let address = process.start().await?.public.context("the process listens nowhere")?;
        if let Some(mut credentials) = local.credentials()? {
            let url = format!("http://{}", reachable(address));
            if credentials.url != url {
                credentials.url = url;
                local.write_credentials(&credentials)?;
            }
        }
        announce(
            installation,
            address,
            process.mode().context("the enclave is not among the roles")?,
            first,
            json,
        )?;
        stop_signal().await
    }
    .await;
    tracing::info!("draining");
    process.shut_down().await;
    served
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}

/// Starts a server that died again; its data are its own to recover.
fn watch(process: &Process, server: &Arc<Mutex<Server>>) {
    let server = Arc::clone(server);
    process.jobs().every("nsl.postgres", WATCH, move || {
        let server = Arc::clone(&server);
        async move {
            let restarted = tokio::task::spawn_blocking(move || {
                server.lock().unwrap_or_else(PoisonError::into_inner).restart_if_dead()
            })
            .await
            .map_err(|error| -> JobError { Box::new(error) })??;
            if restarted {
                tracing::warn!("PostgreSQL had died and was started again");
            }
            Ok(())
        }
    });
}

/// Makes the first administrator; true where this start made it.
async fn administrator(process: &Process, local: &Local) -> anyhow::Result<bool> {
    let base = process.base();
    if let Some(credentials) = local.credentials()? {
        // A start that was cut off between the file and the account is completed with what the file says.
        let password = Secret::new(credentials.password);
        return Ok(nsl_auth::bootstrap(base, &credentials.username, &password).await?);
    }
    let password = fresh()?;
    // The file first: an account whose password nobody has would be of no use.
    local.write_credentials(&Credentials {
        url: format!("http://{}", reachable(process.listen())),
        username: ADMINISTRATOR.to_owned(),
        password: password.expose().to_owned(),
    })?;
    let made = nsl_auth::bootstrap(base, ADMINISTRATOR, &password).await?;
    if !made {
        // Someone can log in already, and the file was removed on purpose.
        local.remove_credentials()?;
    }
    Ok(made)
}

fn announce(
    installation: &Installation,
    address: SocketAddr,
    mode: nsl_sgx::Mode,
    first: bool,
    json: bool,
) -> anyhow::Result<()> {
    let Installation { local, place, .. } = installation;
    let url = format!("http://{}", reachable(address));
    let credentials = local.dir().join("credentials.json");
    if json {
        let line = serde_json::json!({
            "url": url,
            "postgres": {
                "port": place.port,
                "socketDir": place.socket_dir,
                "tcp": place.tcp,
                "movedFrom": installation.moved_from,
            },
            "dataDir": local.dir(),
            "credentials": credentials,
            "mode": mode.as_str(),
        });
        // One line: whoever started this reads up to its end.
        return output::line(&line.to_string());
    }
    let state = if installation.reattached { "reattached to" } else { "started" };
    let mut lines = vec![
        format!("Neo Service Layer is ready at {url}  (docs: {url}/docs)"),
        match mode {
            nsl_sgx::Mode::Simulation => {
                "  mode        simulation: a file opens the root key, not an SGX platform".to_owned()
            }
            nsl_sgx::Mode::Hardware => {
                "  mode        hardware: an SGX enclave, which proved itself".to_owned()
            }
        },
        format!("  PostgreSQL  {state}, port {}, data in {}", place.port, local.dir().display()),
    ];
    lines.extend(
        installation
            .moved_from
            .map(|wanted| format!("              (port {wanted} belongs to another server)")),
    );
    if first {
        lines.push(format!("  first start an administrator was made: {}", credentials.display()));
    }
    let nsl = &installation.again;
    lines.extend([
        "\nTry next, in another terminal:".to_owned(),
        format!("  {nsl} sgx put demo greeting --value hello"),
        format!("  {nsl} sgx get demo greeting"),
        format!("  psql \"$({nsl} db url --role {OWNER})\" -c 'SELECT COUNT(*) FROM sgx.sealed_data_items;'"),
        "\nCtrl-C stops it, the database included.".to_owned(),
    ]);
    output::line(&lines.join("\n"))
}
