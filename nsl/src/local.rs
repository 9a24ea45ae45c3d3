//! What `nsl up` keeps below its data directory: secrets, the administrator's credentials, where its database is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nsl_core::config::{Secret, fresh};
use serde::{Deserialize, Serialize};

/// The name of the database in every guide and manifest.
pub(crate) const DATABASE: &str = "neo_service_layer";
/// The owner of every object.
pub(crate) const OWNER: &str = "neo_user";
/// The superuser of a server that `nsl up` initialised.
pub(crate) const SUPERUSER: &str = "postgres";

/// Where the local server listens; written by `nsl up`, read by `nsl db`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocalServer {
    pub socket_dir: PathBuf,
    pub port: u16,
    /// False where the server was built without TLS: it has the socket only.
    pub tcp: bool,
    pub ca_certificate: PathBuf,
    pub bin_dir: PathBuf,
}

/// The administrator that the first start made.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub url: String,
    pub username: String,
    pub password: String,
}

/// The directory of `nsl up`.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    dir: PathBuf,
}

impl Local {
    pub(crate) const DEFAULT: &'static str = ".nsl";

    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory that a command means: the one given, or the default.
    pub(crate) fn of(data_dir: Option<&Path>) -> Self {
        Self::at(data_dir.unwrap_or(Path::new(Self::DEFAULT)))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn secret_path(&self, name: &str) -> PathBuf {
        self.dir.join("secrets").join(name)
    }

    /// A secret of this installation; made at the first start.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<Secret> {
        let path = self.secret_path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Secret::new(text.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = fresh()?;
                create_private_dir(&self.dir.join("secrets"))?;
                write_private(&path, secret.expose().as_bytes())?;
                Ok(secret)
            }
            Err(error) => Err(error).with_context(|| format!("the secret {} cannot be read", path.display())),
        }
    }

    /// A secret that is there already.
    pub(crate) fn existing_secret(&self, name: &str) -> anyhow::Result<Secret> {
        let path = self.secret_path(name);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read: run this where `nsl up` runs, or give --data-dir", path.display())
        })?;
        Ok(Secret::new(text.trim_end().to_owned()))
    }

    pub(crate) fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        read_json(&self.dir.join("credentials.json"))
    }

    pub(crate) fn write_credentials(&self, credentials: &Credentials) -> anyhow::Result<()> {
        write_private(&self.dir.join("credentials.json"), &serde_json::to_vec_pretty(credentials)?)
    }

    pub(crate) fn remove_credentials(&self) -> anyhow::Result<()> {
        let path = self.dir.join("credentials.json");
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))
    }

    pub(crate) fn server(&self) -> anyhow::Result<Option<LocalServer>> {
        read_json(&self.dir.join("server.json"))
    }

    pub(crate) fn write_server(&self, server: &LocalServer) -> anyhow::Result<()> {
        write_private(&self.dir.join("server.json"), &serde_json::to_vec_pretty(server)?)
    }

    /// Variables that point at this installation's secrets, for what the environment leaves open.
    pub(crate) fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        for (variable, name) in [
            ("POSTGRES_PASSWORD", OWNER),
            ("Database__Roles__neo_api__Password", "neo_api"),
            ("Database__Roles__neo_enclave__Password", "neo_enclave"),
            ("Database__Roles__neo_jobs__Password", "neo_jobs"),
            ("JWT_SECRET_KEY", "jwt_secret_key"),
            ("SGX_ENCRYPTION_KEY", "sgx_encryption_key"),
        ] {
            // Made now where it is missing, so that the file can be pointed at.
            drop(self.secret(name)?);
            let path = self.secret_path(name);
            let path =
                path.to_str().context("the data directory's path is not UTF-8; choose another --data-dir")?;
            variables.push((format!("{variable}_FILE"), path.to_owned()));
        }
        Ok(variables)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it and run `nsl up` again", path.display())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

pub(crate) fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be made", path.display())),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        bail!("{} is not a file name", path.display());
    };
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| {
        // What was begun must not stay.
        let _absent = fs::remove_file(&draft);
        let hint = match error.kind() {
            io::ErrorKind::StorageFull => "the disk is full: make room and start again",
            io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only: choose another --data-dir",
            io::ErrorKind::PermissionDenied => "this user may not write there: choose another --data-dir",
            _ => "check the data directory",
        };
        anyhow::anyhow!("{} cannot be written: {error}; {hint}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::at(dir.path());
        let first = local.secret("neo_api").unwrap();
        assert_eq!(local.secret("neo_api").unwrap().expose(), first.expose());
        let mode = fs::metadata(local.secret_path("neo_api")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(local.existing_secret("other").is_err());
    }
}
