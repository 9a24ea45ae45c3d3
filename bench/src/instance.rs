//! The product under test: `nsl up` on a directory of its own, started, logged into, stopped with all that it started.
//! Not here: what is done to it meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::http::{Connection, write_request};

/// A first start initialises PostgreSQL and migrates.
const READY: Duration = Duration::from_mins(2);
/// `nsl up` gives itself 5 s.
const STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Which program to start, and where.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// The nsl binary [default: the one beside this program].
    #[arg(long, value_name = "PATH")]
    nsl: Option<PathBuf>,
    /// A directory on the disk to measure; everything is made in a new directory in it and removed [default: the
    /// system's temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The port of the HTTP API; 0 is any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// The port of PostgreSQL; the next free one is taken where another server has it.
    #[arg(long, value_name = "N", default_value_t = 55432)]
    pg_port: u16,
    /// The bin directory of the PostgreSQL to take [default: where nsl looks for it].
    #[arg(long, value_name = "DIR", env = "NSL_PG_BIN")]
    pub pg_bin: Option<PathBuf>,
}

/// The program and a new directory for its data, removed when dropped.
pub(crate) struct Program {
    nsl: PathBuf,
    ports: (u16, u16),
    pg_bin: Option<PathBuf>,
    settings: &'static [(&'static str, &'static str)],
    dir: TempDir,
}

/// A product that is Healthy.
pub(crate) struct Instance {
    pub address: SocketAddr,
    pub pid: Pid,
    pub socket_dir: PathBuf,
    pub pg_port: u16,
    /// From the creation of the process to Healthy.
    pub started_in: Duration,
    data_dir: PathBuf,
}

/// What `nsl up --json` prints when it serves.
#[derive(Deserialize)]
struct Announcement {
    url: String,
    postgres: Postgres,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Postgres {
    port: u16,
    socket_dir: PathBuf,
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    #[serde(deserialize_with = "secret")]
    password: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    #[serde(deserialize_with = "secret")]
    access_token: Zeroizing<String>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// A running process.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pid: Pid,
    born: Instant,
    data_dir: PathBuf,
    log: PathBuf,
}

impl Program {
    pub(crate) fn new(setup: &Setup) -> anyhow::Result<Self> {
        let nsl = match &setup.nsl {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .context("this program's own path is unknown: give --nsl PATH")?
                .with_file_name("nsl"),
        };
        let nsl = fs::canonicalize(&nsl).with_context(|| {
            format!("{} is not there: run `cargo build --release -p nsl`, or give --nsl PATH", nsl.display())
        })?;
        let parent = setup.dir.clone().unwrap_or_else(std::env::temp_dir);
        // As root the database has a user of its own, who must be able to pass.
        let dir = tempfile::Builder::new()
            .prefix("nsl-bench-")
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in(&parent)
            .with_context(|| format!("no directory can be made in {}: give --dir DIR", parent.display()))?;
        refuse_memory(dir.path())?;
        Ok(Self { nsl, ports: (setup.port, setup.pg_port), pg_bin: setup.pg_bin.clone(), settings: &[], dir })
    }

    /// With settings other than the defaults, as variables of its environment.
    #[must_use]
    pub(crate) fn with(mut self, settings: &'static [(&'static str, &'static str)]) -> Self {
        self.settings = settings;
        self
    }

    /// Starts the product, works with it once it is Healthy, and stops it, whatever the work came to.
    pub(crate) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Instance) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut process = self.spawn()?;
        let outcome = tokio::select! {
            outcome = async {
                let instance = process.healthy().await?;
                work(&instance).await
            } => outcome,
            error = interrupted() => Err(error),
        };
        let stopped = process.stop().await;
        let done = outcome?;
        stopped?;
        Ok(done)
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let data_dir = self.dir.path().join("data");
        let log = self.dir.path().join("nsl.log");
        let mut command = Command::new(&self.nsl);
        command
            .args([
                "up",
                "--json",
                "--port",
                &self.ports.0.to_string(),
                "--pg-port",
                &self.ports.1.to_string(),
            ])
            .arg("--data-dir")
            .arg(&data_dir)
            // Neither the caller's settings nor an appsettings.json of his: the defaults are measured.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.settings.iter().copied())
            .envs(self.pg_bin.iter().map(|dir| ("Database__BinDir", dir)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).context("the log cannot be made: give --dir DIR")?);
        let born = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{} does not start", self.nsl.display()))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .context("nsl has no process id")?;
        let stdout = child.stdout.take().context("nsl has no standard output")?;
        Ok(Process { child, lines: BufReader::new(stdout).lines(), pid, born, data_dir, log })
    }
}

impl Process {
    /// Waits until it says that it serves, and `/health` says that it is well.
    async fn healthy(&mut self) -> anyhow::Result<Instance> {
        let healthy = async {
            let line = self.lines.next_line().await?.context("nsl ended before it served")?;
            let told: Announcement =
                serde_json::from_str(&line).context("nsl up --json says something else")?;
            let address = told.url.strip_prefix("http://").and_then(|rest| rest.parse().ok());
            let address = address.with_context(|| format!("{} is no http://ADDRESS:PORT", told.url))?;
            while !is_healthy(address).await? {
                sleep(POLL).await;
            }
            anyhow::Ok((address, told.postgres))
        };
        let Ok(outcome) = timeout(READY, healthy).await else {
            bail!("nsl is not Healthy after {} s{}", READY.as_secs(), self.last_words());
        };
        let (address, postgres) =
            outcome.map_err(|error| error.context(format!("nsl does not serve{}", self.last_words())))?;
        Ok(Instance {
            address,
            pid: self.pid,
            socket_dir: postgres.socket_dir,
            pg_port: postgres.port,
            started_in: self.born.elapsed(),
            data_dir: self.data_dir.clone(),
        })
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(20);
        if lines.is_empty() {
            String::new()
        } else {
            format!("; its log ends with:\n{}", lines[from..].join("\n"))
        }
    }

