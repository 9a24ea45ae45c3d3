//! Section `Enclave`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use axum::http::Uri;
use nsl_core::config::{ConfigError, Secret, Section};
use serde::{Deserialize, Serialize};

use super::tls::Identity;

/// Both ends of the line between the enclave's process and the others. The certificates are PEM, usually by
/// `…_FILE`; each end has its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub(crate) struct EnclaveConfig {
    /// Where the enclave's process is, for those that ask it: `https://HOST:PORT`.
    pub url: Option<String>,
    /// Where the enclave's process listens.
    pub listen: SocketAddr,
    #[serde(skip_serializing)]
    pub certificate: Option<Secret>,
    #[serde(skip_serializing)]
    pub private_key: Option<Secret>,
    #[serde(skip_serializing)]
    pub ca_certificate: Option<Secret>,
}

impl Default for EnclaveConfig {
    fn default() -> Self {
        Self {
            url: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            certificate: None,
            private_key: None,
            ca_certificate: None,
        }
    }
}

/// The section for the configuration's registry. Certificates are no secrets; as such they can be given by file.
pub(crate) fn section() -> Result<Section, ConfigError> {
    Ok(Section::of::<EnclaveConfig>("Enclave")?
        .secret("Certificate")
        .secret("PrivateKey")
        .secret("CaCertificate"))
}

impl EnclaveConfig {
    /// Where the enclave's process is; None where nothing says so.
    pub(super) fn target(&self) -> anyhow::Result<Option<Uri>> {
        let Some(text) = self.url.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let uri: Uri = text.parse().with_context(|| format!("Enclave:Url is no URL: {text}"))?;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        if uri.scheme_str() != Some("https") || uri.host().is_none() || !matches!(path, "" | "/") {
            bail!("Enclave:Url is {text}; it takes https://HOST:PORT");
        }
        Ok(Some(uri))
    }

    /// What this end shows, and whom it believes.
    pub(super) fn identity(&self) -> anyhow::Result<Identity> {
        Identity::read(
            pem("Certificate", self.certificate.as_ref())?,
            pem("PrivateKey", self.private_key.as_ref())?,
            pem("CaCertificate", self.ca_certificate.as_ref())?,
        )
    }
}

fn pem<'a>(name: &str, secret: Option<&'a Secret>) -> anyhow::Result<&'a [u8]> {
    let secret = secret.filter(|secret| !secret.expose().trim().is_empty()).with_context(|| {
        format!(
            "Enclave:{name} is not set: `nsl secrets --enclave-certificates DIR` makes the certificates of both ends, \
             and Enclave__{name}_FILE names the file"
        )
    })?;
    Ok(secret.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enclave_is_reached_over_tls_only() {
        let of = |url: &str| EnclaveConfig { url: Some(url.to_owned()), ..EnclaveConfig::default() };
        assert!(EnclaveConfig::default().target().unwrap().is_none());
        assert!(of(" ").target().unwrap().is_none());
        for good in ["https://enclave:8443", "https://[::1]:8443/", "https://10.0.0.7"] {
            assert!(of(good).target().unwrap().is_some(), "{good}");
        }
        for bad in ["http://enclave:8443", "enclave:8443", "https://enclave/api", "https://enclave/?x", "/"] {
            assert!(of(bad).target().unwrap_err().to_string().contains("Enclave:Url"), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = EnclaveConfig::default().identity().err().unwrap().to_string();
        assert!(error.contains("Enclave:Certificate") && error.contains("nsl secrets"), "{error}");
    }
}
