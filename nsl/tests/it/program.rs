//! The binary as a process. Its environment is empty but for what is given, so that nothing of the machine's owner
//! (variables, a saved login, a settings file) is met.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nsl_testkit::eventually;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::PATIENCE;

/// A folder that processes run in.
pub(crate) struct Sandbox {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command that has ended left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its output, if it succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Its error, if it failed in order: exit code 1, nothing on stdout, and no panic.
    #[track_caller]
    pub(crate) fn failure(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        // In /tmp, which the database user can enter, and by a short path, which a socket needs.
        let dir = tempfile::Builder::new().prefix("nsl-it-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut variables = vec![("HOME".to_owned(), dir.path().join("home").to_str().unwrap().to_owned())];
        // For a run against another PostgreSQL, as the test kit takes it.
        for name in ["NSL_PG_BIN", "Database__BinDir"] {
            variables.extend(std::env::var(name).map(|value| ("Database__BinDir".to_owned(), value)));
        }
        variables.extend(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)));
        fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir, variables }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Any program in this environment.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.variables.iter().cloned())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn nsl(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_nsl"));
        command.args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        finish(&mut self.nsl(arguments))
    }

    /// The same, with a command that was put together elsewhere.
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::start(command, self.path())
    }

    /// Starts a command that stays.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.nsl(arguments), self.path())
    }
}

pub(crate) fn finish(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Outcome { code: output.status.code(), stdout: output.stdout, stderr }
}

/// A process that stays; killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Output goes to files, which never fill up as pipes do.
    fn start(mut command: Command, dir: &Path) -> Self {
        let name = uuid::Uuid::now_v7();
        let (stdout, stderr) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for a text on either output; a process that ends first fails the test.
    pub(crate) async fn says(&mut self, text: &str) {
        eventually(PATIENCE, text, async || {
            let said = [self.stdout(), self.stderr()].concat();
            if said.contains(text) {
                return true;
            }
            assert!(self.is_running(), "it ended without {text:?}: {said}");
            false
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// kill -9, and its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; tells how it ended, and how long that took.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let mut ended = None;
        eventually(PATIENCE, "the end of the process", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        (ended.unwrap(), asked.elapsed())
    }

    /// As [`Outcome`], when it has ended.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let (status, _) = self.ended().await;
        Outcome { code: status.code(), stdout: fs::read(&self.stdout).unwrap(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is reaped, and cannot be killed.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            for path in [&self.stdout, &self.stderr] {
                eprintln!("--- {}\n{}", path.display(), fs::read_to_string(path).unwrap_or_default());
            }
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // One that is gone already needs none.
    let _gone = rustix::process::kill_process(pid, signal);
}

/// A zombie is dead: whose child it is decides when it is reaped.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
