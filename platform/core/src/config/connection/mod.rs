//! A connection string: where the database is and how to reach it. Two forms are read, that of Npgsql 8
//! (`npgsql.rs`) and PostgreSQL's URLs (`uri.rs`), into one typed value. Opening connections is not done here.

mod npgsql;
mod settings;
mod uri;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// How the connection is protected, with Npgsql 8's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// Encrypt only where the server insists.
    Allow,
    /// Encrypt where the server can.
    #[default]
    Prefer,
    /// Encrypt, and trust any certificate.
    Require,
    /// The certificate must come from the root certificate's authority.
    VerifyCa,
    /// It must also name the host.
    VerifyFull,
}

impl SslMode {
    fn npgsql_name(self) -> &'static str {
        match self {
            Self::Disable => "Disable",
            Self::Allow => "Allow",
            Self::Prefer => "Prefer",
            Self::Require => "Require",
            Self::VerifyCa => "VerifyCA",
            Self::VerifyFull => "VerifyFull",
        }
    }

    fn libpq_name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address (without brackets).
    Tcp(String),
    /// The directory of a Unix socket.
    Socket(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub address: Address,
    pub port: u16,
}

/// What a connection string says; `None` where it leaves the choice to the program.
pub struct ConnectionString {
    /// At least one; tried in order.
    pub hosts: Vec<Host>,
    pub database: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub ssl_mode: SslMode,
    /// The certificate authority that `VerifyCa` and `VerifyFull` trust.
    pub root_certificate: Option<PathBuf>,
    pub min_pool_size: Option<u32>,
    pub max_pool_size: Option<NonZeroU32>,
    /// How old a connection may grow before its pool closes it; zero is no limit.
    pub connection_lifetime: Option<Duration>,
    /// How long a connection may lie unused before its pool closes it; zero is no limit.
    pub idle_lifetime: Option<Duration>,
    /// Never zero.
    pub connect_timeout: Option<Duration>,
    /// For one statement; zero is no limit.
    pub command_timeout: Option<Duration>,
    pub application_name: Option<String>,
    /// Idle time before the first keepalive; never zero.
    pub keepalive: Option<Duration>,
    /// Settings for the session, as `-c name=value`.
    pub options: Option<String>,
}

