//! What this process knows of the rows that it changed or looked at lately, so that a put of a known item need not read
//! it first. It may be out of date, since other processes write too: each put's statement checks the revision.

use std::sync::Arc;

use jiff::Timestamp;
use moka::sync::Cache;
use nsl_core::db::{DbError, Scoped};
use nsl_core::ids::TenantId;
use uuid::Uuid;

use crate::domain::{Address, Current};
use crate::store::items as store;

/// At most 8 MiB when full: a process grew by 28 MiB while four times as many were learnt.
const CAPACITY: u64 = 1 << 13;

/// What a change has to know of the row that it changes.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub item_id: Uuid,
    pub version: i64,
    pub revision: i64,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub deleted: bool,
}

impl Known {
    /// As it stands at a time, which may be past its expiry.
    pub(super) fn at(&self, now: Timestamp) -> Current {
        Current {
            item_id: self.item_id,
            version: self.version,
            revision: self.revision,
            alive: !self.deleted && self.expires_at.is_none_or(|at| at > now),
        }
    }
}

impl From<store::Head> for Known {
    fn from(head: store::Head) -> Self {
        Self {
            item_id: head.item_id,
            version: head.version,
            revision: head.revision,
            created_at: head.created_at,
            created_by: head.created_by,
            expires_at: head.expires_at,
            deleted: head.deleted_at.is_some(),
        }
    }
}

/// An address of a tenant in one text. A service name has no slash, so it is unambiguous.
pub(super) fn place(tenant: TenantId, address: &Address) -> String {
    format!("{tenant}/{}/{}", address.service, address.key)
}

pub(crate) struct Heads(Cache<String, Arc<Known>>);

impl Heads {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    pub(super) fn get(&self, tenant: TenantId, address: &Address) -> Option<Arc<Known>> {
        self.0.get(&place(tenant, address))
    }

    pub(super) fn keep(&self, tenant: TenantId, address: &Address, known: Known) {
        self.0.insert(place(tenant, address), Arc::new(known));
    }

    pub(super) fn forget(&self, tenant: TenantId, address: &Address) {
        self.0.invalidate(&place(tenant, address));
    }

    /// Reads one row anew.
    pub(super) async fn read(
        &self,
        read: &Scoped<'_>,
        tenant: TenantId,
        address: &Address,
    ) -> Result<Option<Arc<Known>>, DbError> {
        self.forget(tenant, address);
        self.learn(read, &[(tenant, address)]).await?;
        Ok(self.get(tenant, address))
    }

    /// Reads what is not known. That nothing is there is not kept: the put finds out.
    pub(super) async fn learn(
        &self,
        read: &Scoped<'_>,
        places: &[(TenantId, &Address)],
    ) -> Result<(), DbError> {
        let mut unknown = places.to_vec();
        unknown.retain(|(tenant, address)| !self.0.contains_key(&place(*tenant, address)));
        if unknown.is_empty() {
            return Ok(());
        }
        let tenants: Vec<TenantId> = unknown.iter().map(|(tenant, _)| *tenant).collect();
        let services: Vec<&str> = unknown.iter().map(|(_, address)| address.service.as_str()).collect();
        let keys: Vec<&str> = unknown.iter().map(|(_, address)| address.key.as_str()).collect();
        for head in store::heads(read, &tenants, &services, &keys).await? {
            // WITH ORDINALITY counts from 1.
            let index = usize::try_from(head.place - 1).unwrap_or(usize::MAX);
            if let Some((tenant, address)) = unknown.get(index) {
                self.keep(*tenant, address, head.into());
            }
        }
        Ok(())
    }
}
