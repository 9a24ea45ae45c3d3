//! Start, reattach, restart, stop. The server is a daemon of its own: it outlives this process, and the next one
//! finds it by its lock file. Not here: what `postmaster.pid` proves (`postmaster`), what a log line means (`log`).

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::data_dir::DataDir;
use crate::error::{At, Error};
use crate::log::{self, Cause, Mark};
use crate::postmaster::{self, Postmaster};
use crate::settings::{Settings, loopback};
use crate::wait::wait_until;
use crate::{certificate, cluster, lock};

/// After kill -9 of a server its busy children hold the shared memory until they notice.
const LEFTOVERS: Duration = Duration::from_secs(30);
/// Crash recovery replays up to `max_wal_size` and more on a slow disk.
const RECOVERY: Duration = Duration::from_mins(10);
/// How many ports from the wanted one on are tried.
const PORTS: u16 = 100;

/// A server that was running when this handle was made. Dropping the handle leaves the server alone.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    data_dir: DataDir,
    settings: Settings,
    running: Postmaster,
    reattached: bool,
}

/// How the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Waits for the clients to leave.
    Smart,
    /// Ends the clients' sessions and writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

impl Server {
    /// Starts the server of a data directory, initialised first if need be, or reattaches to it if it is running.
    /// `superuser_password` is used at initialisation only; the role is `postgres`.
    pub fn start(
        binaries: &Binaries,
        data_dir: &DataDir,
        settings: Settings,
        superuser_password: &str,
    ) -> Result<Self, Error> {
        // Two starters at once would both initialise, or take each other's server for a failure.
        let _starting = lock::exclusive(&data_dir.path().join("pg.lock"))?;
        let account = data_dir.account();
        if account.is_other() && !account.can_enter(binaries.dir())? {
            return Err(Error::CannotEnter {
                dir: binaries.dir().to_path_buf(),
                user: account.name().to_owned(),
            });
        }
        cluster::ensure(binaries, data_dir, settings.durable, superuser_password)?;
        if settings.tcp {
            certificate::ensure(&data_dir.tls_dir(), account)?;
        }
        let ports = settings.port..=settings.port.saturating_add(PORTS - 1);
        let mut launch = Launch { binaries, data_dir, settings };
        let (running, reattached) = launch.run(ports)?;
        let settings = launch.settings;
        Ok(Self { binaries: binaries.clone(), data_dir: data_dir.clone(), settings, running, reattached })
    }

    /// Whether the server was running already.
    pub fn reattached(&self) -> bool {
        self.reattached
    }

    pub fn port(&self) -> u16 {
        self.running.port
    }

    /// Whether it listens on loopback too; some packages of the server are built without TLS, and plain TCP is never
    /// offered instead.
    pub fn has_tcp(&self) -> bool {
        !self.running.listens_on.is_empty()
    }

    pub fn socket_dir(&self) -> &Path {
        &self.running.socket_dir
    }

    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// Whether a server of this data directory runs; a few small reads.
    pub fn is_running(&self) -> bool {
        postmaster::find(&self.data_dir.pgdata()).is_some()
    }

    /// Starts the server again if it died, on the same port, since clients know that one. Says whether it had to.
    pub fn restart_if_dead(&mut self) -> Result<bool, Error> {
        if self.is_running() {
            return Ok(false);
        }
        let _starting = lock::exclusive(&self.data_dir.path().join("pg.lock"))?;
        if !cluster::check(&self.binaries, &self.data_dir)? {
            return Err(Error::NotADatabase { dir: self.data_dir.pgdata() });
        }
        tracing::warn!(process = self.pid(), "the database server died; starts it again");
        let port = self.running.port;
        let mut launch =
            Launch { binaries: &self.binaries, data_dir: &self.data_dir, settings: self.settings.clone() };
        (self.running, self.reattached) = launch.run(port..=port)?;
        Ok(true)
    }

    /// Stops the server of this data directory, and no other: none running is success.
    pub fn stop(&self, mode: Mode, timeout: Duration) -> Result<(), Error> {
        match postmaster::find(&self.data_dir.pgdata()) {
            Some(running) => stop(&running, &self.data_dir.pgdata(), mode, timeout),
            None => Ok(()),
        }
    }
}

/// The signals of postgres(1).
fn stop(running: &Postmaster, pgdata: &Path, mode: Mode, timeout: Duration) -> Result<(), Error> {
    let signal = match mode {
        Mode::Smart => Signal::TERM,
        Mode::Fast => Signal::INT,
        Mode::Immediate => Signal::QUIT,
    };
    let sent = postmaster::raw(running.pid).map(|pid| rustix::process::kill_process(pid, signal));
    match sent {
        // Gone between the look and the signal.
        Some(Err(rustix::io::Errno::SRCH)) => return Ok(()),
        Some(Err(error)) => return Err(Error::io(pgdata, error.into())),
        Some(Ok(())) | None => {}
    }
    if wait_until(timeout, || !postmaster::serves(running.pid, pgdata)) {
        return Ok(());
    }
    Err(Error::StopTimeout { pid: running.pid, seconds: timeout.as_secs() })
}

