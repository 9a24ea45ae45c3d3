//! The keys of a connection string, and the step from their texts to typed values. Both forms end here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::{ConnectionString, ConnectionStringError, SslMode};
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

/// What was given, still as text, each key once; the host with the port that was written beside it.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<Key, Zeroizing<String>>,
    host: Option<(String, Option<u16>)>,
}

impl Settings {
    pub(super) fn set(&mut self, key: Key, value: Zeroizing<String>) -> Result<(), ConnectionStringError> {
        match self.values.insert(key, value) {
            None => Ok(()),
            Some(_) => Err(ConnectionStringError::Twice { key: key.name() }),
        }
    }

    pub(super) fn set_host(&mut self, host: (String, Option<u16>)) -> Result<(), ConnectionStringError> {
        match self.host.replace(host) {
            None => Ok(()),
            Some(_) => Err(ConnectionStringError::Twice { key: Key::Host.name() }),
        }
    }

    pub(super) fn build(mut self) -> Result<ConnectionString, ConnectionStringError> {
        let port = self.parsed(Key::Port, PORT, port)?;
        let (host, own_port) =
            self.host.take().ok_or(ConnectionStringError::Missing { key: Key::Host.name() })?;
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

        let minimum_pool_size =
            self.parsed(Key::MinimumPoolSize, "a whole number", |text| text.parse().ok())?;
        let maximum_pool_size = self.parsed(Key::MaximumPoolSize, "a whole number from 1", positive)?;
        if minimum_pool_size
            .zip(maximum_pool_size)
            .is_some_and(|(minimum, maximum): (usize, usize)| minimum > maximum)
        {
            return Err(ConnectionStringError::PoolSizes);
        }
        Ok(ConnectionString {
            host,
            port: own_port.or(port).unwrap_or(DEFAULT_PORT),
            database,
            username,
            password: self.values.remove(&Key::Password).filter(|text| !text.is_empty()).map(Secret::from),
            ssl_mode,
            root_certificate,
            minimum_pool_size,
            maximum_pool_size,
            lifetime_seconds: self.seconds(Key::ConnectionLifetime)?,
            idle_lifetime_seconds: self.seconds(Key::ConnectionIdleLifetime)?,
            timeout_seconds: self.parsed(Key::Timeout, "a whole number of seconds from 1", positive)?,
            command_timeout_seconds: self.seconds(Key::CommandTimeout)?,
            application_name: self.text(Key::ApplicationName),
            keepalive_seconds: self.seconds(Key::Keepalive)?,
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
            SslMode::Disable | SslMode::Prefer if has_root => {
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

    fn seconds(&self, key: Key) -> Result<Option<u32>, ConnectionStringError> {
        self.parsed(key, "a whole number of seconds", |text| text.parse().ok())
    }
}

fn positive<T: FromStr + Default + PartialOrd>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number > T::default())
}

pub(super) fn port(text: &str) -> Option<u16> {
    positive(text)
}

fn ssl_mode(text: &str) -> Option<SslMode> {
    let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect();
    match plain.to_ascii_lowercase().as_str() {
        "disable" => Some(SslMode::Disable),
        // The driver has no Allow. Prefer reaches the same servers and encrypts where Allow might not.
        "allow" | "prefer" => Some(SslMode::Prefer),
        "require" => Some(SslMode::Require),
        "verifyca" => Some(SslMode::VerifyCa),
        "verifyfull" => Some(SslMode::VerifyFull),
        _ => None,
    }
}
