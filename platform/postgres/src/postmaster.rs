//! `postmaster.pid`, and whether its process is the server of this PGDATA: a process number alone proves nothing,
//! since after a crash or in a new container another program may have it. Not here: starting and stopping.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions};

use crate::error::{At, Error};

/// A running server, as its lock file tells (`pidfile.h` of PostgreSQL, one item per line).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) socket_dir: PathBuf,
    /// The first address that it could listen on; empty without TCP.
    pub(crate) listens_on: String,
    pub(crate) ready: bool,
}

impl Postmaster {
    /// The lines that are not written yet (the file grows while the server starts) stay empty.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
        Some(Self {
            pid: line(1).parse().ok()?,
            port: line(4).parse().unwrap_or(0),
            socket_dir: PathBuf::from(line(5)),
            listens_on: line(6).to_owned(),
            ready: line(8) == "ready",
        })
    }
}

/// The running server of this PGDATA, ready or not.
pub(crate) fn find(pgdata: &Path) -> Option<Postmaster> {
    read(&pgdata.join("postmaster.pid")).filter(|found| serves(found.pid, pgdata))
}

/// Any lock file of a server: all begin with the process.
fn read(file: &Path) -> Option<Postmaster> {
    Postmaster::parse(&fs::read_to_string(file).ok()?)
}

/// Whether a live process is the postmaster of this PGDATA.
pub(crate) fn serves(pid: u32, pgdata: &Path) -> bool {
    let arguments = arguments(pid);
    let named = arguments.first().and_then(|program| Path::new(program).file_name());
    if !is_alive(pid) || named.is_none_or(|name| name != "postgres" && name != "postmaster") {
        return false;
    }
    // The working directory is PGDATA, but a container's root may not read it of another user; the argument it may.
    let argument =
        arguments.iter().position(|argument| argument == "-D").and_then(|at| arguments.get(at + 1));
    let directory = fs::read_link(process(pid).join("cwd")).ok();
    directory.is_some_and(|dir| same(&dir, pgdata))
        || argument.is_some_and(|dir| same(Path::new(dir), pgdata))
}

/// Removes the lock files (of PGDATA, and of the sockets in the directory that is this server's alone) that name a
/// live process of another program: PostgreSQL would wait for that one for ever. A file of a dead process stays, for
/// the server itself judges that, by its shared memory too; so does any while a process of the old server is left.
pub(crate) fn discard_foreign(pgdata: &Path, socket_dir: &Path) -> Result<(), Error> {
    let sockets = fs::read_dir(socket_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let locks = sockets.filter(|path| path.extension().is_some_and(|extension| extension == "lock"));
    for file in locks.chain([pgdata.join("postmaster.pid")]) {
        let Some(named) = read(&file) else { continue };
        if is_alive(named.pid) && !serves(named.pid, pgdata) && !has_orphans(pgdata) {
            tracing::warn!(
                file = %file.display(), process = named.pid,
                "the lock file names another program's process; it is stale and removed"
            );
            fs::remove_file(&file).at(&file)?;
        }
    }
    Ok(())
}

/// Whether any process of a server is still at work in PGDATA. In doubt (its directory may not be read) it is.
fn has_orphans(pgdata: &Path) -> bool {
    let owner = fs::metadata(pgdata).map(|found| found.uid()).ok();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).any(|pid| {
        let title = arguments(pid).into_iter().next().unwrap_or_default();
        // A postmaster's children are titled "postgres: checkpointer" and the like.
        let is_server = title.as_bytes().starts_with(b"postgres:") || Path::new(&title).ends_with("postgres");
        is_server
            && is_alive(pid)
            && match fs::read_link(process(pid).join("cwd")) {
                Ok(dir) => same(&dir, pgdata),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
                Err(_) => fs::metadata(process(pid)).map(|found| found.uid()).ok() == owner,
            }
    })
}

/// Whether a process runs. A dead server that is our child (we started it, or we are a container's first process,
/// which inherits all) is reaped, for while it is a zombie PostgreSQL takes its number for a running server.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(process(pid).join("stat")) else { return false };
    // proc_pid_stat(5): the state follows the program's name in brackets, which may itself hold brackets.
    let Some((start, rest)) = stat.rsplit_once(')') else { return false };
    let dead = rest.trim_start().starts_with(['Z', 'X']);
    if dead
        && start.ends_with("(postgres")
        && let Some(pid) = raw(pid)
    {
        // Refused if it is not our child: then its parent reaps it.
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
    !dead
}

pub(crate) fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn arguments(pid: u32) -> Vec<std::ffi::OsString> {
    let line = fs::read(process(pid).join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| std::ffi::OsStr::from_bytes(argument).to_owned()).collect()
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lock_file_is_read_while_it_grows() {
        let whole = "42\n/srv/pg\n1764025000\n5433\n/srv/run\n127.0.0.1\n   5432001  98304\nready   \n";
        let found = Postmaster::parse(whole).unwrap();
        assert_eq!((found.pid, found.port, found.ready), (42, 5433, true));
        assert_eq!(
            (found.socket_dir.as_path(), found.listens_on.as_str()),
            (Path::new("/srv/run"), "127.0.0.1")
        );
        assert!(!Postmaster::parse(&whole.replace("ready   ", "stopping")).unwrap().ready);
        let part = Postmaster::parse("42\n/srv/pg\n").unwrap();
        assert_eq!((part.pid, part.port, part.ready), (42, 0, false));
        assert!(Postmaster::parse("").is_none());
        assert!(Postmaster::parse("-42\n/srv/pg\n").is_none(), "a single-user server is no postmaster");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "[0-9a-z/\n -]{0,200}") {
            if let Some(found) = Postmaster::parse(&text) {
                prop_assert!(text.trim_start().starts_with(|first: char| first.is_ascii_digit()));
                prop_assert!(text.contains(&found.pid.to_string()));
            }
        }
    }

    #[test]
    fn a_process_of_another_program_is_no_server() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id();
        assert!(is_alive(me));
        assert!(!serves(me, dir.path()));
        assert!(!is_alive(u32::MAX));
        fs::write(dir.path().join("postmaster.pid"), format!("{me}\n{}\n", dir.path().display())).unwrap();
        assert_eq!(find(dir.path()), None);
        let sockets = tempfile::tempdir().unwrap();
        let socket = sockets.path().join(".s.PGSQL.5432.lock");
        fs::write(&socket, format!("{me}\n")).unwrap();
        discard_foreign(dir.path(), sockets.path()).unwrap();
        assert!(!dir.path().join("postmaster.pid").exists());
        assert!(!socket.exists());
    }

    #[test]
    fn the_lock_file_of_a_dead_process_is_left_to_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        fs::write(dir.path().join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        discard_foreign(dir.path(), dir.path()).unwrap();
        assert!(dir.path().join("postmaster.pid").exists());
    }

    #[test]
    fn a_dead_server_of_ours_is_reaped_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let limit = std::time::Duration::from_secs(5);
        for (name, reaped) in [("postgres", true), ("other", false)] {
            let program = dir.path().join(name);
            std::os::unix::fs::symlink("/bin/true", &program).unwrap();
            let mut child = std::process::Command::new(&program).spawn().unwrap();
            assert!(crate::wait::wait_until(limit, || !is_alive(child.id())));
            is_alive(child.id());
            assert_eq!(process(child.id()).exists(), !reaped, "{name}");
            assert_eq!(child.wait().is_err(), reaped, "{name}");
        }
    }
}
