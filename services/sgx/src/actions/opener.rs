//! From a row to the value in it, or to what about the row is not what was sealed.

use std::sync::Arc;

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use uuid::Uuid;

use super::keys::KeyRing;
use super::write::Item;
use crate::Result;
use crate::domain::{Address, Binding, Opened, Stored, open};
use crate::error::Error;
use crate::store::items as store;

/// Opens sealed rows.
#[derive(Clone)]
pub(super) struct Opener {
    pub keys: Arc<KeyRing>,
    /// Rows that are not sealed are taken too: encryption is off.
    pub plain: bool,
}

impl Opener {
    /// Opens a row whose value is in it.
    pub(super) async fn open(
        &self,
        tenant: TenantId,
        address: &Address,
        row: store::Sealed,
        now: Timestamp,
    ) -> Result<(Item, Opened)> {
        match self.open_any(tenant, address, row, now).await? {
            (item, opened, None) => Ok((item, opened)),
            (_, _, Some(_)) => Err(Error::Streamed),
        }
    }

    /// Opens a row for the address that was asked for: one that lies elsewhere does not open here. Where it names a content,
    /// what opens is the summary of that.
    pub(super) async fn open_any(
        &self,
        tenant: TenantId,
        address: &Address,
        row: store::Sealed,
        now: Timestamp,
    ) -> Result<(Item, Opened, Option<Uuid>)> {
        alive(row.deleted_at, None, now)?;
        let key = match row.sealing_key_version {
            Some(version) => {
                let key = self.keys.for_opening(tenant, version).await?;
                Some(key.ok_or_else(|| Error::Integrity("its sealing key does not exist".to_owned()))?)
            }
            None => None,
        };
        let stored = Stored {
            encryption: &row.encryption,
            wrapped_data_key: row.wrapped_data_key.as_deref(),
            sealed_data: row.sealed_data.as_deref().unwrap_or_default(),
            original_size: row.original_size,
            sealed_size: row.sealed_size,
            fingerprint: &row.fingerprint,
        };
        let binding = Binding {
            tenant,
            service: &address.service,
            key: &address.key,
            item_id: row.item_id,
            version: row.version,
            policy: &row.policy_type,
            policy_name: row.policy_name.as_deref(),
            access: row.access.as_ref(),
            content: row.content_id,
            metadata: row.metadata.as_ref(),
            created_at: row.created_at,
            created_by: &row.created_by,
            updated_at: row.updated_at,
            updated_by: &row.updated_by,
            expires_at: row.expires_at,
        };
        let key = key.as_ref().map(|key| (&key.kek, key.version));
        let opened =
            open(&stored, &binding, key, self.plain).map_err(|reason| Error::Integrity(reason.to_owned()))?;
        // Only now: an expiry that was not sealed is a damage, and no expiry.
        alive(None, row.expires_at, now)?;
        let content = row.content_id;
        Ok((item(row), opened, content))
    }
}

pub(super) fn alive(
    deleted_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    if deleted_at.is_some() {
        return Err(Error::NotFound);
    }
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Error::Expired);
    }
    Ok(())
}

pub(super) fn size(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn item(row: store::Sealed) -> Item {
    Item {
        service: row.service_name,
        key: row.key,
        version: row.version,
        size: size(row.original_size),
        sealed_size: size(row.sealed_size),
        fingerprint: row.fingerprint,
        policy: row.policy_name.unwrap_or(row.policy_type),
        encryption: row.encryption,
        metadata: row.metadata,
        created_at: row.created_at,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
    }
}