/// No text of these shows a value, since the password may stand where it does not belong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    #[error(
        "part {part} of the connection string has no key=value; quote a value that holds ; like Password=\"a;b\""
    )]
    NoKey { part: usize },
    #[error("the value of {key} is not quoted well; write it in \" or ', and double that sign inside it")]
    Quoting { key: String },
    #[error("{key} is not a key of the connection string; the keys are {known}")]
    UnknownKey { key: String, known: String },
    #[error(
        "part {part} of the connection string is not known; quote a value that holds ; and use only {known}"
    )]
    UnknownPart { part: usize, known: String },
    #[error("{key} is given twice (two of its names count as one); keep one")]
    Twice { key: &'static str },
    #[error("the connection string has no {key}; add it")]
    Missing { key: &'static str },
    #[error("{key} must be {expected}; correct the connection string")]
    Value { key: &'static str, expected: &'static str },
    #[error("the database URL is malformed: {reason}; write postgres://user:password@host:port/database")]
    Url { reason: &'static str },
    #[error(
        "SSL Mode={mode} checks the server's certificate and Trust Server Certificate=true does not; remove \
         Trust Server Certificate, and name the authority with Root Certificate if it is not a public one"
    )]
    TrustContradiction { mode: &'static str },
    #[error("Root Certificate has no effect with SSL Mode={mode}; use SSL Mode=VerifyFull, or remove it")]
    RootUnused { mode: &'static str },
    #[error("Minimum Pool Size is above Maximum Pool Size; lower one or raise the other")]
    PoolSizes,
    #[error("Pooling=false is not supported: every connection comes from a pool; remove Pooling")]
    Unpooled,
}

impl ConnectionString {
    /// Reads the Npgsql form or a `postgres://` URL.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let text = text.trim();
        let settings = match uri::without_scheme(text) {
            Some(rest) => uri::read(rest)?,
            None => npgsql::read(text)?,
        };
        settings.build()
    }

    /// A URL for libpq's programs (`nsl db url`), which holds the password when one is given. `options` replaces
    /// the connection string's own.
    pub fn to_url(&self, username: &str, password: Option<&Secret>, options: Option<&str>) -> Secret {
        uri::write(self, username, password, options.or(self.options.as_deref()))
    }

    /// The string for people, without the password.
    pub fn redacted(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(npgsql::host_text).collect();
        let mut text = format!("Host={};Database={}", hosts.join(","), self.database);
        if let Some(username) = &self.username {
            text.push_str(";Username=");
            text.push_str(username);
        }
        if self.password.is_some() {
            text.push_str(";Password=");
            text.push_str(super::secret::MASK);
        }
        text.push_str(";SSL Mode=");
        text.push_str(self.ssl_mode.npgsql_name());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        ConnectionString::parse(text).err().unwrap_or_else(|| panic!("{text} was accepted")).to_string()
    }

    #[test]
    fn the_guides_string_is_read() {
        let read = ConnectionString::parse(
            "Host=localhost;Port=5432;Database=neo_service_layer;Username=neo_user;Password=pw;SSL Mode=Require;\
             Trust Server Certificate=true",
        )
        .unwrap();
        assert_eq!(read.hosts, [Host { address: Address::Tcp("localhost".into()), port: 5432 }]);
        assert_eq!(
            (read.database.as_str(), read.username.as_deref()),
            ("neo_service_layer", Some("neo_user"))
        );
        assert_eq!(read.password.as_ref().unwrap().expose(), "pw");
        assert_eq!(read.ssl_mode, SslMode::Require);
        assert_eq!(
            read.redacted(),
            "Host=localhost:5432;Database=neo_service_layer;Username=neo_user;Password=••••;SSL Mode=Require"
        );
    }

    #[test]
    fn what_is_not_said_is_left_to_the_program() {
        let read = ConnectionString::parse("Host=db;Username=me").unwrap();
        assert_eq!(
            (read.hosts[0].port, read.database.as_str(), read.ssl_mode),
            (5432, "me", SslMode::Prefer)
        );
        assert!(read.password.is_none() && read.root_certificate.is_none() && read.options.is_none());
        assert_eq!([read.connect_timeout, read.command_timeout, read.keepalive], [None; 3]);
        assert_eq!([read.connection_lifetime, read.idle_lifetime], [None; 2]);
        assert_eq!((read.min_pool_size, read.max_pool_size), (None, None));
    }

    #[test]
    fn what_is_said_arrives() {
        let read = ConnectionString::parse(
            "Host=db;Database=d;Minimum Pool Size=1;Maximum Pool Size=2;Connection Lifetime=3;Timeout=4;\
             Connection Idle Lifetime=5;Command Timeout=0;Keepalive=7;Application Name=n;Options=-c a=b;\
             Include Error Detail=true;Pooling=true;SSL Mode=Allow",
        )
        .unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((read.min_pool_size, read.max_pool_size), (Some(1), NonZeroU32::new(2)));
        assert_eq!((read.connection_lifetime, read.connect_timeout), (seconds(3), seconds(4)));
        assert_eq!((read.idle_lifetime, read.command_timeout), (seconds(5), seconds(0)));
        assert_eq!((read.keepalive, read.ssl_mode), (seconds(7), SslMode::Allow));
        assert_eq!((read.application_name.as_deref(), read.options.as_deref()), (Some("n"), Some("-c a=b")));
        assert_eq!(ConnectionString::parse("Host=db;Database=d;Keepalive=0").unwrap().keepalive, None);
        for key in ["Timeout", "Maximum Pool Size"] {
            assert!(refusal(&format!("Host=db;Database=d;{key}=0")).contains(key));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for mode in ["VerifyCA", "verify-full", "Verify Full"] {
            let text = format!("Host=a;Database=d;SSL Mode={mode};Trust Server Certificate=true");
            assert!(refusal(&text).contains("Trust Server Certificate"), "{mode}");
        }
        assert!(refusal("Host=a;Database=d;Root Certificate=/ca.pem").contains("VerifyFull"));
        assert!(
            refusal("Host=a;Database=d;Minimum Pool Size=9;Maximum Pool Size=3")
                .contains("Maximum Pool Size")
        );
        assert!(refusal("Host=a;Database=d;Pooling=false").contains("Pooling"));
    }

    #[test]
    fn a_root_certificate_makes_require_verify_as_libpq_does() {
        let read =
            ConnectionString::parse("Host=a;Database=d;SSL Mode=Require;Root Certificate=/ca.pem").unwrap();
        assert_eq!(read.ssl_mode, SslMode::VerifyCa);
        let text =
            "Host=a;Database=d;SSL Mode=Require;Root Certificate=/ca.pem;Trust Server Certificate=true";
        assert!(refusal(text).contains("Trust Server Certificate"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_not_shown() {
        assert!(refusal("Database=d").contains("Host"));
        assert!(refusal("Host=a").contains("Database"));
        assert!(refusal("").contains("Host"));
        assert!(refusal("Host=a;Database=d;Port=hunter2").contains("Port"));
        for text in [
            "Host=a;Database=d;Port=hunter2",
            "Host=a;Password=x;hunter2",
            "Host=a;Password=x;hunter2!=3",
            "Host=a;Password=\"hunter2",
            "Host=a;Database=d;SSL Mode=hunter2",
            "Host=a:hunter2;Database=d",
            "postgres://u:hunter2@a:x/d",
            "postgres://u:hunter2%zz@a/d",
        ] {
            assert!(!refusal(text).contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_key_given_by_two_names_is_refused() {
        assert!(refusal("Host=a;Server=b;Database=d").contains("Host is given twice"));
        assert!(refusal("postgres://u@a/d?user=v").contains("Username is given twice"));
    }
}
