//! The root key, and what stands directly under it: the wrapping of tenant keys and of other services' secrets.

use async_trait::async_trait;
use nsl_core::ApiError;
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer};
use nsl_crypto::aad::Aad;
use nsl_crypto::digest::sha256;
use nsl_crypto::envelope::{Kek, OpenError, WrappedKey};
use nsl_crypto::key::Key256;
use zeroize::Zeroizing;

use crate::config::SgxConfig;
use crate::error::StartError;

/// The root of the key hierarchy: root → (HKDF) → wrapping keys → tenant keys → data keys → values.
pub struct RootKey {
    id: [u8; 8],
    tenant_keys: Kek,
    secrets: Kek,
    requests: Key256,
}

impl RootKey {
    /// The root key that the configuration names; refuses a missing, short or example one.
    pub fn from_config(config: &SgxConfig) -> Result<Self, StartError> {
        let root = config.root_key()?;
        Ok(Self {
            id: root.id(),
            tenant_keys: Kek::new(&root.derive(&[b"nsl.sgx.tenant-keys.v1"])),
            secrets: Kek::new(&root.derive(&[b"nsl.sgx.secrets.v1"])),
            requests: root.derive(&[b"nsl.sgx.requests.v1"]),
        })
    }

    /// A public name for the key; tells nothing about it.
    pub(crate) fn id(&self) -> &[u8; 8] {
        &self.id
    }

    /// A name for a request that holds secrets, which nobody without the root key can try guesses against.
    pub(crate) fn keyed_digest(&self, request: &[u8]) -> [u8; 32] {
        *self.requests.derive(&[&sha256(request)]).expose()
    }

    pub(crate) fn wrap_tenant_key(&self, tenant: TenantId, version: i32, key: &Key256) -> WrappedKey {
        self.tenant_keys.wrap_key(key, &tenant_key_place(tenant, version))
    }

    pub(crate) fn unwrap_tenant_key(
        &self,
        tenant: TenantId,
        version: i32,
        wrapped: &[u8],
    ) -> Result<Key256, OpenError> {
        self.tenant_keys.unwrap_key(wrapped, &tenant_key_place(tenant, version))
    }
}

fn tenant_key_place(tenant: TenantId, version: i32) -> Aad {
    Aad::new("nsl.sgx.tenant-key.v1").bytes(tenant.0.as_bytes()).number(u64::from(version.unsigned_abs()))
}

fn secret_key_place(purpose: &'static str, name: &str) -> Aad {
    Aad::new("nsl.sgx.secret-key.v1").text(purpose).text(name)
}

fn secret_place(purpose: &'static str, name: &str) -> Aad {
    Aad::new("nsl.sgx.secret.v1").text(purpose).text(name)
}

#[async_trait]
impl SecretSealer for RootKey {
    async fn seal(&self, purpose: &'static str, name: &str, secret: &[u8]) -> Result<SealedSecret, ApiError> {
        let sealed =
            self.secrets.seal_value(secret, &secret_key_place(purpose, name), &secret_place(purpose, name));
        let mut bytes = sealed.wrapped_data_key.to_vec();
        bytes.extend_from_slice(&sealed.ciphertext);
        Ok(SealedSecret { bytes, root_key_id: self.id.to_vec() })
    }

    async fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        if sealed.root_key_id != self.id {
            return Err(ApiError::unavailable(
                "sgx.foreign_root_key",
                "A stored secret is under another root key: give the SGX_ENCRYPTION_KEY that it was sealed with.",
            ));
        }
        let (wrapped, ciphertext) = sealed
            .bytes
            .split_at_checked(size_of::<WrappedKey>())
            .ok_or_else(|| ApiError::internal("a sealed secret is too short"))?;
        let opened = self
            .secrets
            .open_value(wrapped, ciphertext, &secret_key_place(purpose, name), &secret_place(purpose, name))
            .map_err(ApiError::internal)?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use nsl_core::config::Secret;

    use super::*;

    #[tokio::test]
    async fn a_secret_opens_only_under_its_purpose_and_name() {
        let mut config = SgxConfig::default();
        let key = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        config.database.encryption_key = Some(Secret::new(key.to_owned()));
        let root = RootKey::from_config(&config).unwrap();
        let sealed = root.seal("auth.signing-key", "a", b"secret").await.unwrap();
        assert_eq!(&**root.open("auth.signing-key", "a", &sealed).await.unwrap(), b"secret");
        assert!(root.open("auth.signing-key", "b", &sealed).await.is_err());
        assert!(root.open("auth.totp", "a", &sealed).await.is_err());
        let foreign = SealedSecret { root_key_id: vec![0; 8], ..sealed };
        let refusal = root.open("auth.signing-key", "a", &foreign).await.unwrap_err();
        assert_eq!(refusal.code, "sgx.foreign_root_key");
    }
}
