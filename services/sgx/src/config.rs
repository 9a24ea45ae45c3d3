//! Section `SGX`.

use nsl_core::config::{ConfigError, Secret, Section, check_strength};
use nsl_crypto::key::Key256;
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// The configuration of sealed storage.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct SgxConfig {
    /// Root key from the platform instead of `SGX_ENCRYPTION_KEY`.
    pub enable_hardware_mode: bool,
    pub database: SealedDatabase,
}

/// How values are kept in the database.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct SealedDatabase {
    /// False: new values are stored as they are (`encryption = none`). Refused on a listener beyond loopback.
    pub enable_encryption: bool,
    /// False stops the scheduled scan; a read is always checked.
    pub enable_integrity_checking: bool,
    /// Expired and deleted items are purged so many days after they became so.
    pub data_retention_days: u32,
    /// How many versions of an item are kept, the current one among them.
    pub keep_versions: u32,
    /// The largest value, in bytes.
    pub max_value_bytes: usize,
    /// 32 bytes, base64 or hex.
    #[serde(skip_serializing)]
    pub encryption_key: Option<Secret>,
}

impl Default for SealedDatabase {
    fn default() -> Self {
        Self {
            enable_encryption: true,
            enable_integrity_checking: true,
            data_retention_days: 90,
            keep_versions: 10,
            max_value_bytes: 1 << 20,
            encryption_key: None,
        }
    }
}

/// The section for the configuration's registry.
pub fn section() -> Result<Section, ConfigError> {
    Ok(Section::of::<SgxConfig>("SGX")?
        .secret("Database:EncryptionKey")
        .variable("SGX_ENCRYPTION_KEY", "Database:EncryptionKey"))
}

/// Beyond this a value would have to be streamed, which this build cannot.
const LARGEST_LIMIT: usize = 8 << 20;

impl SgxConfig {
    /// The root key that the configuration names, or why there is none.
    pub(crate) fn root_key(&self) -> Result<Key256, StartError> {
        if self.enable_hardware_mode {
            return Err(StartError::NoHardwareMode);
        }
        let secret = check_strength("SGX_ENCRYPTION_KEY", self.database.encryption_key.as_ref(), 32)?;
        Key256::parse(secret.expose()).map_err(|error| StartError::RootKey(error.to_string()))
    }

    /// Refuses what cannot be or must not be served.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        let limit = self.database.max_value_bytes;
        if !(1..=LARGEST_LIMIT).contains(&limit) {
            return Err(StartError::ValueLimit { limit, largest: LARGEST_LIMIT });
        }
        if self.database.keep_versions == 0 {
            return Err(StartError::KeepVersions);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: Option<&str>) -> SgxConfig {
        let mut config = SgxConfig::default();
        config.database.encryption_key = key.map(|key| Secret::new(key.to_owned()));
        config
    }

    #[test]
    fn the_root_key_is_32_bytes_in_base64_or_hex() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert!(with(Some(hex)).root_key().is_ok());
        for (key, says) in [
            (None, "SGX_ENCRYPTION_KEY is missing"),
            (Some("c2hvcnQ="), "shorter"),
            (Some("your_sgx_encryption_key"), "example"),
            (Some("0123456789 0123456789 0123456789 01"), "SGX_ENCRYPTION_KEY"),
        ] {
            let error = with(key).root_key().err().unwrap().to_string();
            assert!(error.contains(says) && error.contains("nsl secrets"), "{error}");
        }
    }

    #[test]
    fn hardware_mode_is_refused_and_never_falls_back() {
        let config = SgxConfig { enable_hardware_mode: true, ..SgxConfig::default() };
        assert!(matches!(config.root_key(), Err(StartError::NoHardwareMode)));
    }
}
