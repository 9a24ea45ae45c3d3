//! What a rotation moves, and what it states in the end: that nothing is left under the former key.

use std::fmt::Write as _;

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use nsl_crypto::digest::{Sha256Digest, sha256};
use nsl_crypto::envelope::{Kek, OpenError, WrappedKey};
use nsl_crypto::merkle::leaf_hash;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Place;

/// Whose keys a rotation replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = sgx::RotationScope)]
pub(crate) enum Scope {
    /// The tenant's sealing key: each value's data key is wrapped anew, no value is touched.
    #[default]
    Tenant,
    /// The root key of the installation: each sealing key of each tenant is wrapped anew.
    Root,
}

/// What a rotation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tenant,
    Root,
    /// As `Tenant`, and each value is sealed anew under a fresh data key.
    Reseal,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Root => "root",
            Self::Reseal => "reseal",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Tenant, Self::Root, Self::Reseal].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How far the walk over a tenant's rows is. It begins anew until it meets nothing under a former key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walk {
    pub at: At,
    /// Rows under a former key that this walk has met.
    pub met: u64,
    /// Rows of it whose data key does not open.
    pub damaged: u64,
}

/// The last row that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum At {
    Items { service: String, key: String },
    Versions { item_id: Uuid, version: i64 },
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Items { service: String::new(), key: String::new() }
    }
}

impl At {
    /// Before the first version.
    pub(crate) const VERSIONS: Self = Self::Versions { item_id: Uuid::nil(), version: 0 };
}

/// Moves a wrapped data key from one sealing key to another; the value that it opens stays as it is.
pub(crate) fn rewrap(
    place: &Place<'_>,
    wrapped: &[u8],
    from: (&Kek, i32),
    to: (&Kek, i32),
) -> Result<WrappedKey, OpenError> {
    let key = from.0.unwrap_key(wrapped, &place.data_key(from.1))?;
    Ok(to.0.wrap_key(&key, &place.data_key(to.1)))
}

/// The leaf of a value: `tenant (16) ‖ item (16) ‖ version (8) ‖ key version (4) ‖ SHA-256(wrapped data key)`, numbers big
/// endian.
pub(crate) fn value_leaf(
    tenant: TenantId,
    item_id: Uuid,
    version: i64,
    key_version: i32,
    wrapped: &[u8],
) -> Sha256Digest {
    let mut leaf = Vec::with_capacity(76);
    leaf.extend_from_slice(tenant.0.as_bytes());
    leaf.extend_from_slice(item_id.as_bytes());
    leaf.extend_from_slice(&version.to_be_bytes());
    leaf.extend_from_slice(&key_version.to_be_bytes());
    leaf.extend_from_slice(&sha256(wrapped));
    leaf_hash(&leaf)
}

/// The leaf of a key under the root key: `tenant (16; zeros: a key for secrets) ‖ version (4; 0: a key for secrets) ‖ root
/// key id (8) ‖ SHA-256(wrapped key)`.
pub(crate) fn key_leaf(tenant: Uuid, version: i32, root_key_id: &[u8], wrapped: &[u8]) -> Sha256Digest {
    let mut leaf = Vec::with_capacity(60);
    leaf.extend_from_slice(tenant.as_bytes());
    leaf.extend_from_slice(&version.to_be_bytes());
    leaf.extend_from_slice(root_key_id);
    leaf.extend_from_slice(&sha256(wrapped));
    leaf_hash(&leaf)
}

/// The first line of every statement.
pub(crate) const STATEMENT: &str = "nsl.sgx/rotation-statement/v1";

/// What a completed rotation says, line by line.
pub(crate) struct Statement<'a> {
    pub rotation_id: Uuid,
    pub tenant: TenantId,
    pub kind: Kind,
    pub from: &'a str,
    pub to: &'a str,
    /// Everything that was found under the new key; under an earlier one there was nothing.
    pub rows: u64,
    pub root: Sha256Digest,
    pub at: Timestamp,
}

impl Statement<'_> {
    /// The text that is signed.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{STATEMENT}\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "rotation {}", self.rotation_id);
        let _ = writeln!(text, "tenant {}", self.tenant);
        let _ = writeln!(text, "kind {}", self.kind.as_str());
        let _ = writeln!(text, "from {}", self.from);
        let _ = writeln!(text, "to {}", self.to);
        let _ = writeln!(text, "under-new-key {}", self.rows);
        let _ = writeln!(text, "under-former-keys 0");
        let _ = writeln!(text, "merkle-root sha256:{}", hex::encode(self.root));
        let _ = writeln!(text, "at {}", self.at);
        text
    }
}

#[cfg(test)]
mod tests {
    use nsl_crypto::key::Key256;

    use super::*;

    #[test]
    fn a_statement_says_one_thing_a_line() {
        let statement = Statement {
            rotation_id: Uuid::nil(),
            tenant: TenantId(Uuid::from_u128(1)),
            kind: Kind::Tenant,
            from: "1",
            to: "2",
            rows: 3,
            root: [0xab; 32],
            at: Timestamp::UNIX_EPOCH,
        };
        let expected = format!(
            "nsl.sgx/rotation-statement/v1\nrotation 00000000-0000-0000-0000-000000000000\n\
             tenant 00000000-0000-0000-0000-000000000001\nkind tenant\nfrom 1\nto 2\nunder-new-key 3\n\
             under-former-keys 0\nmerkle-root sha256:{}\nat 1970-01-01T00:00:00Z\n",
            "ab".repeat(32)
        );
        assert_eq!(statement.text(), expected);
    }

    #[test]
    fn a_data_key_moves_only_from_the_key_and_place_that_it_is_under() {
        let place = Place {
            tenant: TenantId::DEFAULT,
            service: "demo",
            key: "k",
            item_id: Uuid::from_u128(1),
            version: 1,
        };
        let (old, new) = (Kek::new(&Key256::generate()), Kek::new(&Key256::generate()));
        let data_key = Key256::generate();
        let wrapped = old.wrap_key(&data_key, &place.data_key(1));
        let moved = rewrap(&place, &wrapped, (&old, 1), (&new, 2)).unwrap();
        let opened = new.unwrap_key(&moved, &place.data_key(2)).unwrap();
        assert_eq!(opened.expose(), data_key.expose());
        assert!(rewrap(&place, &wrapped, (&old, 2), (&new, 3)).is_err());
        assert!(rewrap(&place, &wrapped, (&new, 1), (&new, 2)).is_err());
        let elsewhere = Place { key: "other", ..place };
        assert!(rewrap(&elsewhere, &wrapped, (&old, 1), (&new, 2)).is_err());
    }

    #[test]
    fn a_leaf_tells_everything_that_it_is_over() {
        let leaf = |tenant, item, version, key, wrapped: &[u8]| {
            value_leaf(TenantId(Uuid::from_u128(tenant)), Uuid::from_u128(item), version, key, wrapped)
        };
        let first = leaf(1, 2, 3, 4, b"wrapped");
        for other in [
            leaf(9, 2, 3, 4, b"wrapped"),
            leaf(1, 9, 3, 4, b"wrapped"),
            leaf(1, 2, 9, 4, b"wrapped"),
            leaf(1, 2, 3, 9, b"wrapped"),
            leaf(1, 2, 3, 4, b"other"),
        ] {
            assert_ne!(first, other);
        }
    }
}
