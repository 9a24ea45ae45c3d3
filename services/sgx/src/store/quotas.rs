//! How much a tenant may keep: a row per service, and one with the empty name for the tenant as a whole.

use jiff::Timestamp;
use nsl_core::ids::TenantId;

nsl_core::row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Quota {
        pub service_name: String, pub max_bytes: Option<i64>, pub max_items: Option<i64>, pub updated_at: Timestamp,
        pub updated_by: String,
    }
}

nsl_core::queries! {
    pub(crate) fn all(tenant: TenantId) -> many<Quota> =
        "SELECT service_name::text AS service_name, max_bytes, max_items, updated_at, updated_by \
         FROM sgx.quotas WHERE tenant_id = $1 ORDER BY service_name";

    /// The quotas that a write to some services has to keep, held until its end: two writers do not both take the last of it.
    pub(crate) fn hold(tenant: TenantId, services: &[&str]) -> many<Quota> =
        "SELECT service_name::text AS service_name, max_bytes, max_items, updated_at, updated_by \
         FROM sgx.quotas WHERE tenant_id = $1 AND (service_name = '' OR service_name = ANY ($2::text[])) ORDER BY service_name FOR UPDATE";

    pub(crate) fn set(
        tenant: TenantId, service: &str, max_bytes: Option<i64>, max_items: Option<i64>, now: Timestamp, actor: &str,
    ) -> one<Quota> =
        "INSERT INTO sgx.quotas (tenant_id, service_name, max_bytes, max_items, updated_at, updated_by) \
         VALUES ($1, $2::text, $3, $4, $5, $6) \
         ON CONFLICT (tenant_id, service_name) DO UPDATE SET max_bytes = excluded.max_bytes, \
             max_items = excluded.max_items, updated_at = excluded.updated_at, updated_by = excluded.updated_by \
         RETURNING service_name::text AS service_name, max_bytes, max_items, updated_at, updated_by";

    pub(crate) fn remove(tenant: TenantId, service: &str) -> exec =
        "DELETE FROM sgx.quotas WHERE tenant_id = $1 AND service_name = $2::text";
}
