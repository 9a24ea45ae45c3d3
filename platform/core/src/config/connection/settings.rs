//! The keys of a connection string, and the step from their texts to typed values. Both forms end here.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Address, ConnectionString, ConnectionStringError, Host, SslMode};
use crate::config::secret::Secret;

/// PostgreSQL's port where none is given.
const DEFAULT_PORT: u16 = 5432;

pub(super) const PORT: &str = "a port from 1 to 65535";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Host,
    Port,
    Database,
    Username,
    Password,
    SslMode,
    TrustServerCertificate,
    RootCertificate,
    Pooling,
    MinimumPoolSize,
    MaximumPoolSize,
    ConnectionLifetime,
    ConnectionIdleLifetime,
    Timeout,
    CommandTimeout,
    ApplicationName,
    Keepalive,
    Options,
    IncludeErrorDetail,
}

/// Npgsql's name first, then its other names, then libpq's in a URL. Spaces and case do not matter.
const NAMES: &[(Key, &[&str], Option<&str>)] = &[
    (Key::Host, &["Host", "Server"], Some("host")),
    (Key::Port, &["Port"], Some("port")),
    (Key::Database, &["Database", "DB"], Some("dbname")),
    (Key::Username, &["Username", "User Name", "User Id", "User", "UID"], Some("user")),
    (Key::Password, &["Password", "PSW", "Pwd"], Some("password")),
    (Key::SslMode, &["SSL Mode"], Some("sslmode")),
    (Key::TrustServerCertificate, &["Trust Server Certificate"], None),
    (Key::RootCertificate, &["Root Certificate"], Some("sslrootcert")),
    (Key::Pooling, &["Pooling"], None),
    (Key::MinimumPoolSize, &["Minimum Pool Size", "Min Pool Size"], None),
    (Key::MaximumPoolSize, &["Maximum Pool Size", "Max Pool Size"], None),
    (Key::ConnectionLifetime, &["Connection Lifetime", "Load Balance Timeout"], None),
    (Key::ConnectionIdleLifetime, &["Connection Idle Lifetime"], None),
    (Key::Timeout, &["Timeout"], Some("connect_timeout")),
    (Key::CommandTimeout, &["Command Timeout"], None),
    (Key::ApplicationName, &["Application Name"], Some("application_name")),
    (Key::Keepalive, &["Keepalive"], Some("keepalives_idle")),
    (Key::Options, &["Options"], Some("options")),
    (Key::IncludeErrorDetail, &["Include Error Detail"], None),
];

impl Key {
    pub(super) fn from_npgsql(given: &str) -> Option<Self> {
        let plain = |name: &str| name.chars().filter(|c| *c != ' ').collect::<String>();
        let given = plain(given);
        let known = NAMES
            .iter()
            .find(|(_, names, _)| names.iter().any(|name| plain(name).eq_ignore_ascii_case(&given)));
        known.map(|(key, _, _)| *key)
    }

