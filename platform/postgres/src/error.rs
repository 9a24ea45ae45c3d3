//! What can go wrong, one clear line each that says what to do. Not here: the reading of the server's log (`log`).

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL server found; install one (apt install postgresql), or name the directory of its binaries (Database__BinDir, --pg-bin)"
    )]
    NotFound,
    #[error(
        "{} holds no PostgreSQL server: initdb and postgres must be there; correct Database__BinDir or --pg-bin", .dir.display()
    )]
    NotAServer { dir: PathBuf },
    #[error("{} cannot be used: {reason}; install PostgreSQL anew, or name another (Database__BinDir, --pg-bin)", .binary.display())]
    Broken { binary: PathBuf, reason: String },
    #[error(
        "PostgreSQL {version} in {} is too old; install 15 or newer, or name another (Database__BinDir, --pg-bin)", .dir.display()
    )]
    TooOld { dir: PathBuf, version: String },
    #[error(
        "PostgreSQL must not run as root, and no user for it could be made ({reason}); make one: useradd --system nsl-postgres"
    )]
    RunsAsRoot { reason: String },
    #[error(
        "the database user {user} cannot enter {}; choose a directory that it can (--data-dir), or open the path to it (chmod o+x)", .dir.display()
    )]
    CannotEnter { dir: PathBuf, user: String },
    #[error("{} belongs to {owner}, not to {user}; run as {owner}, or choose another --data-dir", .dir.display())]
    WrongOwner { dir: PathBuf, owner: String, user: String },
    #[error(
        "{} was made by PostgreSQL {found}, and the server found is {have}; install {found} or name its binaries (Database__BinDir, --pg-bin), or choose another --data-dir", .dir.display()
    )]
    ForeignMajor { dir: PathBuf, found: String, have: u32 },
    #[error("{} is not empty and holds no database; move it away, or choose another --data-dir", .dir.display())]
    NotADatabase { dir: PathBuf },
    #[error("nsl is already running on {}{}; stop it first, or choose another --data-dir", .dir.display(), .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyRunning { dir: PathBuf, pid: Option<u32> },
    #[error("port {port} on loopback is taken by another program; free it, or choose another (--pg-port)")]
    PortBusy { port: u16 },
    #[error("the disk of {} is full; free some space and start again", .dir.display())]
    DiskFull { dir: PathBuf },
    #[error("{} is on a read-only file system; mount it writable, or choose another --data-dir", .dir.display())]
    ReadOnly { dir: PathBuf },
    #[error("{} is not a private directory of the database user; remove it and start again", .dir.display())]
    SocketDir { dir: PathBuf },
    #[error("the superuser's password must be one line that is not empty; make one with: nsl secrets")]
    Password,
    #[error("{name:?} cannot be set: a name is letters, digits, _ and dots, a value is one line; correct it")]
    Setting { name: String },
    #[error("initdb failed: {lines}")]
    InitFailed { lines: String },
    #[error("PostgreSQL did not start: {lines} (its log is in {})", .log.display())]
    StartFailed { log: PathBuf, lines: String },
    #[error("PostgreSQL (process {pid}) is not ready yet, it may be recovering; look into {} and start again", .log.display())]
    NotReady { pid: u32, log: PathBuf },
    #[error(
        "PostgreSQL (process {pid}) has not stopped after {seconds} s; stop again, with Mode::Immediate if need be"
    )]
    StopTimeout { pid: u32, seconds: u64 },
    #[error(
        "the server's certificate could not be made: {0}; remove pg-tls in the data directory and start again"
    )]
    Certificate(#[from] rcgen::Error),
    #[error("{}: {source}; put that right and start again", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Error {
    /// An I/O error at `path`; a full and a read-only disk get their own line.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { dir: path.to_path_buf() }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { dir: path.to_path_buf() },
            _ => Self::Io { path: path.to_path_buf(), source },
        }
    }

    /// The same two causes in what a program said.
    pub(crate) fn disk(path: &Path, said: &str) -> Option<Self> {
        let dir = path.to_path_buf();
        if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
            Some(Self::DiskFull { dir })
        } else if said.contains("Read-only file system") {
            Some(Self::ReadOnly { dir })
        } else {
            None
        }
    }
}

/// Puts the path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_errors_have_their_own_line() {
        let path = Path::new("/data");
        let full = Error::io(path, io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.to_string(), "the disk of /data is full; free some space and start again");
        assert!(matches!(
            Error::disk(path, "initdb: could not write file: Read-only file system"),
            Some(Error::ReadOnly { .. })
        ));
        assert!(matches!(
            Error::disk(path, "cat: write error: No space left on device"),
            Some(Error::DiskFull { .. })
        ));
        assert!(Error::disk(path, "permission denied").is_none());
    }

    #[test]
    fn a_running_instance_is_named_by_its_process() {
        let dir = PathBuf::from("/data");
        let text = Error::AlreadyRunning { dir: dir.clone(), pid: Some(7) }.to_string();
        assert!(text.starts_with("nsl is already running on /data (process 7);"), "{text}");
        let text = Error::AlreadyRunning { dir, pid: None }.to_string();
        assert!(text.starts_with("nsl is already running on /data;"), "{text}");
    }
}
