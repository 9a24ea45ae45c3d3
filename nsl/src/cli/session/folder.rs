//! A login on disk: `session.json` in a folder, for its owner only, replaced whole and under a lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use nsl_client::{Secret, Tokens};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::variable;
use crate::cli::output;

/// A login that lasts over commands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    pub(super) url: String,
    pub(super) refresh_token: Secret,
    pub(super) access_token: Secret,
    pub(super) expires_at: Timestamp,
}

impl Stored {
    pub(super) fn new(url: &str, tokens: Tokens) -> anyhow::Result<Self> {
        let expires_at = Timestamp::now()
            .checked_add(SignedDuration::from_secs(tokens.expires_in.into()))
            .context("the access token's end is no time that can be")?;
        let Tokens { access_token, refresh_token, .. } = tokens;
        Ok(Self { url: url.to_owned(), refresh_token, access_token, expires_at })
    }
}

/// A folder with a `session.json`.
#[derive(Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// The user's own (XDG Base Directory Specification).
    pub(super) fn of_user() -> anyhow::Result<Self> {
        let config = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))
            .context("there is no folder for the login; set HOME or XDG_CONFIG_HOME")?;
        Ok(Self(config.join("nsl")))
    }

    fn file(&self) -> PathBuf {
        self.0.join("session.json")
    }

    /// None when there is none, or one of no use: a login makes it anew.
    pub(super) fn load(&self) -> anyhow::Result<Option<Stored>> {
        Ok(read_private(&self.file())?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Replaces the file whole, so that a reader sees the old one or the new one.
    pub(super) fn store(&self, stored: &Stored) -> anyhow::Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Text<'a> {
            url: &'a str,
            refresh_token: &'a str,
            access_token: &'a str,
            expires_at: Timestamp,
        }
        let text = Zeroizing::new(serde_json::to_vec_pretty(&Text {
            url: &stored.url,
            refresh_token: stored.refresh_token.expose(),
            access_token: stored.access_token.expose(),
            expires_at: stored.expires_at,
        })?);
        let path = self.file();
        let new = self.0.join(format!("session.json.{}", std::process::id()));
        // Left by a dead process of the same number; `create_new` follows no link laid in its place.
        let _ = fs::remove_file(&new);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&new, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", self.file().display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the folder where it is absent.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0).with_context(|| format!("cannot make the folder {}", self.0.display()))
    }

    /// Held until dropped. On the folder and not on the file, which is replaced under the lock.
    pub(super) fn lock(&self) -> anyhow::Result<File> {
        let locked = File::open(&self.0).and_then(|folder| folder.lock().map(|()| folder));
        locked.with_context(|| format!("cannot lock {}", self.0.display()))
    }
}

/// Reads a file that holds secrets. None when there is none.
fn read_private(path: &Path) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let read = match fs::read(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    warn_if_open(path);
    Ok(Some(Zeroizing::new(read)))
}

pub(super) fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0o600, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        let path = path.display();
        output::note(&format!(
            "warning: {path} holds secrets and is open to others; `chmod 600 {path}` closes it"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_login_is_for_its_owner_only_and_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_path_buf());
        assert!(folder.load().unwrap().is_none());
        let first = Stored {
            url: "http://s".to_owned(),
            refresh_token: Secret::new("r".to_owned()),
            access_token: Secret::new("a".to_owned()),
            expires_at: Timestamp::now(),
        };
        folder.store(&first).unwrap();
        folder.store(&first).unwrap();
        let read = folder.load().unwrap().unwrap();
        assert_eq!((read.url.as_str(), read.expires_at), ("http://s", first.expires_at));
        assert_eq!((read.refresh_token.expose(), read.access_token.expose()), ("r", "a"));
        assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(folder.file(), "{").unwrap();
        assert!(folder.load().unwrap().is_none());
        folder.remove().unwrap();
        folder.remove().unwrap();
    }
}
