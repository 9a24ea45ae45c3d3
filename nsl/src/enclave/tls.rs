//! TLS 1.3 with certificates on both ends, of one authority and nobody else's.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What one end shows, and the authority whose certificates it believes.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Arc<RootCertStore>,
}

impl Identity {
    pub(super) fn read(certificate: &[u8], key: &[u8], authority: &[u8]) -> anyhow::Result<Self> {
        let chain = certificates(certificate).context("Enclave:Certificate is no certificate in PEM")?;
        let key =
            PrivateKeyDer::from_pem_slice(key).context("Enclave:PrivateKey is no private key in PEM")?;
        let mut roots = RootCertStore::empty();
        for root in certificates(authority).context("Enclave:CaCertificate is no certificate in PEM")? {
            roots.add(root).context("Enclave:CaCertificate is no certificate of an authority")?;
        }
        anyhow::ensure!(!chain.is_empty(), "Enclave:Certificate holds no certificate");
        anyhow::ensure!(!roots.is_empty(), "Enclave:CaCertificate holds no certificate");
        Ok(Self { chain, key, authority: Arc::new(roots) })
    }

    /// The enclave's end: whoever shows no certificate of the authority is refused in the handshake.
    pub(super) fn server(self) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.authority, Arc::clone(&provider)).build()?;
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain, self.key)
            .context("Enclave:Certificate and Enclave:PrivateKey do not belong together")
    }

    /// The end of whoever asks the enclave.
    pub(super) fn client(self) -> anyhow::Result<ClientConfig> {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.authority)
            .with_client_auth_cert(self.chain, self.key)
            .context("Enclave:Certificate and Enclave:PrivateKey do not belong together")
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
