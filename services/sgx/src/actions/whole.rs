//! Whole rows as the rules of sealing see them.

use nsl_core::ids::TenantId;

use crate::domain::{Binding, Stored};
use crate::store::whole::Whole;

impl<'a> Binding<'a> {
    /// What a stored row is bound to, at the address that it names.
    pub(crate) fn of(tenant: TenantId, row: &'a Whole) -> Self {
        Binding {
            tenant,
            service: &row.service_name,
            key: &row.key,
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
        }
    }
}

impl Whole {
    pub(crate) fn stored(&self) -> Stored<'_> {
        Stored {
            encryption: &self.encryption,
            wrapped_data_key: self.wrapped_data_key.as_deref(),
            sealed_data: self.sealed_data.as_deref().unwrap_or_default(),
            original_size: self.original_size,
            sealed_size: self.sealed_size,
            fingerprint: &self.fingerprint,
        }
    }
}
