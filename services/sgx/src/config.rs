//! Section `SGX`.

use std::path::PathBuf;

use nsl_core::config::{ConfigError, Secret, Section, check_strength};
use nsl_crypto::key::Key256;
use serde::{Deserialize, Serialize};

use crate::domain::slot::SlotKind;
use crate::error::StartError;

/// The configuration of sealed storage.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct SgxConfig {
    /// True: the process runs in an SGX enclave under Gramine, and proves it at the start. It never falls back.
    pub enable_hardware_mode: bool,
    /// In hardware mode, the platform's key that opens the root key: `mrsigner` outlives an upgrade of the enclave,
    /// `mrenclave` does not.
    pub platform_key: PlatformKey,
    pub database: SealedDatabase,
    pub rotation: Rotations,
    pub scan: Scans,
    pub attestation: AttestationConfig,
}

/// When everything is opened and compared with the event log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Scans {
    /// A tenant's next scheduled scan comes so long after its last one.
    pub every_hours: u32,
    /// Rows that are opened in a second, at the most.
    pub rows_per_second: u32,
}

impl Default for Scans {
    fn default() -> Self {
        Self { every_hours: 24, rows_per_second: 1000 }
    }
}

/// How fast rotations go.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Rotations {
    /// Values whose data key is wrapped anew in a second, at the most.
    pub rows_per_second: u32,
}

impl Default for Rotations {
    fn default() -> Self {
        Self { rows_per_second: 2000 }
    }
}

/// One of the platform's keys, by what it is bound to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlatformKey {
    #[default]
    Mrsigner,
    Mrenclave,
}

impl From<PlatformKey> for SlotKind {
    fn from(key: PlatformKey) -> Self {
        match key {
            PlatformKey::Mrsigner => Self::Mrsigner,
            PlatformKey::Mrenclave => Self::Mrenclave,
        }
    }
}

/// How quotes are verified, those of others and the process's own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct AttestationConfig {
    /// Intel's collateral as JSON, one or a list of them; read again for each quote.
    pub collateral_file: Option<PathBuf>,
    /// A PCCS, or Intel's own service (`https://api.trustedservices.intel.com`), where the file has nothing that fits.
    pub pccs_url: Option<String>,
    /// For so long a verdict counts as fresh; never longer than its collateral.
    pub fresh_minutes: u32,
    /// In hardware mode, what this enclave has to be: 64 hexadecimal digits each.
    pub mr_enclave: Option<String>,
    pub mr_signer: Option<String>,
    /// In hardware mode, the states of the own platform that are accepted, by Intel's words.
    pub accepted_tcb_status: Vec<String>,
}

impl Default for AttestationConfig {
    fn default() -> Self {
        Self {
            collateral_file: None,
            pccs_url: None,
            fresh_minutes: 60,
            mr_enclave: None,
            mr_signer: None,
            accepted_tcb_status: vec!["UpToDate".to_owned()],
        }
    }
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
    /// Larger values are streamed: they come and go as octets only, and are kept in chunks. The largest value in JSON.
    pub inline_bytes: usize,
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
            inline_bytes: 1 << 20,
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

/// The size of a value is a positive `integer` in the database, and an upload must not take a day.
const LARGEST_LIMIT: usize = 64 << 20;
/// What a group commit can hold in memory, many times over.
const LARGEST_INLINE: usize = 8 << 20;
const SMALLEST_INLINE: usize = 1 << 10;

impl SgxConfig {
    /// The configured key that opens the root key; only in hardware mode it may be left out.
    pub(crate) fn configured_key(&self) -> Result<Option<Key256>, StartError> {
        let given = self.database.encryption_key.as_ref();
        if self.enable_hardware_mode && given.is_none_or(|key| key.expose().trim().is_empty()) {
            return Ok(None);
        }
        let secret = check_strength("SGX_ENCRYPTION_KEY", given, 32)?;
        let key = Key256::parse(secret.expose());
        key.map(Some).map_err(|error| StartError::RootKey(error.to_string()))
    }

    /// Refuses what cannot be or must not be served.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        let limit = self.database.max_value_bytes;
        if !(1..=LARGEST_LIMIT).contains(&limit) {
            return Err(StartError::ValueLimit { limit, largest: LARGEST_LIMIT });
        }
        let limit = self.database.inline_bytes;
        if !(SMALLEST_INLINE..=LARGEST_INLINE).contains(&limit) {
            return Err(StartError::InlineLimit {
                limit,
                smallest: SMALLEST_INLINE,
                largest: LARGEST_INLINE,
            });
        }
        if self.database.keep_versions == 0 {
            return Err(StartError::KeepVersions);
        }
        if self.attestation.fresh_minutes == 0 {
            return Err(StartError::NeverFresh);
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
        assert!(with(Some(hex)).configured_key().is_ok());
        for (key, says) in [
            (None, "SGX_ENCRYPTION_KEY is missing"),
            (Some("c2hvcnQ="), "shorter"),
            (Some("your_sgx_encryption_key"), "example"),
            (Some("0123456789 0123456789 0123456789 01"), "SGX_ENCRYPTION_KEY"),
        ] {
            let error = with(key).configured_key().err().unwrap().to_string();
            assert!(error.contains(says) && error.contains("nsl secrets"), "{error}");
        }
    }

    #[test]
    fn hardware_mode_needs_no_configured_key_and_takes_no_weak_one() {
        let hardware = |key| SgxConfig { enable_hardware_mode: true, ..with(key) };
        assert!(hardware(None).configured_key().unwrap().is_none());
        assert!(hardware(Some(" ")).configured_key().unwrap().is_none());
        assert!(hardware(Some("c2hvcnQ=")).configured_key().is_err());
        assert!(with(Some(" ")).configured_key().is_err());
    }
}
