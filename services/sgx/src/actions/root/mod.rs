//! The root keys, and what stands directly under them: the wrapping of tenant keys and of other services' secrets.
//!
//! A root key is random and lies in slots, each wrapped under a key that may open it. One root key is active; a
//! superseded one opens what is still under it. A database of the first build has none of this: there the configured
//! key itself is the root key, and it is taken over as such.

/// Opening the root keys at the start; making or taking over the first one.
mod open;
/// The next root key, and the end of a former one.
mod rotation;
/// Small secrets of other services.
mod secrets;
/// The keys that open slots, and slots opened with them.
mod slot;
/// Slots of the root keys: listed, added, tested, retired.
mod slots;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use nsl_core::ApiError;
use nsl_core::db::Db;
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer};
use nsl_crypto::aad::Aad;
use nsl_crypto::digest::sha256;
use nsl_crypto::envelope::{Kek, OpenError, WrappedKey};
use nsl_crypto::key::Key256;
use zeroize::Zeroizing;

use self::secrets::SecretKeys;
pub(crate) use self::slot::Opener;
pub(crate) use self::slots::{NewSlot, SlotInfo};
use crate::actions::platform::{Mode, Platform};
use crate::domain::slot::{KeyId, SlotKind};
use crate::store::roots as store;

/// The root of a key hierarchy: root → (HKDF) → wrapping keys → tenant keys → data keys → values.
struct Root {
    id: KeyId,
    /// For further slots of it.
    key: Key256,
    tenant_keys: Kek,
    secret_keys: Kek,
    requests: Key256,
}

impl Root {
    fn new(key: Key256) -> Self {
        Self {
            id: key.id(),
            tenant_keys: Kek::new(&key.derive(&[b"nsl.sgx.tenant-keys.v1"])),
            secret_keys: Kek::new(&key.derive(&[b"nsl.sgx.secret-keys.v1"])),
            requests: key.derive(&[b"nsl.sgx.requests.v1"]),
            key,
        }
    }
}

/// The root keys that are in use, opened.
struct Roots {
    active: Arc<Root>,
    /// The active one too.
    opened: HashMap<KeyId, Arc<Root>>,
}

/// Why a tenant's key does not come out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnwrapError {
    /// It is under a root key that this process has not opened: [`RootRing::reload`] may find it.
    UnknownRoot,
    /// It is not what was wrapped.
    Damaged(OpenError),
}

/// Every root key that is in use, and the keys at hand that open their slots.
pub struct RootRing {
    db: Db,
    openers: Vec<Opener>,
    roots: RwLock<Roots>,
    secrets: SecretKeys,
    /// In hardware mode only.
    platform: Option<Platform>,
}

impl RootRing {
    /// What this process stands on.
    pub fn mode(&self) -> Mode {
        if self.platform.is_some() { Mode::Hardware } else { Mode::Simulation }
    }

    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// The root key that new keys go under.
    pub(crate) fn active_id(&self) -> KeyId {
        self.read(|roots| roots.active.id)
    }

    /// A name for a request that holds secrets, which nobody without the root key can try guesses against. It changes with
    /// the root key.
    pub(crate) fn keyed_digest(&self, request: &[u8]) -> [u8; 32] {
        self.read(|roots| *roots.active.requests.derive(&[&sha256(request)]).expose())
    }

    pub(crate) fn has(&self, root_key_id: &[u8]) -> bool {
        self.root(root_key_id).is_some()
    }

    /// Wraps a tenant's key under the active root key, whose id has to be stored with it. Whoever stores it makes sure in
    /// the same statement that this root key is still the active one: another process may have made the next.
    pub(crate) fn wrap_tenant_key(
        &self,
        tenant: TenantId,
        version: i32,
        key: &Key256,
    ) -> (KeyId, WrappedKey) {
        let root = self.read(|roots| Arc::clone(&roots.active));
        (root.id, root.tenant_keys.wrap_key(key, &tenant_key_place(tenant, version)))
    }

    pub(crate) fn unwrap_tenant_key(
        &self,
        root_key_id: &[u8],
        tenant: TenantId,
        version: i32,
        wrapped: &[u8],
    ) -> Result<Key256, UnwrapError> {
        let root = self.root(root_key_id).ok_or(UnwrapError::UnknownRoot)?;
        let key = root.tenant_keys.unwrap_key(wrapped, &tenant_key_place(tenant, version));
        key.map_err(UnwrapError::Damaged)
    }

    /// The key at hand that a slot is for.
    pub(super) fn opener_of(&self, slot: &store::RootSlot) -> Option<&Opener> {
        self.openers.iter().find(|opener| opener.fits(slot))
    }

    /// The platform's key, where there is one of this kind.
    fn platform_opener(&self, kind: SlotKind) -> Option<&Opener> {
        self.openers.iter().find(|opener| opener.kind == kind)
    }

    fn root(&self, id: &[u8]) -> Option<Arc<Root>> {
        let id: KeyId = id.try_into().ok()?;
        self.read(|roots| roots.opened.get(&id).cloned())
    }

    fn read<T>(&self, look: impl FnOnce(&Roots) -> T) -> T {
        look(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, roots: Roots) {
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots;
    }
}

fn tenant_key_place(tenant: TenantId, version: i32) -> Aad {
    Aad::new("nsl.sgx.tenant-key.v1").bytes(tenant.0.as_bytes()).number(u64::from(version.unsigned_abs()))
}

/// Where a key for other services' secrets is wrapped.
fn secret_key_place(id: &[u8]) -> Aad {
    Aad::new("nsl.sgx.secret-keys.v1").bytes(id)
}

/// The `root_key_id` of a secret names the key for secrets that it is under: the root key above that one may change.
#[async_trait]
impl SecretSealer for RootRing {
    async fn seal(&self, purpose: &'static str, name: &str, secret: &[u8]) -> Result<SealedSecret, ApiError> {
        self.secrets.seal(purpose, name, secret)
    }

    async fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        self.secrets.open(purpose, name, sealed)
    }
}
