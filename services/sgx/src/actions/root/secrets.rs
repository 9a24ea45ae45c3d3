//! Small secrets of other services, such as auth's signing keys. They are under keys of their own, which the root key
//! wraps: when the root key rotates, those few keys are wrapped anew and no secret is.

use std::collections::HashMap;

use nsl_core::ApiError;
use nsl_core::ports::SealedSecret;
use nsl_crypto::aad::Aad;
use nsl_crypto::envelope::{Kek, WrappedKey};
use zeroize::Zeroizing;

/// The keys of secrets, opened.
pub(super) struct SecretKeys {
    active: Vec<u8>,
    opened: HashMap<Vec<u8>, Kek>,
}

fn secret_key_place(purpose: &'static str, name: &str) -> Aad {
    Aad::new("nsl.sgx.secret-key.v1").text(purpose).text(name)
}

fn secret_place(purpose: &'static str, name: &str) -> Aad {
    Aad::new("nsl.sgx.secret.v1").text(purpose).text(name)
}

impl SecretKeys {
    /// `active` is the one that new secrets go under; None if it is not among the opened.
    pub(super) fn new(active: Vec<u8>, opened: HashMap<Vec<u8>, Kek>) -> Option<Self> {
        opened.contains_key(&active).then_some(Self { active, opened })
    }

    pub(super) fn seal(
        &self,
        purpose: &'static str,
        name: &str,
        secret: &[u8],
    ) -> Result<SealedSecret, ApiError> {
        let key = self.key(&self.active)?;
        let sealed = key.seal_value(secret, &secret_key_place(purpose, name), &secret_place(purpose, name));
        let mut bytes = sealed.wrapped_data_key.to_vec();
        bytes.extend_from_slice(&sealed.ciphertext);
        Ok(SealedSecret { bytes, root_key_id: self.active.clone() })
    }

    pub(super) fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let key = self.key(&sealed.root_key_id)?;
        let (wrapped, ciphertext) = sealed
            .bytes
            .split_at_checked(size_of::<WrappedKey>())
            .ok_or_else(|| ApiError::internal("a sealed secret is too short"))?;
        let opened = key
            .open_value(wrapped, ciphertext, &secret_key_place(purpose, name), &secret_place(purpose, name))
            .map_err(ApiError::internal)?;
        Ok(Zeroizing::new(opened.to_vec()))
    }

    fn key(&self, id: &[u8]) -> Result<&Kek, ApiError> {
        self.opened.get(id).ok_or_else(|| {
            ApiError::unavailable(
                "sgx.foreign_root_key",
                "A stored secret is under a key that this database does not have: it was restored from another one, or \
                 sealed with another SGX_ENCRYPTION_KEY. Restore all schemas from one dump.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use nsl_crypto::key::Key256;

    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_key_purpose_and_name() {
        let keys = [b"old", b"new"].map(|id| (id.to_vec(), Kek::new(&Key256::generate())));
        let keys = SecretKeys::new(b"new".to_vec(), keys.into()).unwrap();
        let sealed = keys.seal("auth.signing-key", "a", b"secret").unwrap();
        assert_eq!(sealed.root_key_id, b"new");
        assert_eq!(&**keys.open("auth.signing-key", "a", &sealed).unwrap(), b"secret");
        assert!(keys.open("auth.signing-key", "b", &sealed).is_err());
        assert!(keys.open("auth.totp", "a", &sealed).is_err());
        let former = SealedSecret { root_key_id: b"old".to_vec(), ..sealed.clone() };
        assert!(keys.open("auth.signing-key", "a", &former).is_err());
        let foreign = SealedSecret { root_key_id: vec![0; 8], ..sealed };
        assert_eq!(keys.open("auth.signing-key", "a", &foreign).unwrap_err().code, "sgx.foreign_root_key");
    }

    #[test]
    fn without_its_active_key_there_are_no_secret_keys() {
        assert!(SecretKeys::new(b"gone".to_vec(), HashMap::new()).is_none());
    }
}
