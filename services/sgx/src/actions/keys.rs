//! The key ring: each tenant's sealing keys, opened once and kept while the process lives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nsl_core::db::{Db, DbError, Login, UnitOfWork};
use nsl_core::ids::TenantId;
use nsl_crypto::envelope::{Kek, MAX_WRAPS};
use nsl_crypto::key::Key256;

use super::root::{RootRing, UnwrapError};
use crate::Result;
use crate::error::Error;
use crate::store::sealing_keys as store;

/// Wraps are reserved in blocks, so that counting them costs one write in so many puts.
const BLOCK: i64 = 1 << 16;

/// A sealing key of a tenant, ready for use.
pub(crate) struct SealingKey {
    pub version: i32,
    pub kek: Kek,
    /// Wraps that are reserved and not made yet.
    reserved: AtomicI64,
}

type Opened = HashMap<(TenantId, i32), Arc<SealingKey>>;

pub(crate) struct KeyRing {
    db: Db,
    root: Arc<RootRing>,
    opened: RwLock<Opened>,
    active: RwLock<HashMap<TenantId, Arc<SealingKey>>>,
}

impl KeyRing {
    pub(crate) fn new(db: &Db, root: Arc<RootRing>) -> Self {
        Self { db: db.clone(), root, opened: RwLock::default(), active: RwLock::default() }
    }

    pub(crate) fn root(&self) -> &Arc<RootRing> {
        &self.root
    }

    pub(crate) fn keyed_digest(&self, request: &[u8]) -> [u8; 32] {
        self.root.keyed_digest(request)
    }

    /// The key that new values of a tenant go under, with one wrap of it reserved. Made at first use; the next
    /// version is made before a key reaches its limit.
    pub(crate) async fn for_sealing(&self, tenant: TenantId) -> Result<Arc<SealingKey>> {
        loop {
            let known = self.active.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
            let key = match known {
                Some(key) => key,
                None => self.load_active(tenant).await?,
            };
            if key.reserved.fetch_sub(1, Ordering::Relaxed) > 0 || self.reserve(tenant, &key).await? {
                return Ok(key);
            }
        }
    }

    /// A key by its version, for opening.
    pub(crate) async fn for_opening(
        &self,
        tenant: TenantId,
        version: i32,
    ) -> Result<Option<Arc<SealingKey>>> {
        let known =
            self.opened.read().unwrap_or_else(PoisonError::into_inner).get(&(tenant, version)).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let row = store::sealing_key(&self.db.read(Login::Enclave, tenant), tenant, version).await?;
        match row {
            Some(row) => Ok(Some(self.keep(tenant, &row).await?)),
            None => Ok(None),
        }
    }

    /// Makes the next version active, in the transaction of a rotation; the caller forgets the former one after the commit.
    /// The versions of the former and the next.
    pub(crate) async fn add_next(&self, work: &UnitOfWork<'_>, tenant: TenantId) -> Result<(i32, i32)> {
        let former = store::active_sealing_key(work, tenant).await?;
        let former =
            former.ok_or_else(|| Error::SealingKey("the tenant has no active sealing key".to_owned()))?;
        let (next, key) = (former.version + 1, Key256::generate());
        // Once more, if another process made a root key meanwhile.
        for _ in 0..2 {
            let (root_id, wrapped) = self.root.wrap_tenant_key(tenant, next, &key);
            if store::add_sealing_key(work, tenant, next, &wrapped, &root_id).await?.is_some() {
                return Ok((former.version, next));
            }
            self.root.reload().await?;
        }
        Err(DbError::Conflict("another process has just made a sealing key".to_owned()).into())
    }

    /// The active key is looked up again at the next put: another process may have made another key active.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.active.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }

    /// Forgets the active keys that another process has replaced.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let known: Vec<TenantId> =
            self.active.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let stored = store::active_versions(&self.db.read_many(Login::Enclave, &known)).await?;
        let stored: HashMap<TenantId, i32> =
            stored.into_iter().map(|row| (row.tenant_id, row.version)).collect();
        self.active
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            // A key that was made after the look has no reason to be forgotten.
            .retain(|tenant, key| stored.get(tenant).is_none_or(|version| key.version >= *version));
        Ok(())
    }

    async fn load_active(&self, tenant: TenantId) -> Result<Arc<SealingKey>> {
        let read = self.db.read(Login::Enclave, tenant);
        let row = match store::active_sealing_key(&read, tenant).await? {
            Some(row) => row,
            None => self.add(tenant, 1).await?,
        };
        let key = self.keep(tenant, &row).await?;
        self.active.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, Arc::clone(&key));
        Ok(key)
    }

    /// Makes a version active, or finds the one that another process made.
    async fn add(&self, tenant: TenantId, version: i32) -> Result<store::SealingKey> {
        let key = Key256::generate();
        // Once more, if another process made a root key meanwhile.
        for _ in 0..2 {
            let (root_id, wrapped) = self.root.wrap_tenant_key(tenant, version, &key);
            let write = self.db.write(Login::Enclave, tenant);
            if let Some(row) = store::add_sealing_key(&write, tenant, version, &wrapped, &root_id).await? {
                tracing::info!(%tenant, version, "made a sealing key");
                return Ok(row);
            }
            let active = store::active_sealing_key(&self.db.read(Login::Enclave, tenant), tenant).await?;
            match active.filter(|row| row.version >= version) {
                Some(row) => return Ok(row),
                None => self.root.reload().await?,
            }
        }
        Err(Error::SealingKey("the tenant has no active sealing key".to_owned()))
    }

    /// Reserves a block of wraps, one of them for the caller; false if the key is used up and the next one is active.
    async fn reserve(&self, tenant: TenantId, key: &SealingKey) -> Result<bool> {
        let write = self.db.write(Login::Enclave, tenant);
        let row = store::reserve_wraps(&write, tenant, key.version, BLOCK).await?;
        let wraps = row.ok_or_else(|| Error::SealingKey("the active sealing key vanished".to_owned()))?.wraps;
        if wraps.unsigned_abs() <= MAX_WRAPS {
            key.reserved.store(BLOCK - 1, Ordering::Relaxed);
            return Ok(true);
        }
        self.add(tenant, key.version + 1).await?;
        self.active.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
        Ok(false)
    }

    async fn keep(&self, tenant: TenantId, row: &store::SealingKey) -> Result<Arc<SealingKey>> {
        if !self.root.has(&row.root_key_id) {
            self.root.reload().await?;
        }
        let key = self.root.unwrap_tenant_key(&row.root_key_id, tenant, row.version, &row.wrapped_key);
        let key = key.map_err(|error| match error {
            UnwrapError::UnknownRoot => Error::SealingKey(format!(
                "it is under the root key {}, which no key at hand opens",
                hex::encode(&row.root_key_id)
            )),
            UnwrapError::Damaged(_) => {
                Error::Integrity(format!("sealing key {} of the tenant does not open", row.version))
            }
        })?;
        let key =
            Arc::new(SealingKey { version: row.version, kek: Kek::new(&key), reserved: AtomicI64::new(0) });
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have opened it meanwhile: one of the two is kept, so that reservations are shared.
        Ok(Arc::clone(opened.entry((tenant, row.version)).or_insert(key)))
    }
}
