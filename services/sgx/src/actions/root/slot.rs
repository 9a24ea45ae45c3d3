//! The keys that open slots, and slots opened with them.

use nsl_crypto::aad::Aad;
use nsl_crypto::envelope::{Kek, WrappedKey};
use nsl_crypto::key::Key256;
use uuid::Uuid;

use super::Root;
use crate::domain::slot::{KeyId, SlotKind};
use crate::store::roots as store;

/// A key that may open slots: one that an operator keeps, or the platform's.
pub(crate) struct Opener {
    pub kind: SlotKind,
    pub id: KeyId,
    kek: Kek,
}

/// What became of a slot that a key was tried on.
pub(super) enum Tried {
    Opened(Root),
    /// It is for another key, or retired.
    NotFor,
    /// It is for this key, and not what was wrapped.
    Damaged,
}

impl Opener {
    pub(crate) fn new(kind: SlotKind, key: &Key256) -> Self {
        Self { kind, id: key.id(), kek: Kek::new(&key.derive(&[b"nsl.sgx.root-slot.v1"])) }
    }

    pub(crate) fn fits(&self, slot: &store::RootSlot) -> bool {
        slot.opener_id == self.id && slot.kind == self.kind.as_str()
    }

    /// Wraps a root key for a slot with this id.
    pub(super) fn wrap(&self, slot_id: Uuid, root: &Root) -> WrappedKey {
        self.kek.wrap_key(&root.key, &self.place(slot_id, &root.id))
    }

    pub(super) fn open(&self, slot: &store::RootSlot) -> Tried {
        let Some(wrapped) = slot.wrapped_root.as_ref().filter(|_| self.fits(slot)) else {
            return Tried::NotFor;
        };
        match self.kek.unwrap_key(wrapped, &self.place(slot.slot_id, &slot.root_key_id)).map(Root::new) {
            Ok(root) if root.id == *slot.root_key_id => Tried::Opened(root),
            _ => Tried::Damaged,
        }
    }

    fn place(&self, slot_id: Uuid, root_key_id: &[u8]) -> Aad {
        Aad::new("nsl.sgx.root-slot.v1")
            .bytes(slot_id.as_bytes())
            .bytes(root_key_id)
            .text(self.kind.as_str())
            .bytes(&self.id)
    }
}

/// A key as operators know it.
pub(crate) fn name(kind: &str, id: &[u8]) -> String {
    format!("{kind} key {}", hex::encode(id))
}
