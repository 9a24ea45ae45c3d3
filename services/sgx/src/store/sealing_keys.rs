//! The tenants' sealing keys, wrapped under the root key.

use jiff::Timestamp;
use nsl_core::ids::TenantId;

nsl_core::row! {
    /// A tenant's sealing key, wrapped.
    pub(crate) struct SealingKey { pub version: i32, pub wrapped_key: Vec<u8>, pub root_key_id: Vec<u8>, pub state: String }
}
nsl_core::row! {
    /// The version that new values go under.
    pub(crate) struct Active { pub tenant_id: TenantId, pub version: i32 }
}
nsl_core::row! {
    /// A sealing key as its tenant sees it.
    pub(crate) struct Overview {
        pub version: i32, pub state: String, pub wraps: i64, pub rows: i64, pub created_at: Timestamp,
        pub retired_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    pub(crate) struct Wraps { pub wraps: i64 }
}
nsl_core::row! {
    pub(crate) struct RootKeyId { pub root_key_id: Vec<u8> }
}

nsl_core::queries! {
    pub(crate) fn sealing_key(tenant: TenantId, version: i32) -> opt<SealingKey> =
        "SELECT version, wrapped_key, root_key_id, state FROM sgx.sealing_keys WHERE tenant_id = $1 AND version = $2";

    pub(crate) fn active_sealing_key(tenant: TenantId) -> opt<SealingKey> =
        "SELECT version, wrapped_key, root_key_id, state FROM sgx.sealing_keys \
         WHERE tenant_id = $1 AND state = 'active'";

    /// Makes the next key active and the former one superseded; nothing if another process did so first, or if the root key is
    /// not the active one any more. It is held meanwhile: a root key is retired only when nothing is under it.
    pub(crate) fn add_sealing_key(tenant: TenantId, version: i32, wrapped_key: &[u8], root_key_id: &[u8]) -> opt<SealingKey> =
        "WITH root AS ( \
             SELECT root_key_id FROM sgx.root_keys WHERE root_key_id = $4 AND state = 'active' FOR SHARE), \
         former AS ( \
             UPDATE sgx.sealing_keys SET state = 'superseded' \
             WHERE tenant_id = $1 AND state = 'active' AND version = $2 - 1 AND EXISTS (SELECT FROM root) \
             RETURNING version) \
         INSERT INTO sgx.sealing_keys (tenant_id, version, wrapped_key, root_key_id) \
         SELECT $1, $2, $3, root.root_key_id FROM root WHERE $2 = 1 OR EXISTS (SELECT FROM former) \
         ON CONFLICT DO NOTHING \
         RETURNING version, wrapped_key, root_key_id, state";

    /// Of the tenants in sight.
    pub(crate) fn active_versions() -> many<Active> =
        "SELECT tenant_id, version FROM sgx.sealing_keys WHERE state = 'active'";

    /// With the number of values whose data key is under each, counted.
    pub(crate) fn overview(tenant: TenantId) -> many<Overview> =
        "SELECT k.version, k.state, k.wraps, coalesce(i.rows, 0) + coalesce(v.rows, 0) AS rows, k.created_at, k.retired_at \
         FROM sgx.sealing_keys k \
         LEFT JOIN (SELECT sealing_key_version, count(*) AS rows FROM sgx.sealed_data_items \
                    WHERE tenant_id = $1 AND wrapped_data_key IS NOT NULL GROUP BY sealing_key_version) i \
           ON i.sealing_key_version = k.version \
         LEFT JOIN (SELECT sealing_key_version, count(*) AS rows FROM sgx.item_versions \
                    WHERE tenant_id = $1 AND wrapped_data_key IS NOT NULL GROUP BY sealing_key_version) v \
           ON v.sealing_key_version = k.version \
         WHERE k.tenant_id = $1 ORDER BY k.version DESC";

    /// Only with the statement that nothing is under them.
    pub(crate) fn retire_before(tenant: TenantId, version: i32, now: Timestamp) -> exec =
        "UPDATE sgx.sealing_keys SET state = 'retired', retired_at = $3 \
         WHERE tenant_id = $1 AND version < $2 AND state = 'superseded'";

    /// Reserves wraps before they are made, in blocks, so that no count is lost with the process.
    pub(crate) fn reserve_wraps(tenant: TenantId, version: i32, block: i64) -> opt<Wraps> =
        "UPDATE sgx.sealing_keys SET wraps = wraps + $3 WHERE tenant_id = $1 AND version = $2 RETURNING wraps";

    /// The root keys that the sealing keys in sight are under.
    pub(crate) fn root_key_ids() -> many<RootKeyId> = "SELECT DISTINCT root_key_id FROM sgx.sealing_keys";
}
