//! The server's configuration files. `nsl.conf` is ours and rewritten at each start; `postgresql.conf` includes it
//! and is otherwise its owner's. Not here: settings of roles and databases.

use std::fs;
use std::path::Path;

use crate::binaries::Binaries;
use crate::certificate::{CERTIFICATE, KEY};
use crate::data_dir::DataDir;
use crate::error::{At, Error};

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The port to try first; a free one above it is taken when another program has it.
    pub port: u16,
    /// Whether to listen on loopback, by TLS only; a Unix socket there is always.
    pub tcp: bool,
    /// Whether commits survive a crash of the machine: off is for tests alone.
    pub durable: bool,
    /// Further settings by name; they win over ours.
    pub extra: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { port: 5432, tcp: true, durable: true, extra: Vec::new() }
    }
}

/// The migration guide's "PostgreSQL Configuration Highlights", then what a local server needs.
const SANE: &[(&str, &str)] = &[
    ("shared_buffers", "256MB"),
    ("effective_cache_size", "1GB"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "128MB"),
    ("random_page_cost", "1.1"),
    ("effective_io_concurrency", "200"),
    ("max_connections", "200"),
    ("wal_buffers", "16MB"),
    ("checkpoint_completion_target", "0.9"),
    ("checkpoint_timeout", "15min"),
    ("max_wal_size", "2GB"),
    ("password_encryption", "scram-sha-256"),
    ("ssl_min_protocol_version", "TLSv1.2"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // The causes of a failed start are read from the log, in English.
    ("lc_messages", "C"),
    // Seven files, each emptied at its weekday's turn: bounded without a job of ours.
    ("logging_collector", "on"),
    ("log_destination", "stderr"),
    ("log_directory", "log"),
    ("log_filename", "postgresql-%a.log"),
    ("log_rotation_age", "1d"),
    ("log_rotation_size", "0"),
    ("log_truncate_on_rotation", "on"),
    ("log_file_mode", "0600"),
    // Parameters hold sealed values and hashes: never in a log.
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
];

const NOT_DURABLE: &[(&str, &str)] =
    &[("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];

const HEADER: &str = "# Written by nsl at each start: changes are lost. Put your own into postgresql.conf, below its include.\n";
const INCLUDE: &str = "include = 'nsl.conf'";
const HBA_HEADER: &str = "# Written by nsl at each start: changes are lost.\n";
const HBA_LOCAL: &str = "local   all all              scram-sha-256\n";
const HBA_TCP: &str =
    "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl all all ::1/128      scram-sha-256\n";

impl Settings {
    /// Writes both files of PGDATA, and the include where it is missing; what is right already is left untouched.
    pub(crate) fn write(
        &self,
        data_dir: &DataDir,
        binaries: &Binaries,
        socket_dir: &Path,
        port: u16,
    ) -> Result<(), Error> {
        let pgdata = data_dir.pgdata();
        let account = data_dir.account();
        let replace = |name: &str, wanted: &str| -> Result<(), Error> {
            let path = pgdata.join(name);
            let found = fs::read_to_string(&path).unwrap_or_default();
            if found == wanted { Ok(()) } else { account.write(&path, wanted) }
        };
        replace("nsl.conf", &self.render(data_dir, binaries, socket_dir, port)?)?;
        let hba = if self.tcp { [HBA_LOCAL, HBA_TCP].concat() } else { HBA_LOCAL.to_owned() };
        replace("pg_hba.conf", &[HBA_HEADER, &hba].concat())?;
        let main = pgdata.join("postgresql.conf");
        let found = fs::read_to_string(&main).at(&main)?;
        if !found.lines().any(|line| line.trim() == INCLUDE) {
            replace("postgresql.conf", &format!("{found}\n{INCLUDE}\n"))?;
        }
        Ok(())
    }

    fn render(
        &self,
        data_dir: &DataDir,
        binaries: &Binaries,
        socket_dir: &Path,
        port: u16,
    ) -> Result<String, Error> {
        let tls = data_dir.tls_dir();
        let path = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::Setting { name: path.display().to_string() })
        };
        let mut text = HEADER.to_owned();
        for (name, value) in SANE {
            push(&mut text, name, value)?;
        }
        push(&mut text, "port", &port.to_string())?;
        push(&mut text, "unix_socket_directories", &path(socket_dir)?)?;
        if self.tcp {
            push(&mut text, "listen_addresses", &loopback().join(", "))?;
            push(&mut text, "ssl", "on")?;
            push(&mut text, "ssl_cert_file", &path(&tls.join(CERTIFICATE))?)?;
            push(&mut text, "ssl_key_file", &path(&tls.join(KEY))?)?;
        } else {
            push(&mut text, "listen_addresses", "")?;
        }
        if binaries.has_library("pg_stat_statements") {
            push(&mut text, "shared_preload_libraries", "pg_stat_statements")?;
        }
        for (name, value) in if self.durable { &[] } else { NOT_DURABLE } {
            push(&mut text, name, value)?;
        }
        for (name, value) in &self.extra {
            push(&mut text, name, value)?;
        }
        Ok(text)
    }
}

/// The loopback addresses of this machine: some have no IPv6.
pub(crate) fn loopback() -> Vec<&'static str> {
    let mut found = vec!["127.0.0.1"];
    if std::net::TcpListener::bind(("::1", 0)).is_ok() {
        found.push("::1");
    }
    found
}

/// One line, quoted as config.sgml says: quotes doubled, backslashes too since they escape.
fn push(text: &mut String, name: &str, value: &str) -> Result<(), Error> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    if name.is_empty() || !name.chars().all(plain) || value.contains(char::is_control) {
        return Err(Error::Setting { name: name.to_owned() });
    }
    let value = value.replace('\\', "\\\\").replace('\'', "''");
    text.push_str(&[name, " = '", &value, "'\n"].concat());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_quoted_and_lines_cannot_be_smuggled_in() {
        let mut text = String::new();
        push(&mut text, "a.b_1", r"it's a \ path").unwrap();
        assert_eq!(text, "a.b_1 = 'it''s a \\\\ path'\n");
        for (name, value) in [("", "x"), ("a b", "x"), ("a", "x\nfsync = off"), ("a\n", "x")] {
            assert!(matches!(push(&mut text, name, value), Err(Error::Setting { .. })), "{name:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_stays_one_quoted_string(value in "[ -~]{0,40}") {
            let mut text = String::new();
            push(&mut text, "a", &value).unwrap();
            let inner = text.strip_prefix("a = '").and_then(|rest| rest.strip_suffix("'\n")).unwrap();
            let mut read = String::new();
            let mut letters = inner.chars();
            while let Some(letter) = letters.next() {
                // What the server's scanner does: a doubled quote and an escaped backslash are one each.
                if letter == '\'' || letter == '\\' {
                    prop_assert_eq!(letters.next(), Some(letter));
                }
                read.push(letter);
            }
            prop_assert_eq!(read, value);
        }
    }
}
