//! Where the server's binaries are, and of what version. Distributions keep them out of PATH, several majors side by
//! side. Not here: running them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// The oldest major that nsl supports.
const OLDEST: u32 = 15;

/// A directory with `initdb` and `postgres`, of one supported version.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
    version: Version,
}

/// The version that `postgres --version` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    /// As told, with the packager's addition.
    pub text: String,
}

impl Binaries {
    /// The setting if there is one; else PATH, then the usual places, newest first. With a `preferred` major (of a
    /// database that is there already, see `DataDir::major`) the first of that major, if there is any.
    pub fn find(setting: Option<&Path>, preferred: Option<u32>) -> Result<Self, Error> {
        if let Some(dir) = setting {
            let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
            if !is_server(&real) {
                return Err(Error::NotAServer { dir: dir.to_path_buf() });
            }
            return Self::at(real);
        }
        let mut candidates = on_path();
        candidates.extend(usual_places());
        Self::choose(candidates, preferred)
    }

    fn choose(candidates: Vec<PathBuf>, preferred: Option<u32>) -> Result<Self, Error> {
        let mut seen = BTreeSet::new();
        let mut first = None;
        let mut refused = None;
        for dir in candidates {
            if !seen.insert(dir.clone()) {
                continue;
            }
            match Self::at(dir) {
                Ok(found) if preferred.is_none_or(|major| found.version.major == major) => return Ok(found),
                Ok(found) => first = first.or(Some(found)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        first.ok_or_else(|| refused.unwrap_or(Error::NotFound))
    }

    fn at(dir: PathBuf) -> Result<Self, Error> {
        let binary = dir.join("postgres");
        let output = match Command::new(&binary).arg("--version").output() {
            Ok(output) => output,
            Err(error) => return Err(Error::Broken { binary, reason: error.to_string() }),
        };
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let Some(version) = Version::parse(&told) else {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Broken { binary, reason: if said.is_empty() { told } else { said } });
        };
        if version.major < OLDEST {
            return Err(Error::TooOld { dir, version: version.text });
        }
        Ok(Self { dir, version })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// A client tool (psql, pg_dump) of the same installation; some packages have the server alone.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_file().then_some(path)
    }

    /// Whether the server can load a library; asked of the usual neighbours of the binaries and of pg_config.
    pub(crate) fn has_library(&self, name: &str) -> bool {
        let told =
            self.tool("pg_config").and_then(|tool| Command::new(tool).arg("--pkglibdir").output().ok());
        let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        ["../lib", "../lib/postgresql"]
            .map(|place| self.dir.join(place))
            .into_iter()
            .chain(told)
            .any(|place| place.join(name).with_extension("so").is_file())
    }
}

impl Version {
    /// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; `18beta1` has no minor.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("postgres (PostgreSQL) ")?.trim();
        let digits = |from: &str| -> String { from.chars().take_while(char::is_ascii_digit).collect() };
        let major = digits(text);
        let minor = text[major.len()..].strip_prefix('.').map(digits).unwrap_or_default();
        Some(Self { major: major.parse().ok()?, minor: minor.parse().unwrap_or(0), text: text.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Behind links: Debian's PATH has wrappers for the clients, and only links to the server's own binaries.
fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| ["postgres", "initdb"].map(|name| dir.join(name)))
        .filter_map(|link| Some(fs::canonicalize(link).ok()?.parent()?.to_path_buf()))
        .filter(|dir| is_server(dir))
        .collect()
}

/// Debian and Ubuntu, Red Hat and SUSE by PGDG, Alpine, a build from source.
fn usual_places() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, bin) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/usr/local", "pgsql", "bin"),
    ] {
        let mut majors: Vec<(u32, PathBuf)> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let rest = name.to_str()?.strip_prefix(prefix)?;
                // No number: the one version of a build from source.
                let major = if rest.is_empty() { 0 } else { rest.parse().ok()? };
                Some((major, entry.path().join(bin)))
            })
            .collect();
        majors.sort();
        found.extend(majors.into_iter().rev().map(|(_, dir)| fs::canonicalize(&dir).unwrap_or(dir)));
    }
    found.retain(|dir| is_server(dir));
    found
}

fn is_server(dir: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pretender(version: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["initdb", "postgres"] {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn versions_are_read() {
        let version = Version::parse("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").unwrap();
        assert_eq!((version.major, version.minor), (15, 18));
        assert_eq!(version.to_string(), "15.18 (Debian 15.18-0+deb12u1)");
        let version = Version::parse("postgres (PostgreSQL) 18beta1").unwrap();
        assert_eq!((version.major, version.minor), (18, 0));
        assert!(Version::parse("postgres (EnterpriseDB) 15.1").is_none());
        assert!(Version::parse("postgres (PostgreSQL) devel").is_none());
    }

    #[test]
    fn an_old_server_is_refused_by_name() {
        let old = pretender("14.9");
        let error = Binaries::find(Some(old.path()), None).unwrap_err();
        assert!(matches!(error, Error::TooOld { .. }));
        assert!(error.to_string().starts_with("PostgreSQL 14.9 in "), "{error}");
    }

    #[test]
    fn a_setting_without_a_server_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Binaries::find(Some(empty.path()), None), Err(Error::NotAServer { .. })));
    }

    #[test]
    fn the_major_of_the_database_wins_over_the_order() {
        let (old, mid, new) = (pretender("14.1"), pretender("15.2"), pretender("17.3"));
        let all: Vec<_> = [&old, &new, &mid].map(|dir| dir.path().to_path_buf()).into();
        let major = |preferred| Binaries::choose(all.clone(), preferred).unwrap().version().major;
        assert_eq!(major(None), 17);
        assert_eq!(major(Some(15)), 15);
        assert_eq!(major(Some(16)), 17);
        assert!(matches!(Binaries::choose(all[..1].to_vec(), None), Err(Error::TooOld { .. })));
        assert!(matches!(Binaries::choose(Vec::new(), None), Err(Error::NotFound)));
    }
}