    pub(super) fn from_libpq(given: &str) -> Option<Self> {
        NAMES.iter().find(|(_, _, name)| *name == Some(given)).map(|(key, _, _)| *key)
    }

    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(key, _, _)| *key == self).map_or("", |(_, names, _)| names[0])
    }

    pub(super) fn npgsql_names() -> String {
        NAMES.iter().map(|(_, names, _)| names[0]).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn libpq_names() -> String {
        NAMES.iter().filter_map(|(_, _, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// What was given, still as text, each key once; the hosts with the ports that were written beside them.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<Key, Zeroizing<String>>,
    hosts: Vec<(Address, Option<u16>)>,
}

impl Settings {
    pub(super) fn set(&mut self, key: Key, value: Zeroizing<String>) -> Result<(), ConnectionStringError> {
        match self.values.insert(key, value) {
            None => Ok(()),
            Some(_) => Err(ConnectionStringError::Twice { key: key.name() }),
        }
    }

    pub(super) fn set_hosts(
        &mut self,
        hosts: Vec<(Address, Option<u16>)>,
    ) -> Result<(), ConnectionStringError> {
        if self.hosts.is_empty() {
            self.hosts = hosts;
            Ok(())
        } else {
            Err(ConnectionStringError::Twice { key: Key::Host.name() })
        }
    }

    pub(super) fn build(mut self) -> Result<ConnectionString, ConnectionStringError> {
        let port = self.parsed(Key::Port, PORT, port)?.unwrap_or(DEFAULT_PORT);
        let hosts: Vec<Host> = std::mem::take(&mut self.hosts)
            .into_iter()
            .map(|(address, own_port)| Host { address, port: own_port.unwrap_or(port) })
            .collect();
        if hosts.is_empty() {
            return Err(ConnectionStringError::Missing { key: Key::Host.name() });
        }
        let username = self.text(Key::Username);
        let database = self
            .text(Key::Database)
            .or_else(|| username.clone())
            .ok_or(ConnectionStringError::Missing { key: Key::Database.name() })?;
        let root_certificate = self.text(Key::RootCertificate).map(PathBuf::from);
        let ssl_mode = self.ssl_mode(root_certificate.is_some())?;
        if self.flag(Key::Pooling)? == Some(false) {
            return Err(ConnectionStringError::Unpooled);
        }
        // Accepted because legacy strings have it, whatever it says: no reply carries the database's detail,
        // and the log always does.
        self.flag(Key::IncludeErrorDetail)?;

        let min_pool_size =
            self.parsed(Key::MinimumPoolSize, "a whole number", |text| text.parse::<u32>().ok())?;
        let max_pool_size = self
            .parsed(Key::MaximumPoolSize, "a whole number from 1", |text| text.parse::<NonZeroU32>().ok())?;
        if min_pool_size.zip(max_pool_size).is_some_and(|(min, max)| min > max.get()) {
            return Err(ConnectionStringError::PoolSizes);
        }
        let connect_timeout = self.seconds(Key::Timeout)?;
        if connect_timeout.is_some_and(|timeout| timeout.is_zero()) {
            // Npgsql waits for ever. A process that waits so is one that never says why.
            return Err(ConnectionStringError::Value {
                key: Key::Timeout.name(),
                expected: "1 second or more",
            });
        }
        Ok(ConnectionString {
            hosts,
            database,
            username,
            password: self.values.remove(&Key::Password).filter(|text| !text.is_empty()).map(Secret::from),
            ssl_mode,
            root_certificate,
            min_pool_size,
            max_pool_size,
            connection_lifetime: self.seconds(Key::ConnectionLifetime)?,
            idle_lifetime: self.seconds(Key::ConnectionIdleLifetime)?,
            connect_timeout,
            command_timeout: self.seconds(Key::CommandTimeout)?,
            application_name: self.text(Key::ApplicationName),
            // Npgsql's 0 is its default, none.
            keepalive: self.seconds(Key::Keepalive)?.filter(|idle| !idle.is_zero()),
            options: self.text(Key::Options),
        })
    }

    /// Npgsql's meaning, but for one case: it ignores a root certificate under `Require`, where libpq verifies
    /// the authority (PostgreSQL manual, 34.19.4). Who names an authority wants it checked.
    fn ssl_mode(&self, has_root: bool) -> Result<SslMode, ConnectionStringError> {
        let expected = "one of Disable, Allow, Prefer, Require, VerifyCA, VerifyFull";
        let mode = self.parsed(Key::SslMode, expected, ssl_mode)?.unwrap_or(SslMode::Prefer);
        let trust = self.flag(Key::TrustServerCertificate)? == Some(true);
        match mode {
            SslMode::VerifyCa | SslMode::VerifyFull if trust => {
                Err(ConnectionStringError::TrustContradiction { mode: mode.npgsql_name() })
            }
            SslMode::Require if has_root && trust => {
                Err(ConnectionStringError::TrustContradiction { mode: "Require with a Root Certificate" })
            }
            SslMode::Require if has_root => Ok(SslMode::VerifyCa),
            SslMode::Disable | SslMode::Allow | SslMode::Prefer if has_root => {
                Err(ConnectionStringError::RootUnused { mode: mode.npgsql_name() })
            }
            mode => Ok(mode),
        }
    }

    fn given(&self, key: Key) -> Option<&str> {
        self.values.get(&key).map(|text| text.as_str()).filter(|text| !text.is_empty())
    }

    fn text(&self, key: Key) -> Option<String> {
        self.given(key).map(str::to_owned)
    }

    fn parsed<T>(
        &self,
        key: Key,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConnectionStringError> {
        let wrong = ConnectionStringError::Value { key: key.name(), expected };
        self.given(key).map(|text| parse(text.trim()).ok_or(wrong)).transpose()
    }

    fn flag(&self, key: Key) -> Result<Option<bool>, ConnectionStringError> {
        self.parsed(key, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        })
    }

    fn seconds(&self, key: Key) -> Result<Option<Duration>, ConnectionStringError> {
        let seconds = self.parsed(key, "a whole number of seconds", |text| text.parse::<u32>().ok())?;
        Ok(seconds.map(|seconds| Duration::from_secs(u64::from(seconds))))
    }
}

pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

fn ssl_mode(text: &str) -> Option<SslMode> {
    let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect();
    match plain.to_ascii_lowercase().as_str() {
        "disable" => Some(SslMode::Disable),
        "allow" => Some(SslMode::Allow),
        "prefer" => Some(SslMode::Prefer),
        "require" => Some(SslMode::Require),
        "verifyca" => Some(SslMode::VerifyCa),
        "verifyfull" => Some(SslMode::VerifyFull),
        _ => None,
    }
}
