//! Section `Wallet`: who may sign in with a wallet, and which site and chains the signed text names.

use std::net::SocketAddr;

use axum::http::Uri;
use nsl_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// The configuration of wallet sign-in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct WalletConfig {
    /// The site that wallets show and compare with the page they are asked by, such as `app.example.org`; without it,
    /// where `Http:Listen` is.
    pub domain: Option<String>,
    /// The address of the site; without it, that of the domain.
    pub uri: Option<String>,
    pub networks: NetworksConfig,
    /// Whether a wallet that no account has gets one at its first login.
    pub auto_register: bool,
    /// What such an account may do, as the name of a role.
    pub default_role: String,
}

/// The networks whose wallets may sign in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct NetworksConfig {
    /// Magics of Neo N3 networks.
    pub n3: Vec<u32>,
    /// Chain ids of EVM networks.
    pub evm: Vec<u64>,
}

impl Default for WalletConfig {
    fn default() -> Self {
        Self {
            domain: None,
            uri: None,
            networks: NetworksConfig::default(),
            auto_register: true,
            default_role: "User".to_owned(),
        }
    }
}

impl Default for NetworksConfig {
    /// Neo N3 and Neo X, each with its main and its test network.
    fn default() -> Self {
        Self { n3: vec![860_833_102, 894_710_606], evm: vec![47_763, 12_227_332] }
    }
}

/// The site that a signed text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// An authority as RFC 3986 has it: a host, and a port where it is not the scheme's own.
    pub(crate) domain: String,
    pub(crate) uri: String,
    /// Scheme and domain.
    pub(crate) origin: String,
}

impl WalletConfig {
    /// Takes the address of the listener for the domain, where none is configured.
    pub(super) fn or_at(mut self, listen: SocketAddr) -> Self {
        if self.domain.is_none() && self.uri.is_none() {
            let (ip, port) = (listen.ip(), listen.port());
            let is_local = ip.is_loopback() || ip.is_unspecified();
            self.domain = Some(if is_local { format!("localhost:{port}") } else { listen.to_string() });
        }
        self
    }

    /// The site, once both of its names fit together.
    pub(crate) fn site(&self) -> Result<Site, ConfigError> {
        let uri = match (&self.uri, &self.domain) {
            (Some(uri), _) => uri.clone(),
            (None, Some(domain)) => format!("{}://{domain}", scheme(domain)),
            (None, None) => "http://localhost".to_owned(),
        };
        let parsed = uri.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
        let authority = parsed.as_ref().and_then(Uri::authority).map(ToString::to_string);
        let Some(authority) = authority.filter(|authority| !authority.contains('@')) else {
            return Err(refuse("Uri", &format!("{uri} is no address such as https://app.example.org")));
        };
        let domain = self.domain.clone().unwrap_or_else(|| authority.clone());
        // EIP-4361: a wallet warns where the domain is not that of the page; a text whose two names differ is a
        // phisher's.
        if domain != authority {
            return Err(refuse("Domain", &format!("{domain} is not the host of Wallet:Uri, {authority}")));
        }
        let scheme = parsed.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
        Ok(Site { origin: format!("{scheme}://{domain}"), domain, uri })
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.site()?;
        if self.default_role.trim().is_empty() {
            return Err(refuse("DefaultRole", "expected the name of a role, such as User"));
        }
        Ok(())
    }
}

/// Browsers give wallets to pages of https, and of the machine itself.
fn scheme(domain: &str) -> &'static str {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    if matches!(host, "localhost" | "127.0.0.1" | "[::1]") { "http" } else { "https" }
}

fn refuse(key: &str, reason: &str) -> ConfigError {
    ConfigError::Value {
        key: format!("Wallet:{key}"),
        origin: "section Wallet".to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(domain: Option<&str>, uri: Option<&str>) -> Result<(String, String), String> {
        let config = WalletConfig {
            domain: domain.map(str::to_owned),
            uri: uri.map(str::to_owned),
            ..WalletConfig::default()
        };
        config.site().map(|site| (site.domain, site.uri)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_domain_and_an_address_imply_each_other() {
        for (domain, uri, expected) in [
            (None, None, ("localhost", "http://localhost")),
            (Some("app.example.org"), None, ("app.example.org", "https://app.example.org")),
            (Some("localhost:8080"), None, ("localhost:8080", "http://localhost:8080")),
            (
                None,
                Some("https://app.example.org/login"),
                ("app.example.org", "https://app.example.org/login"),
            ),
            (Some("a.org:444"), Some("https://a.org:444"), ("a.org:444", "https://a.org:444")),
        ] {
            assert_eq!(site(domain, uri), Ok((expected.0.to_owned(), expected.1.to_owned())));
        }
    }

    #[test]
    fn names_that_differ_or_are_none_are_refused() {
        for (domain, uri, at_fault) in [
            (Some("evil.example"), Some("https://app.example.org"), "Wallet:Domain"),
            (Some("app.example.org/x"), None, "Wallet:Domain"),
            (Some("a b"), None, "Wallet:Uri"),
            (Some(""), None, "Wallet:Uri"),
            (None, Some("app.example.org"), "Wallet:Uri"),
            (None, Some("https://user@app.example.org"), "Wallet:Uri"),
        ] {
            let error = site(domain, uri).unwrap_err();
            assert!(error.contains(at_fault), "{domain:?} {uri:?}: {error}");
        }
    }

    #[test]
    fn without_a_domain_the_listener_is_named() {
        let at = |listen: &str| WalletConfig::default().or_at(listen.parse().unwrap()).domain;
        assert_eq!(at("127.0.0.1:8080").as_deref(), Some("localhost:8080"));
        assert_eq!(at("0.0.0.0:80").as_deref(), Some("localhost:80"));
        assert_eq!(at("[2001:db8::1]:443").as_deref(), Some("[2001:db8::1]:443"));
        let named = WalletConfig { domain: Some("a.org".to_owned()), ..WalletConfig::default() };
        assert_eq!(named.or_at("127.0.0.1:1".parse().unwrap()).domain.as_deref(), Some("a.org"));
    }
}
