//! Section `Smtp`: the server that takes our mail, and the address that links in it point at.

use std::path::PathBuf;

use nsl_core::config::{ConfigError, Secret};
use serde::{Deserialize, Serialize};

/// How the connection to the server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SmtpTls {
    /// Not at all: for a server on this host.
    None,
    /// The connection turns to TLS before anything is said; a server that does not is refused.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// The mail server. Without `Host` mail waits in the outbox until it expires.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct SmtpConfig {
    pub host: Option<String>,
    /// 587 with `startTls`, 465 with `tls`, 25 with `none`.
    pub port: Option<u16>,
    pub username: Option<String>,
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// The sender, such as `Neo Service Layer <no-reply@example.org>`.
    pub from: String,
    pub tls: SmtpTls,
    /// A certificate authority beside those of the system, as PEM.
    pub root_certificate: Option<PathBuf>,
    /// The page that takes the token from the mail: it is appended as `#token=…`, which no server is sent.
    pub public_url: String,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            username: None,
            password: None,
            from: "Neo Service Layer <no-reply@localhost>".to_owned(),
            tls: SmtpTls::default(),
            root_certificate: None,
            public_url: "http://127.0.0.1:8080".to_owned(),
        }
    }
}

impl SmtpConfig {
    /// The host of the server, where one is configured.
    pub(crate) fn server(&self) -> Option<&str> {
        self.host.as_deref().map(str::trim).filter(|host| !host.is_empty())
    }

    /// The port, or the one that the protection usually goes with.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            SmtpTls::None => 25,
            SmtpTls::StartTls => 587,
            SmtpTls::Tls => 465,
        })
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: &str| ConfigError::Value {
            key: format!("Smtp:{key}"),
            origin: "section Smtp".to_owned(),
            reason: reason.to_owned(),
        };
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(refuse("From", "expected an address, such as Name <name@example.org>"));
        }
        if !(self.public_url.starts_with("https://") || self.public_url.starts_with("http://"))
            || self.public_url.contains(|c: char| c.is_control() || c.is_whitespace() || c == '#')
        {
            return Err(refuse("PublicUrl", "expected the URL of a page, without a fragment"));
        }
        match (&self.username, &self.password) {
            (Some(_), None) => Err(refuse("Password", "a username needs its password")),
            (None, Some(_)) => Err(refuse("Username", "a password needs its username")),
            // Whoever listens on the way would have the password.
            (Some(_), Some(_)) if self.tls == SmtpTls::None => {
                Err(refuse("Tls", "a password is only sent under startTls or tls"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_or_is_not_safe_is_refused_by_name() {
        assert!(SmtpConfig::default().validate().is_ok());
        let secret = || Some(Secret::new("q7RkV2nLx0Zt".to_owned()));
        for (config, at_fault) in [
            (SmtpConfig { from: "nobody".to_owned(), ..SmtpConfig::default() }, "Smtp:From"),
            (SmtpConfig { public_url: "example.org".to_owned(), ..SmtpConfig::default() }, "Smtp:PublicUrl"),
            (SmtpConfig { public_url: "https://a/#b".to_owned(), ..SmtpConfig::default() }, "Smtp:PublicUrl"),
            (SmtpConfig { username: Some("ann".to_owned()), ..SmtpConfig::default() }, "Smtp:Password"),
            (SmtpConfig { password: secret(), ..SmtpConfig::default() }, "Smtp:Username"),
            (
                SmtpConfig {
                    username: Some("ann".to_owned()),
                    password: secret(),
                    tls: SmtpTls::None,
                    ..SmtpConfig::default()
                },
                "Smtp:Tls",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(at_fault), "{error}");
        }
    }

    #[test]
    fn each_protection_has_its_usual_port() {
        let port = |tls| SmtpConfig { tls, ..SmtpConfig::default() }.port();
        assert_eq!((port(SmtpTls::None), port(SmtpTls::StartTls), port(SmtpTls::Tls)), (25, 587, 465));
        assert_eq!(SmtpConfig { port: Some(2525), ..SmtpConfig::default() }.port(), 2525);
    }
}
