//! The directory that holds everything of a local server, and who may enter it. As root, the database user has to
//! get there too. Not here: what stands inside PGDATA (`cluster`).

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::certificate::AUTHORITY;
use crate::error::{At, Error};

/// Where root's default data directories lie when the database user cannot enter the working directory.
const SHARED: &str = "/var/lib/nsl";

/// `sun_path` of unix(7) has 108 bytes, one of them the final NUL.
const SOCKET_PATH_MAX: usize = 107;

/// An existing directory and the user that runs the server in it.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    account: Account,
}

impl DataDir {
    /// The directory given, or the default one, made if absent. A given one that the database user cannot enter is
    /// refused; the default one becomes a link to one under `/var/lib/nsl/` then.
    pub fn resolve(given: Option<&Path>, default: &Path) -> Result<Self, Error> {
        Self::resolve_with(given, default, Path::new(SHARED))
    }

    fn resolve_with(given: Option<&Path>, default: &Path, shared: &Path) -> Result<Self, Error> {
        let named = given.unwrap_or(default);
        let named = std::path::absolute(named).at(named)?;
        let mut place = behind_links(&named)?;
        let account = match Account::owner_of(&place.join("pg")) {
            Some(owner) => owner,
            None => Account::for_server()?,
        };
        if account.is_other() && !account.can_enter(existing(&place))? {
            // Only a default that nothing stands in yet may be moved elsewhere, and a link is the owner's own choice.
            let linked = fs::symlink_metadata(&named).is_ok_and(|found| found.is_symlink());
            let movable = given.is_none() && !linked && (!place.exists() || fs::remove_dir(&place).is_ok());
            if !movable {
                return Err(Error::CannotEnter { dir: place, user: account.name().to_owned() });
            }
            place = shared.join(short_hash(&named));
            make(shared, 0o755)?;
            make(&place, 0o711)?;
            symlink(&place, &named).at(&named)?;
            tracing::info!(
                directory = %place.display(), link = %named.display(), user = account.name(),
                "the database user cannot enter the default directory, so it is a link"
            );
        }
        make(&place, if account.is_other() { 0o711 } else { 0o700 })?;
        let path = fs::canonicalize(&place).at(&place)?;
        if account.is_other() && !account.can_enter(&path)? {
            return Err(Error::CannotEnter { dir: path, user: account.name().to_owned() });
        }
        Ok(Self { path, account })
    }

    /// Absolute and behind all links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user that runs the server here.
    pub fn account(&self) -> &Account {
        &self.account
    }

    pub fn pgdata(&self) -> PathBuf {
        self.path.join("pg")
    }

    /// The server's logs, one file per weekday.
    pub fn log_dir(&self) -> PathBuf {
        self.pgdata().join("log")
    }

    /// The certificate by which clients verify the server (`sslmode=verify-full`); there after the first start.
    pub fn ca_certificate(&self) -> PathBuf {
        self.tls_dir().join(AUTHORITY)
    }

    /// The major of the database that is here already.
    pub fn major(&self) -> Option<u32> {
        fs::read_to_string(self.pgdata().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    pub(crate) fn tls_dir(&self) -> PathBuf {
        self.path.join("pg-tls")
    }

    /// What the server said before its own log opened; replaced at each start.
    pub(crate) fn start_log(&self) -> PathBuf {
        self.path.join("pg-start.log")
    }

    /// The directory of the Unix socket, made if absent.
    pub(crate) fn ensure_socket_dir(&self) -> Result<PathBuf, Error> {
        let dir = self.socket_dir();
        match DirBuilder::new().mode(0o711).create(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::io(&dir, error)),
            _ => {}
        }
        // In /tmp anybody may have been there first: neither a link nor another's directory is taken.
        let found = fs::symlink_metadata(&dir).at(&dir)?;
        let ours = found.uid() == self.account.uid() || (self.account.is_other() && found.uid() == 0);
        if !found.is_dir() || !ours || found.mode() & 0o022 != 0 {
            return Err(Error::SocketDir { dir });
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).at(&dir)?;
        self.account.own(&dir)?;
        Ok(dir)
    }

    fn socket_dir(&self) -> PathBuf {
        let near = self.path.join("run");
        let longest = near.join(".s.PGSQL.65535");
        // The setting is a list: commas and quotes have a meaning in it.
        let plain = !near.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b'"'));
        if plain && near.to_str().is_some() && longest.as_os_str().len() <= SOCKET_PATH_MAX {
            near
        } else {
            PathBuf::from(format!("/tmp/nsl-{}", short_hash(&self.path)))
        }
    }
}

/// The place a name stands for, which need not exist; the target of a dangling link.
fn behind_links(named: &Path) -> Result<PathBuf, Error> {
    match fs::canonicalize(named) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other.at(named),
    }
    let parent = named.parent().unwrap_or(named);
    match fs::read_link(named) {
        Ok(target) => Ok(parent.join(target)),
        Err(_) => Ok(named.to_path_buf()),
    }
}

