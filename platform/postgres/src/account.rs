//! The operating system's user that runs the server: the caller's own, or as root an unprivileged one, since
//! PostgreSQL refuses root. Not here: roles of the database.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{At, Error};

/// The user of Debian's and others' packages, and the one made where there is none.
const PACKAGED: &str = "postgres";
const MADE: &str = "nsl-postgres";
const PASSWD: &str = "/etc/passwd";
const SHELL: &str = "/bin/sh";

/// A user of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
    /// Whether programs must be switched to it: it is not the user that runs this process.
    switch: bool,
}

impl Account {
    /// Who is to run a new server: this process's user, or as root `postgres`, or else `nsl-postgres`, made if absent.
    pub fn for_server() -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        if uid != 0 {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self { name: name_of(uid), uid, gid, switch: false });
        }
        if let Some(account) = by_name(PACKAGED).or_else(|| by_name(MADE)) {
            return Ok(account);
        }
        make()?;
        by_name(MADE).ok_or_else(|| Error::RunsAsRoot { reason: format!("{MADE} is not in {PASSWD}") })
    }

    /// As root, the owner of what is there already, so that `sudo nsl up` on a user's own database keeps its owner.
    pub(crate) fn owner_of(path: &Path) -> Option<Self> {
        let owner = fs::metadata(path).ok()?;
        let root = rustix::process::geteuid().is_root();
        (root && owner.uid() != 0).then(|| Self {
            name: name_of(owner.uid()),
            uid: owner.uid(),
            gid: owner.gid(),
            switch: true,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether it is another user than this process's (this process is root).
    pub fn is_other(&self) -> bool {
        self.switch
    }

    /// A command to run as this user, with nothing of our environment. Messages are in English, since some are read.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null());
        if self.switch {
            // With a uid set, std clears the supplementary groups, which root may do.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this user can enter a directory. The kernel is asked as that user: access lists and mounts count too.
    pub(crate) fn can_enter(&self, dir: &Path) -> Result<bool, Error> {
        let mut command = self.command(Path::new(SHELL));
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().at(Path::new(SHELL))?.success())
    }

    /// Replaces a file in a directory of this user, as this user: see the crate's page on links laid there.
    pub(crate) fn write(&self, path: &Path, contents: &str) -> Result<(), Error> {
        let mut command = self.command(Path::new(SHELL));
        command
            .args(["-c", "umask 077; cat >\"$1.new\" && mv -f \"$1.new\" \"$1\"", "sh"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().at(Path::new(SHELL))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A broken pipe means that cat failed; its words below say why.
            let _ = stdin.write_all(contents.as_bytes());
        }
        let output = child.wait_with_output().at(path)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::disk(path, &said).unwrap_or_else(|| Error::io(path, std::io::Error::other(said))))
    }

    /// Gives a file to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        if self.switch { chown(path, Some(self.uid), Some(self.gid)).at(path) } else { Ok(()) }
    }
}

/// A user's name, or its number where the user database does not say (a directory service, a bare container).
pub(crate) fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
    entries(&passwd)
        .find(|entry| entry.1 == uid)
        .map_or_else(|| format!("user {uid}"), |entry| entry.0.to_owned())
}

fn by_name(name: &str) -> Option<Account> {
    let passwd = fs::read_to_string(PASSWD).ok()?;
    let (_, uid, gid) = entries(&passwd).find(|entry| entry.0 == name && entry.1 != 0)?;
    Some(Account { name: name.to_owned(), uid, gid, switch: true })
}

/// Name, uid and gid of each line of passwd(5).
fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((name, uid, gid))
    })
}

fn make() -> Result<(), Error> {
    tracing::info!(user = MADE, "makes a user for the database server");
    let output = Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", MADE])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::RunsAsRoot { reason: format!("useradd: {error}") })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::RunsAsRoot { reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_are_read_and_broken_ones_skipped() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken\npostgres:x:101:104:PostgreSQL,,,:/var/lib:/bin/sh\n+::::::\n";
        let found: Vec<_> = entries(text).collect();
        assert_eq!(found, [("root", 0, 0), ("postgres", 101, 104)]);
    }

    #[test]
    fn the_server_never_runs_as_root() {
        let account = Account::for_server().unwrap();
        assert_ne!(account.uid(), 0);
        let output = account.command(Path::new("/usr/bin/id")).arg("-u").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), account.uid().to_string());
        let output = account.command(Path::new("/usr/bin/env")).output().unwrap();
        let names: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        assert!(
            names.iter().all(|line| ["PATH=", "LC_ALL=", "PWD="].iter().any(|known| line.starts_with(known)))
        );
    }
}
