//! PGDATA: initialised whole or not at all, and checked before a server touches it. Not here: its configuration.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::account::name_of;
use crate::binaries::Binaries;
use crate::data_dir::DataDir;
use crate::error::{At, Error};
use crate::log;

/// The role that initdb makes.
const SUPERUSER: &str = "postgres";
/// A directory (or password file) of an initdb that is not done; what remains of a killed one is removed.
const UNFINISHED: &str = "pg.init-";

/// Makes PGDATA if it is absent, and refuses one that is not for this server. The start's lock is held.
pub(crate) fn ensure(
    binaries: &Binaries,
    data_dir: &DataDir,
    durable: bool,
    password: &str,
) -> Result<(), Error> {
    sweep(data_dir.path());
    if !check(binaries, data_dir)? {
        initialise(binaries, data_dir, durable, password)?;
    }
    Ok(())
}

/// Whether there is a database; an error if it is not one for these binaries and this user.
pub(crate) fn check(binaries: &Binaries, data_dir: &DataDir) -> Result<bool, Error> {
    let dir = data_dir.pgdata();
    let foreign = |owner| Error::WrongOwner {
        dir: dir.clone(),
        owner: name_of(owner),
        user: data_dir.account().name().to_owned(),
    };
    let owner = match fs::metadata(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found.at(&dir)?.uid(),
    };
    let is_empty = match fs::read_dir(&dir) {
        // PGDATA is its owner's alone.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(foreign(owner)),
        entries => entries.at(&dir)?.next().is_none(),
    };
    let version = dir.join("PG_VERSION");
    if !version.exists() {
        return if is_empty { Ok(false) } else { Err(Error::NotADatabase { dir }) };
    }
    if owner != data_dir.account().uid() {
        return Err(foreign(owner));
    }
    let found = fs::read_to_string(&version).at(&version)?.trim().to_owned();
    let have = binaries.version().major;
    if found == have.to_string() { Ok(true) } else { Err(Error::ForeignMajor { dir, found, have }) }
}

fn initialise(binaries: &Binaries, data_dir: &DataDir, durable: bool, password: &str) -> Result<(), Error> {
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(Error::Password);
    }
    let account = data_dir.account();
    // A name of its own: an initdb whose starter was killed may still be writing into the last one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let new = data_dir.path().join(format!("{UNFINISHED}{}-{}", std::process::id(), now.as_nanos()));
    let secret = new.with_added_extension("pw");
    tracing::info!(version = %binaries.version(), directory = %data_dir.pgdata().display(), "initialises the database");

    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret).at(&secret)?;
    let guard = Removed(&secret);
    account.own(&secret)?;
    file.write_all(password.as_bytes()).and_then(|()| file.write_all(b"\n")).at(&secret)?;
    drop(file);
    DirBuilder::new().mode(0o700).create(&new).at(&new)?;
    account.own(&new)?;

    // C.UTF-8 sorts by code point and knows the letters' case; a C library without it has plain C.
    let mut outcome = run_initdb(binaries, data_dir, durable, &new, &secret, "C.UTF-8")?;
    if outcome.as_ref().is_err_and(|said| said.contains("invalid locale")) {
        outcome = run_initdb(binaries, data_dir, durable, &new, &secret, "C")?;
    }
    drop(guard);
    if let Err(said) = outcome {
        let _ = fs::remove_dir_all(&new);
        return Err(Error::disk(data_dir.path(), &said)
            .unwrap_or_else(|| Error::InitFailed { lines: log::last_lines(&said) }));
    }
    let pgdata = data_dir.pgdata();
    fs::rename(&new, &pgdata).at(&pgdata)?;
    if durable {
        File::open(data_dir.path()).and_then(|dir| dir.sync_all()).at(data_dir.path())?;
    }
    Ok(())
}

/// Runs initdb once; the inner error is what it said.
fn run_initdb(
    binaries: &Binaries,
    data_dir: &DataDir,
    durable: bool,
    dir: &Path,
    secret: &Path,
    locale: &str,
) -> Result<Result<(), String>, Error> {
    let initdb = binaries.dir().join("initdb");
    let mut command = data_dir.account().command(&initdb);
    command.arg("-D").arg(dir).arg("--pwfile").arg(secret);
    command.args(["--username", SUPERUSER, "--encoding=UTF8", "--locale", locale, "--data-checksums"]);
    command.args(["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--no-instructions"]);
    if !durable {
        command.arg("--no-sync");
    }
    let output = command.output().at(&initdb)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said) })
}

/// Removes what killed starts left. A leftover that cannot be removed is in nobody's way.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an interrupted start left");
            }
        }
    }
}

/// Removes a file at the end of its scope, on errors too.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the password file: remove it by hand");
        }
    }
}