/// What is needed to bring a server up, once and again.
struct Launch<'a> {
    binaries: &'a Binaries,
    data_dir: &'a DataDir,
    settings: Settings,
}

impl Launch<'_> {
    /// The running server, and whether it ran before. Tries until it runs, the ports are used up or it is hopeless.
    fn run(&mut self, mut ports: RangeInclusive<u16>) -> Result<(Postmaster, bool), Error> {
        let pgdata = self.data_dir.pgdata();
        let wanted = *ports.start();
        let socket_dir = self.data_dir.ensure_socket_dir()?;
        let patience = Instant::now() + LEFTOVERS;
        let mut port = self.next_port(&mut ports).ok_or(Error::PortBusy { port: wanted })?;
        loop {
            if let Some(running) = self.settled()? {
                return Ok((running, true));
            }
            postmaster::discard_foreign(&pgdata, &socket_dir)?;
            let said = match self.launch(&socket_dir, port)? {
                Ok(running) if self.listens(&running) => {
                    if running.port != wanted {
                        tracing::warn!(
                            wanted,
                            port = running.port,
                            "the port is taken by another program: uses the next free one"
                        );
                    }
                    return Ok((running, false));
                }
                Ok(running) => {
                    // Another program took 127.0.0.1 since we looked, and the server was content with ::1.
                    stop(&running, &pgdata, Mode::Fast, LEFTOVERS)?;
                    port = self.next_port(&mut ports).ok_or(Error::PortBusy { port: wanted })?;
                    continue;
                }
                Err(said) => said,
            };
            match log::cause(&said) {
                Cause::PortTaken => {
                    port = self.next_port(&mut ports).ok_or(Error::PortBusy { port: wanted })?;
                }
                Cause::StillInUse if Instant::now() < patience => {
                    wait_until(Duration::from_millis(200), || postmaster::find(&pgdata).is_some());
                }
                Cause::NoTls if self.settings.tcp => {
                    tracing::warn!("this PostgreSQL is built without TLS: it gets a Unix socket and no TCP");
                    self.settings.tcp = false;
                }
                Cause::StillInUse | Cause::NoTls | Cause::Other => {
                    return Err(log::failure(self.data_dir, &said));
                }
            }
        }
    }

    /// The running server when it is neither starting nor stopping any more; none if none runs.
    fn settled(&self) -> Result<Option<Postmaster>, Error> {
        let pgdata = self.data_dir.pgdata();
        let mut found = None;
        let settled = wait_until(RECOVERY, || {
            found = postmaster::find(&pgdata);
            found.as_ref().is_none_or(|running| running.ready)
        });
        match found {
            Some(running) if !settled => {
                Err(Error::NotReady { pid: running.pid, log: self.data_dir.log_dir() })
            }
            found => Ok(found),
        }
    }

    /// Starts the server and waits until it is ready; the inner error is what it said before it ended.
    fn launch(&self, socket_dir: &Path, port: u16) -> Result<Result<Postmaster, String>, Error> {
        self.settings.write(self.data_dir, self.binaries, socket_dir, port)?;
        let pgdata = self.data_dir.pgdata();
        let path = self.data_dir.start_log();
        let log = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(lock::NO_LINK)
            .open(&path)
            .at(&path)?;
        let mark = Mark::set(self.data_dir);
        let binary = self.binaries.dir().join("postgres");
        let mut command = self.data_dir.account().command(&binary);
        // Not by pg_ctl, which puts the path into a shell's command line. In a process group of its own, so that
        // a terminal's Ctrl-C, which is for us, does not reach it.
        command.arg("-D").arg(&pgdata).stdout(log.try_clone().at(&path)?).stderr(log).process_group(0);
        let mut child = command.spawn().at(&binary)?;
        let mut found = None;
        let mut ended = false;
        wait_until(RECOVERY, || {
            // An error says that it was reaped already, as a dead one.
            ended = !matches!(child.try_wait(), Ok(None));
            found = postmaster::find(&pgdata).filter(|running| running.pid == child.id() && running.ready);
            ended || found.is_some()
        });
        match found {
            Some(running) => Ok(Ok(running)),
            None if ended => Ok(Err(mark.since(self.data_dir))),
            None => Err(Error::NotReady { pid: child.id(), log: self.data_dir.log_dir() }),
        }
    }

    /// The next port that no program listens on, on any loopback address. Without TCP it is but the socket's name.
    fn next_port(&self, ports: &mut RangeInclusive<u16>) -> Option<u16> {
        let addresses = if self.settings.tcp { loopback() } else { Vec::new() };
        let taken = |address, port| {
            TcpListener::bind((address, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        };
        ports.find(|port| !addresses.iter().any(|address| taken(*address, *port)))
    }

    fn listens(&self, running: &Postmaster) -> bool {
        !self.settings.tcp || running.listens_on != "::1"
    }
}
