//! The slots that hold a root key: which keys open them, and what may be taken away.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

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

/// A slot that is not retired, as the rules need it.
pub(crate) struct OpenSlot<'a> {
    pub id: Uuid,
    pub root: &'a [u8],
    pub opener: &'a [u8],
    /// Its key is at hand, or an operator keeps it. A platform's key that is not at hand may be that of an enclave that is
    /// no more.
    pub openable: bool,
}

/// What becomes of a slot that an operator wants to retire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retirement {
    /// Nothing has this id, or it is retired already.
    Unknown,
    /// A root key that is in use could not be opened any more.
    Last,
    /// These go: the key's slots of every root key, since a key that may no longer open one must open none.
    Slots(Vec<Uuid>),
}

/// Decides over all slots that are not retired, of all root keys that are in use.
pub(crate) fn retire(slots: &[OpenSlot<'_>], wanted: Uuid) -> Retirement {
    let Some(slot) = slots.iter().find(|slot| slot.id == wanted) else {
        return Retirement::Unknown;
    };
    let (going, staying): (Vec<_>, Vec<_>) = slots.iter().partition(|other| other.opener == slot.opener);
    let opens = |root: &[u8]| staying.iter().any(|other| other.openable && other.root == root);
    if going.iter().all(|slot| opens(slot.root)) {
        Retirement::Slots(going.iter().map(|slot| slot.id).collect())
    } else {
        Retirement::Last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u128, root: &'static [u8], opener: &'static [u8]) -> OpenSlot<'static> {
        OpenSlot { id: Uuid::from_u128(number), root, opener, openable: true }
    }

    #[test]
    fn the_last_slot_of_any_root_key_stays() {
        let one = [slot(1, b"r", b"a")];
        assert_eq!(retire(&one, Uuid::from_u128(1)), Retirement::Last);
        let two = [slot(1, b"r", b"a"), slot(2, b"r", b"b")];
        assert_eq!(retire(&two, Uuid::from_u128(1)), Retirement::Slots(vec![Uuid::from_u128(1)]));
        assert_eq!(retire(&two, Uuid::from_u128(3)), Retirement::Unknown);
        // `b` opens the new root key alone: without `a` nothing opens the old one, which still wraps something.
        let rotated = [slot(1, b"old", b"a"), slot(2, b"new", b"a"), slot(3, b"new", b"b")];
        assert_eq!(retire(&rotated, Uuid::from_u128(2)), Retirement::Last);
        assert_eq!(retire(&rotated, Uuid::from_u128(3)), Retirement::Slots(vec![Uuid::from_u128(3)]));
    }

    #[test]
    fn a_slot_that_may_be_dead_is_no_reserve() {
        let former_enclave = OpenSlot { openable: false, ..slot(2, b"r", b"b") };
        assert_eq!(retire(&[slot(1, b"r", b"a"), former_enclave], Uuid::from_u128(1)), Retirement::Last);
    }

    #[test]
    fn a_key_goes_from_every_root_key() {
        let slots = [slot(1, b"o", b"a"), slot(2, b"n", b"a"), slot(3, b"o", b"b"), slot(4, b"n", b"b")];
        let gone = Retirement::Slots(vec![Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert_eq!(retire(&slots, Uuid::from_u128(2)), gone);
    }

    #[test]
    fn kinds_have_one_spelling() {
        for kind in [SlotKind::Configured, SlotKind::Mrsigner, SlotKind::Mrenclave] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
