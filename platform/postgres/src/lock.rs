//! Kernel locks on files: the kernel releases them when the holder dies, by kill -9 too, so none goes stale.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::data_dir::DataDir;
use crate::error::{At, Error};

/// As root in a user's directory, a link laid there must not lead to a file of root's.
pub(crate) const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Held by the one running `nsl up` of a data directory, until it is dropped.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    pub fn acquire(data_dir: &DataDir) -> Result<Self, Error> {
        let path = data_dir.path().join("nsl.lock");
        let mut file = open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder writes its number just after it has the lock; read too early, it is empty.
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::AlreadyRunning { dir: data_dir.path().to_path_buf(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&path, error)),
        }
        file.set_len(0).at(&path)?;
        file.rewind().at(&path)?;
        writeln!(file, "{}", std::process::id()).at(&path)?;
        Ok(Self { _file: file })
    }
}

/// Waits for the lock on a file; it is held until the file is dropped.
pub(crate) fn exclusive(path: &Path) -> Result<File, Error> {
    let file = open(path)?;
    file.lock().at(path)?;
    Ok(file)
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINK);
    options.open(path).at(path)
}
