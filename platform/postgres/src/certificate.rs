//! The server's certificate for loopback TCP, made at first start. Its authority signs this one certificate and its
//! key is thrown away, so that nobody can ever mint another that clients of this server would trust.
//! Not here: the certificates between nsl's own processes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::account::Account;
use crate::error::{At, Error};

pub(crate) const AUTHORITY: &str = "ca.crt";
pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";

const DAY: Duration = Duration::from_hours(24);
/// Ten years.
const VALID: Duration = Duration::from_hours(3650 * 24);

/// Makes the certificate in `dir` if it is not there: whole or not at all.
pub(crate) fn ensure(dir: &Path, account: &Account) -> Result<(), Error> {
    if dir.join(KEY).exists() {
        return Ok(());
    }
    let new = dir.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).at(&new)?;
    }
    DirBuilder::new().mode(0o755).create(&new).at(&new)?;
    // The umask may have taken the rights of others, and clients read the authority's certificate.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).at(&new)?;
    let (authority, certificate, key) = generate()?;
    write(&new.join(AUTHORITY), &authority, 0o644)?;
    write(&new.join(CERTIFICATE), &certificate, 0o644)?;
    write(&new.join(KEY), &key, 0o600)?;
    account.own(&new.join(KEY))?;
    fs::rename(&new, dir).at(dir)
}

/// The authority's certificate, the server's, and the server's key, in PEM.
fn generate() -> Result<(String, String, Zeroizing<String>), Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "nsl local PostgreSQL authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut server = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(String::from))?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    for params in [&mut authority, &mut server] {
        // A day back, for a client whose clock is behind.
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + VALID).into();
    }
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok((authority_certificate.pem(), certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn write(path: &Path, contents: &str, mode: u32) -> Result<(), Error> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).at(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).at(path)?;
    file.write_all(contents.as_bytes()).at(path)?;
    file.sync_all().at(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn made_once_with_a_private_key() {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("pg-tls");
        // What a killed start left behind is in nobody's way.
        fs::create_dir(dir.path().join("pg-tls.new")).unwrap();
        let account = Account::for_server().unwrap();
        ensure(&tls, &account).unwrap();
        let key = fs::metadata(tls.join(KEY)).unwrap();
        assert_eq!((key.mode() & 0o777, key.uid()), (0o600, account.uid()));
        assert_eq!(fs::metadata(tls.join(AUTHORITY)).unwrap().mode() & 0o777, 0o644);
        let first = fs::read(tls.join(CERTIFICATE)).unwrap();
        ensure(&tls, &account).unwrap();
        assert_eq!(fs::read(tls.join(CERTIFICATE)).unwrap(), first);
    }
}
