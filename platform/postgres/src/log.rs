//! The server's log since a mark, and what it means. A log file is appended to all day, so what an earlier start
//! left in it must not be read as this one's.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::data_dir::DataDir;
use crate::error::Error;

/// Enough for a failed start, which says some lines; a log of gigabytes is not read whole.
const READ_MAX: u64 = 64 * 1024;
/// The last lines that an error shows.
const SHOWN: usize = 4;

/// How long each file was.
pub(crate) struct Mark(HashMap<PathBuf, u64>);

/// Why a start failed, as far as it matters to the next try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another program has the port.
    PortTaken,
    /// Processes or memory of a killed server are still there, or another start was faster.
    StillInUse,
    /// The server is built without TLS.
    NoTls,
    Other,
}

impl Mark {
    pub(crate) fn set(data_dir: &DataDir) -> Self {
        Self(files(&data_dir.log_dir()).map(|file| (file.0, file.1)).collect())
    }

    /// All that was said since, before the server's own log opened and in it.
    pub(crate) fn since(&self, data_dir: &DataDir) -> String {
        let mut text = tail(&data_dir.start_log(), 0);
        for (path, length) in files(&data_dir.log_dir()) {
            // A file that is shorter now was truncated at its weekday's turn.
            let from = self.0.get(&path).copied().filter(|old| *old <= length).unwrap_or(0);
            text.push_str(&tail(&path, from));
        }
        text
    }
}

pub(crate) fn cause(text: &str) -> Cause {
    if text.contains("Address already in use") {
        Cause::PortTaken
    } else if text.contains("pre-existing shared memory block")
        || text.contains("lock file \"postmaster.pid\"")
    {
        Cause::StillInUse
    } else if text.contains("SSL is not supported by this build") {
        Cause::NoTls
    } else {
        Cause::Other
    }
}

/// The error of a start that failed for good.
pub(crate) fn failure(data_dir: &DataDir, text: &str) -> Error {
    Error::disk(data_dir.path(), text)
        .unwrap_or_else(|| Error::StartFailed { log: data_dir.log_dir(), lines: last_lines(text) })
}

/// The last lines of what a program said, in one. A line of the log that announces its own end tells nothing.
pub(crate) fn last_lines(text: &str) -> String {
    let told = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains("database system is shut down"));
    let lines: Vec<&str> = told.collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("; ")
}

fn files(dir: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(fs::Metadata::is_file)?.len())))
}

fn tail(path: &Path, from: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |found| found.len());
        let from = from.max(length.saturating_sub(READ_MAX));
        if file.seek(SeekFrom::Start(from)).is_ok() {
            // What cannot be read is missing in a message, no more.
            let _ = file.take(READ_MAX).read_to_end(&mut bytes);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let taken = "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\nFATAL:  could not create any TCP/IP sockets";
        assert_eq!(cause(taken), Cause::PortTaken);
        assert_eq!(
            cause("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use"),
            Cause::StillInUse
        );
        assert_eq!(cause("FATAL:  lock file \"postmaster.pid\" already exists"), Cause::StillInUse);
        assert_eq!(cause("LOG:  SSL is not supported by this build"), Cause::NoTls);
        assert_eq!(cause("FATAL:  configuration file contains errors"), Cause::Other);
    }

    #[test]
    fn only_what_is_new_is_read_and_the_end_shown() {
        let dir = tempfile::tempdir().unwrap();
        // The database user must be able to enter it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data_dir = DataDir::resolve(Some(dir.path()), Path::new(".nsl")).unwrap();
        fs::create_dir_all(data_dir.log_dir()).unwrap();
        let file = data_dir.log_dir().join("postgresql-Mon.log");
        fs::write(&file, "Address already in use\n").unwrap();
        let mark = Mark::set(&data_dir);
        fs::write(&file, "Address already in use\nFATAL:  new\nLOG:  database system is shut down\n")
            .unwrap();
        let text = mark.since(&data_dir);
        assert_eq!(last_lines(&text), "FATAL:  new");
        assert_eq!(cause(&text), Cause::Other);
        fs::write(&file, "short\n").unwrap();
        assert_eq!(mark.since(&data_dir), "short\n");
        assert_eq!(last_lines("1\n2\n\n3\n4\n5\n"), "2; 3; 4; 5");
    }
}