    /// SIGINT: it drains and stops its PostgreSQL. If it does not, both are killed by their process ids.
    async fn stop(mut self) -> anyhow::Result<()> {
        // It may have ended by itself; the wait tells.
        let _ended = kill_process(self.pid, Signal::INT);
        let status = match timeout(STOP, self.child.wait()).await {
            Ok(status) => Some(status.context("nsl cannot be waited for")?),
            Err(_) => None,
        };
        if status.is_none() {
            self.child.kill().await.context("nsl cannot be killed")?;
        }
        let left = self.postmaster();
        if let Some(postmaster) = left {
            // Immediate shutdown: the data are thrown away.
            let _ended = kill_process(postmaster, Signal::QUIT);
        }
        match status {
            None => bail!(
                "nsl did not stop within {} s of SIGINT and was killed{}",
                STOP.as_secs(),
                self.last_words()
            ),
            Some(status) if !status.success() => bail!("nsl ended with {status}{}", self.last_words()),
            Some(_) if left.is_some() => {
                bail!("nsl stopped and left its PostgreSQL running; that was stopped now")
            }
            Some(_) => Ok(()),
        }
    }

    /// The server of this directory, if one is left; a stopped one removes its file.
    fn postmaster(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.data_dir.join("pg/postmaster.pid")).ok()?;
        Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
    }
}

impl Instance {
    /// The administrator's.
    fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = self.data_dir.join("credentials.json");
        let text =
            Zeroizing::new(fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?);
        serde_json::from_slice(&text).context("credentials.json is damaged")
    }

    /// The administrator's name.
    pub(crate) fn username(&self) -> anyhow::Result<String> {
        Ok(self.credentials()?.username)
    }

    /// A path on the measured disk that the product does not use; removed at the end.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.data_dir.with_file_name(name)
    }

    /// A fresh access token of the administrator; it outlives one measurement. Without a tenant, for the default one.
    pub(crate) async fn login(&self, tenant: Option<&str>) -> anyhow::Result<Zeroizing<String>> {
        let Credentials { username, password } = self.credentials()?;
        let body = Zeroizing::new(
            json!({ "username": username, "password": *password, "tenant": tenant }).to_string(),
        );
        let mut request = Zeroizing::new(Vec::new());
        write_request(
            &mut request,
            "POST",
            "/api/v1/auth/login",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 200, "the login answers {}", answer.status);
        let tokens: Tokens =
            serde_json::from_slice(answer.body).context("the login's answer has no accessToken")?;
        Ok(tokens.access_token)
    }

    /// The password of a database role.
    pub(crate) fn password(&self, role: &str) -> anyhow::Result<Zeroizing<String>> {
        let path = self.data_dir.join("secrets").join(role);
        let mut text =
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        text.truncate(text.trim_end().len());
        Ok(Zeroizing::new(text))
    }

    /// What the process has used of the processors so far, its threads together and without PostgreSQL.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()))
            .context("the process has no /proc entry: processor time is measured on Linux only")?;
        // proc_pid_stat(5): the name in parentheses may hold spaces; utime and stime are the 14th and 15th field.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        ensure!(ticks.len() == 2, "/proc tells no processor time");
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / per_second))
    }

    /// Resident memory of the process, without PostgreSQL, in KiB: RSS as `ps` tells it.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most that was resident since [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        self.status_kib("VmHWM:")
    }

    /// Begins to look for the peak anew: proc(5), `clear_refs`.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        let file = format!("/proc/{}/clear_refs", self.pid.as_raw_nonzero());
        fs::write(&file, "5").with_context(|| format!("{file} cannot be written"))
    }

    fn status_kib(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))
            .context("the process has no /proc entry: memory is measured on Linux only")?;
        let told = status.lines().find_map(|line| line.strip_prefix(name));
        told.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
            .with_context(|| format!("/proc tells no {name}"))
    }
}

async fn is_healthy(address: SocketAddr) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Health {
        status: String,
    }
    let mut request = Vec::new();
    write_request(&mut request, "GET", "/health", "", b"");
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&request).await?;
    // Unhealthy is a 503 with the same body.
    Ok(serde_json::from_slice::<Health>(answer.body).is_ok_and(|health| health.status == "Healthy"))
}

/// Where fsync costs nothing, a figure of durable writes would be a false one.
fn refuse_memory(dir: &Path) -> anyhow::Result<()> {
    // statfs(2): TMPFS_MAGIC, RAMFS_MAGIC.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let found = rustix::fs::statfs(dir).with_context(|| format!("{} cannot be looked at", dir.display()))?;
    ensure!(
        !u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)),
        "{} is in memory, where fsync costs nothing: give --dir DIR on a disk",
        dir.display()
    );
    Ok(())
}

/// Comes back when this program is told to end.
async fn interrupted() -> anyhow::Error {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return anyhow::anyhow!("signals cannot be waited for on this system");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::anyhow!("interrupted: no figures")
}
