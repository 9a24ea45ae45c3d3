//! The slots that hold a root key: which keys open them, and what may be taken away.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A public name of a key; it tells nothing about the key.
pub(crate) type KeyId = [u8; 8];

/// What kind of key opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = sgx::SlotKind)]
pub(crate) enum SlotKind {
    /// A key that an operator keeps: `SGX_ENCRYPTION_KEY`.
    Configured,
    /// The key that the platform gives to every enclave of one signer.
    Mrsigner,
    /// The key that the platform gives to this very enclave: an upgrade of it loses the key.
    Mrenclave,
}

impl SlotKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Mrsigner => "mrsigner",
            Self::Mrenclave => "mrenclave",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_one_spelling() {
        for kind in [SlotKind::Configured, SlotKind::Mrsigner, SlotKind::Mrenclave] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
