//! Servers: the shared one, which outlives the run and makes tests fast, and private ones, which end with their test.
//! Sockets only, so there is no port to collide. Not here: what stands in their databases.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nsl_core::config::{Address, Host, SslMode};
use nsl_core::db::{self, Endpoint};
use nsl_core::jobs::drive;
use nsl_postgres::{Binaries, DataDir, Mode, Server, Settings};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_postgres::Client;

use crate::database::{is_group, password};

/// The role that initdb makes.
pub(crate) const SUPERUSER: &str = "postgres";
const STOP: Duration = Duration::from_secs(20);
/// Under a busy machine a connection may take its time; a test that means to wait says so itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether commits survive a crash of the machine. Durable is slower, and only for tests of crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Durable,
    Volatile,
}

/// A running server; cheap to clone. A private one is stopped when its last clone goes.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    server: Server,
    binaries: Binaries,
    /// Of a private cluster, which ends with this.
    own: Option<tempfile::TempDir>,
}

impl Cluster {
    /// The server that all tests of this user and this version of PostgreSQL share, started if it is not running.
    pub async fn shared() -> anyhow::Result<Self> {
        let (binaries, server) = spawn_blocking(|| {
            let binaries = binaries()?;
            let server = start(&binaries, &shared_dir(&binaries)?, Durability::Volatile)?;
            anyhow::Ok((binaries, server))
        })
        .await??;
        Ok(Self(Arc::new(Inner { server, binaries, own: None })))
    }

    /// A server for one test alone, with nothing in it but what initdb makes.
    pub async fn own(durability: Durability) -> anyhow::Result<Self> {
        let inner = spawn_blocking(move || {
            let binaries = binaries()?;
            let prefix = format!("{}{}-", own_prefix()?, std::process::id());
            let dir = tempfile::Builder::new().prefix(&prefix).tempdir()?;
            // As root the server runs as another user, who has to get there.
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
            let server = start(&binaries, &dir.path().join("data"), durability)?;
            anyhow::Ok(Inner { server, binaries, own: Some(dir) })
        })
        .await??;
        Ok(Self(Arc::new(inner)))
    }

    /// The server itself: its process id, its socket, its end.
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    pub(crate) fn is_own(&self) -> bool {
        self.0.own.is_some()
    }

    /// Where a database of this server is.
    pub fn endpoint(&self, database: &str) -> Endpoint {
        let address = Address::Socket(self.server().socket_dir().to_path_buf());
        Endpoint {
            hosts: vec![Host { address, port: self.server().port() }],
            database: database.to_owned(),
            tls: SslMode::Disable,
            root_certificate: None,
            max_pool_size: 8,
            connect_timeout: CONNECT_TIMEOUT,
            keepalive: None,
        }
    }

    /// A connection as a role: a login with its test password, a group by the superuser's SET ROLE.
    pub async fn client(&self, database: &str, role: &str) -> anyhow::Result<Client> {
        Ok(self.session(database, role).await?.client)
    }

    pub(crate) async fn session(&self, database: &str, role: &str) -> anyhow::Result<Session> {
        let login = if is_group(role) { SUPERUSER } else { role };
        let (client, connection) = db::connect(&self.endpoint(database), login, &password(login)).await?;
        let session = Session { client, connection: drive(connection) };
        if is_group(role) {
            session.client.batch_execute(&format!("SET ROLE {role}")).await?;
        }
        Ok(session)
    }

    /// Whether the server's installation has psql and pg_dump; that of PostgreSQL 16 in `make test-postgres` has
    /// neither, and those of another major do not fit a dump. A test that needs them says that it did not run.
    pub fn has_client_tools(&self) -> bool {
        let there = ["psql", "pg_dump"].iter().all(|name| self.0.binaries.tool(name).is_some());
        if !there {
            eprintln!("not run: no psql and pg_dump beside this PostgreSQL");
        }
        there
    }

    /// A program of the server's installation (`psql`, `pg_dump`), aimed at a database as a role that can log in.
    pub fn program(&self, name: &str, database: &str, role: &str) -> anyhow::Result<Command> {
        let path = self
            .0
            .binaries
            .tool(name)
            .with_context(|| format!("{name} is not installed beside the server"))?;
        let mut command = Command::new(path);
        command
            .env("PGHOST", self.server().socket_dir())
            .env("PGPORT", self.server().port().to_string())
            .env("PGDATABASE", database)
            .env("PGUSER", role)
            .env("PGPASSWORD", password(role).expose())
            .current_dir("/")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Ends the shared server, and private ones whose test was killed, and removes their data. Says what it removed.
    pub fn stop_all() -> anyhow::Result<Vec<PathBuf>> {
        let binaries = binaries()?;
        let mut removed = Vec::new();
        let prefix = own_prefix()?;
        for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next()) else {
                continue;
            };
            if !is_alive(pid) {
                end(&binaries, &entry.path().join("data"))?;
                fs::remove_dir_all(entry.path())?;
                removed.push(entry.path());
            }
        }
        let shared = shared_dir(&binaries)?;
        if shared.exists() {
            end(&binaries, &shared)?;
            fs::remove_dir_all(&shared)?;
            removed.push(shared);
        }
        Ok(removed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.own.is_some() {
            // What it held goes too, so there is nothing to shut down in order.
            if let Err(error) = self.server.stop(Mode::Immediate, STOP) {
                eprintln!("a test's own server was not stopped: {error}");
            }
        }
    }
}

/// A connection whose end can be awaited: a database with a session left can be neither cloned nor renamed.
pub(crate) struct Session {
    pub(crate) client: Client,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Session {
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.client);
        Ok(self.connection.await??)
    }
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

fn binaries() -> anyhow::Result<Binaries> {
    let setting = std::env::var_os("NSL_PG_BIN").or_else(|| std::env::var_os("Database__BinDir"));
    Ok(Binaries::find(setting.as_deref().map(Path::new), None)?)
}

/// With the version in its name, so that a run against another PostgreSQL does not meet this server.
fn shared_dir(binaries: &Binaries) -> anyhow::Result<PathBuf> {
    let version = binaries.version();
    let name = format!("nsl-test-{}-pg{}.{}", uid()?, version.major, version.minor);
    Ok(std::env::temp_dir().join(name))
}

fn own_prefix() -> anyhow::Result<String> {
    Ok(format!("nsl-test-own-{}-", uid()?))
}

fn uid() -> anyhow::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

fn start(binaries: &Binaries, dir: &Path, durability: Durability) -> anyhow::Result<Server> {
    let data_dir = DataDir::resolve(Some(dir), dir)?;
    let durable = durability == Durability::Durable;
    let settings = Settings { tcp: false, durable, ..Settings::default() };
    Ok(Server::start(binaries, &data_dir, settings, password(SUPERUSER).expose())?)
}

/// Ends the server of a directory. It is found by reattaching; one that was dead is up for that moment.
fn end(binaries: &Binaries, dir: &Path) -> anyhow::Result<()> {
    if dir.join("pg").exists() {
        start(binaries, dir, Durability::Volatile)?.stop(Mode::Immediate, STOP)?;
    }
    Ok(())
}
