//! A real server, of whatever version this machine has, through its whole life: the public API alone, and `psql` as
//! the client. As root the server runs as the database user; what is about that switch is not tested otherwise.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// Disks that are full or read-only.
mod disk;
/// Start, reattach, crash, stop.
mod life;
/// Programs and users that are not ours.
mod others;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nsl_postgres::{Binaries, DataDir, Error, Mode, Server, Settings};
use rustix::process::{Pid, Signal};

const PASSWORD: &str = "it's a \"test\" \\ password";
const LIMIT: Duration = Duration::from_secs(20);

/// A data directory that the database user can enter; its server is gone at the end, whatever the test did.
struct Place {
    dir: tempfile::TempDir,
    data_dir: DataDir,
    binaries: Binaries,
}

/// Those of the major that the run is about (`make test-postgres`), or of this machine.
fn binaries() -> Binaries {
    let setting = std::env::var_os("NSL_PG_BIN");
    Binaries::find(setting.as_deref().map(Path::new), None).unwrap()
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("nsl-pg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data_dir = DataDir::resolve(Some(&dir.path().join("data")), Path::new(".nsl")).unwrap();
        Self { dir, data_dir, binaries: binaries() }
    }

    fn start(&self, settings: Settings) -> Result<Server, Error> {
        Server::start(&self.binaries, &self.data_dir, settings, PASSWORD)
    }

    /// Answers to one statement, through the socket.
    fn ask(&self, server: &Server, sql: &str) -> String {
        let output = self.psql(server, &format!("host={}", server.socket_dir().display()), sql, PASSWORD);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, server: &Server, target: &str, sql: &str, password: &str) -> Output {
        let mut psql = Command::new(self.binaries.tool("psql").unwrap());
        psql.env("PGPASSWORD", password).env("HOME", "/").current_dir("/").stdin(Stdio::null());
        psql.arg(format!("{target} port={} user=postgres dbname=postgres", server.port()));
        psql.args(["-XAtqc", sql]).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The postmaster's own number, for a test may have put another into its lock file.
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pgdata = self.data_dir.pgdata();
            let is_ours = line
                .split(|byte| *byte == 0)
                .any(|argument| argument == pgdata.as_os_str().as_encoded_bytes());
            if let Some(pid) =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_ours)
            {
                signal(pid, Signal::QUIT);
                wait_until(|| !is_alive(pid));
            }
        }
    }
}

/// Without fsync and TCP: what most tests need, and quick.
fn quick() -> Settings {
    Settings { tcp: false, durable: false, ..Settings::default() }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// A zombie is dead: the test program is the parent of the servers that it started.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition with a deadline")]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited for {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn stop(server: &Server) {
    server.stop(Mode::Fast, LIMIT).unwrap();
    assert!(!server.is_running());
}
