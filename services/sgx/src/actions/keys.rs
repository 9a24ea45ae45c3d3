//! The key ring: each tenant's sealing keys, opened once and kept while the process lives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nsl_core::db::{Db, Login};
use nsl_core::ids::TenantId;
use nsl_crypto::envelope::{Kek, MAX_WRAPS};
use nsl_crypto::key::Key256;

use super::root::RootKey;
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
    root: Arc<RootKey>,
    opened: RwLock<Opened>,
    active: RwLock<HashMap<TenantId, Arc<SealingKey>>>,
}

impl KeyRing {
    pub(crate) fn new(db: &Db, root: Arc<RootKey>) -> Self {
        Self { db: db.clone(), root, opened: RwLock::default(), active: RwLock::default() }
    }

    pub(crate) fn root_id(&self) -> &[u8; 8] {
        self.root.id()
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

    /// Another process may have made another key active.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.active.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
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
        row.map(|row| self.keep(tenant, &row)).transpose()
    }

    async fn load_active(&self, tenant: TenantId) -> Result<Arc<SealingKey>> {
        let read = self.db.read(Login::Enclave, tenant);
        let row = match store::active_sealing_key(&read, tenant).await? {
            Some(row) => row,
            None => self.add(tenant, 1).await?,
        };
        let key = self.keep(tenant, &row)?;
        self.active.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, Arc::clone(&key));
        Ok(key)
    }

    /// Makes a version active, or finds the one that another process made.
    async fn add(&self, tenant: TenantId, version: i32) -> Result<store::SealingKey> {
        let wrapped = self.root.wrap_tenant_key(tenant, version, &Key256::generate());
        let write = self.db.write(Login::Enclave, tenant);
        if let Some(row) = store::add_sealing_key(&write, tenant, version, &wrapped, self.root.id()).await? {
            tracing::info!(%tenant, version, "made a sealing key");
            return Ok(row);
        }
        store::active_sealing_key(&self.db.read(Login::Enclave, tenant), tenant)
            .await?
            .ok_or_else(|| Error::SealingKey("the tenant has no active sealing key".to_owned()))
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

    fn keep(&self, tenant: TenantId, row: &store::SealingKey) -> Result<Arc<SealingKey>> {
        if row.root_key_id != self.root.id() {
            return Err(Error::SealingKey("it is wrapped under another root key".to_owned()));
        }
        let key = self.root.unwrap_tenant_key(tenant, row.version, &row.wrapped_key).map_err(|_| {
            Error::Integrity(format!("sealing key {} of the tenant does not open", row.version))
        })?;
        let key =
            Arc::new(SealingKey { version: row.version, kek: Kek::new(&key), reserved: AtomicI64::new(0) });
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have opened it meanwhile: one of the two is kept, so that reservations are shared.
        Ok(Arc::clone(opened.entry((tenant, row.version)).or_insert(key)))
    }
}