/// The nearest directory on the way that exists.
fn existing(place: &Path) -> &Path {
    place.ancestors().find(|path| path.exists()).unwrap_or(place)
}

/// Makes a directory with exactly these rights, whatever the umask; leaves an existing one as it is.
fn make(dir: &Path, mode: u32) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).at(parent)?;
    }
    DirBuilder::new().mode(mode).create(dir).at(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).at(dir)
}

fn short_hash(path: &Path) -> String {
    hex::encode(&Sha256::digest(path.as_os_str().as_bytes())[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// A directory that others can, or cannot, enter.
    fn directory(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        dir
    }

    #[test]
    fn a_given_directory_is_made_and_kept() {
        let dir = directory(0o755);
        let wanted = dir.path().join("a/b");
        let made = DataDir::resolve(Some(&wanted), Path::new(".nsl")).unwrap();
        assert_eq!(made.path(), fs::canonicalize(&wanted).unwrap());
        let others = fs::metadata(&wanted).unwrap().mode() & 0o077;
        assert_eq!(others, if is_root() { 0o011 } else { 0 });
        assert_eq!(made.major(), None);
    }

    #[test]
    fn a_given_directory_that_the_database_user_cannot_enter_is_refused_by_name() {
        if !is_root() {
            return; // no other user is involved
        }
        let dir = directory(0o700);
        let wanted = dir.path().join("data");
        let error = DataDir::resolve(Some(&wanted), Path::new(".nsl")).unwrap_err().to_string();
        assert!(error.contains(" cannot enter ") && error.contains(wanted.to_str().unwrap()), "{error}");
        assert!(!wanted.exists(), "nothing is made");
    }

    #[test]
    fn the_default_becomes_a_link_where_the_database_user_cannot_enter() {
        let (home, shared) = (directory(0o700), directory(0o755));
        let (default, shared) = (home.path().join(".nsl"), shared.path().join("nsl"));
        let made = DataDir::resolve_with(None, &default, &shared).unwrap();
        assert_eq!(made.path(), fs::canonicalize(&default).unwrap());
        assert_eq!(made.path().starts_with(&shared), is_root());
        assert_eq!(fs::symlink_metadata(&default).unwrap().is_symlink(), is_root());
        // The second time it is the same one, after the target was removed too.
        assert_eq!(DataDir::resolve_with(None, &default, &shared).unwrap().path(), made.path());
        fs::remove_dir(made.path()).unwrap();
        assert_eq!(DataDir::resolve_with(None, &default, &shared).unwrap().path(), made.path());
    }

    #[test]
    fn a_default_with_something_in_it_is_never_moved() {
        if !is_root() {
            return; // no other user is involved
        }
        let (home, shared) = (directory(0o700), directory(0o755));
        let default = home.path().join(".nsl");
        fs::create_dir(&default).unwrap();
        fs::write(default.join("credentials.json"), "{}").unwrap();
        let error = DataDir::resolve_with(None, &default, shared.path()).unwrap_err();
        assert!(matches!(error, Error::CannotEnter { .. }), "{error}");
        fs::remove_file(default.join("credentials.json")).unwrap();
        let made = DataDir::resolve_with(None, &default, shared.path()).unwrap();
        assert!(made.path().starts_with(shared.path()));
    }

    #[test]
    fn the_socket_lies_near_unless_its_path_is_too_long_or_odd() {
        let account = Account::for_server().unwrap();
        let at = |path: &str| DataDir { path: PathBuf::from(path), account: account.clone() }.socket_dir();
        assert_eq!(at("/srv/nsl"), Path::new("/srv/nsl/run"));
        // "/run/.s.PGSQL.65535" has 19 bytes.
        assert_eq!(at(&format!("/{}", "x".repeat(87))), PathBuf::from(format!("/{}/run", "x".repeat(87))));
        let long = at(&format!("/{}", "x".repeat(88)));
        assert!(long.starts_with("/tmp") && long.as_os_str().len() == "/tmp/nsl-01234567".len(), "{long:?}");
        assert!(at("/srv/a,b").starts_with("/tmp"));
    }

    #[test]
    fn a_socket_directory_of_somebody_else_is_not_taken() {
        let dir = directory(0o755);
        let data = DataDir::resolve(Some(dir.path()), Path::new(".nsl")).unwrap();
        let run = data.ensure_socket_dir().unwrap();
        assert_eq!(fs::metadata(&run).unwrap().uid(), data.account().uid());
        data.ensure_socket_dir().unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(data.ensure_socket_dir(), Err(Error::SocketDir { .. })));
        fs::remove_dir(&run).unwrap();
        symlink("/var", &run).unwrap();
        assert!(matches!(data.ensure_socket_dir(), Err(Error::SocketDir { .. })));
    }
}
