//! The certificates of both ends. Their authority signs these two and its key is thrown away, so that nobody can ever
//! mint a third that the enclave would let in.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::local::{create_private_dir, write_private};

const DAY: Duration = Duration::from_hours(24);
/// Five years. Made anew they need a restart of both ends, and nothing else.
const VALID: Duration = Duration::from_hours(5 * 365 * 24);

pub(crate) const AUTHORITY: &str = "ca.crt";
pub(crate) const ENCLAVE: [&str; 2] = ["enclave.crt", "enclave.key"];
pub(crate) const API: [&str; 2] = ["api.crt", "api.key"];

/// Writes the authority's certificate and both ends' certificates and keys. `hosts` are the names and addresses by which
/// the enclave is reached.
pub(crate) fn write(dir: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let files: Vec<PathBuf> =
        [AUTHORITY].into_iter().chain(ENCLAVE).chain(API).map(|name| dir.join(name)).collect();
    if let Some(there) = files.iter().find(|path| path.exists()) {
        bail!("{} is there already: name another directory, or move it away", there.display());
    }
    create_private_dir(dir)?;
    let made = generate(hosts).context("the certificates cannot be made; check the names of the enclave")?;
    for (path, text) in files.iter().zip(made) {
        write_private(path, text.as_bytes())?;
    }
    Ok(())
}

/// In the order in which they are written.
fn generate(hosts: &[String]) -> anyhow::Result<[Zeroizing<String>; 5]> {
    let mut authority = params(&[], "nsl enclave authority")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let certificate = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    // One cannot stand for the other: what the API process has is no certificate of a server.
    let enclave = end(&issuer, hosts, "nsl enclave", ExtendedKeyUsagePurpose::ServerAuth)?;
    let api = end(&issuer, &[], "nsl api", ExtendedKeyUsagePurpose::ClientAuth)?;
    let [(enclave, enclave_key), (api, api_key)] = [enclave, api];
    Ok([certificate, enclave, enclave_key, api, api_key].map(Zeroizing::new))
}

fn end(
    issuer: &Issuer<'_, KeyPair>,
    hosts: &[String],
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> anyhow::Result<(String, String)> {
    let mut params = params(hosts, name)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn params(hosts: &[String], name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    // A day back, for a host whose clock is behind.
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + VALID).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::enclave::tls::Identity;

    #[test]
    fn both_ends_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certificates");
        write(&dir, &["enclave.internal".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
        for name in [ENCLAVE[1], API[1]] {
            let mode = std::fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let ends = |[certificate, key]: [&str; 2]| {
            Identity::read(&read(certificate), &read(key), &read(AUTHORITY)).unwrap()
        };
        assert!(ends(ENCLAVE).server().is_ok());
        assert!(ends(API).client().is_ok());
        assert!(ends([ENCLAVE[0], API[1]]).server().is_err());
        assert!(write(&dir, &[]).unwrap_err().to_string().contains("is there already"));
    }
}
