//! Whole rows of items and former versions, for what opens everything: re-sealing and scans. A former version is the row as
//! it stood, so that both are read into one type.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    /// A sealed value with everything that it is bound to. `revision` is 0 for a former version.
    pub(crate) struct Whole {
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64, pub revision: i64,
        pub policy_type: String, pub policy_name: Option<String>, pub access: Option<Value>, pub encryption: String,
        pub sealing_key_version: Option<i32>, pub wrapped_data_key: Option<Vec<u8>>, pub sealed_data: Option<Vec<u8>>,
        pub content_id: Option<Uuid>, pub original_size: i32, pub sealed_size: i32, pub fingerprint: String,
        pub metadata: Option<Value>, pub created_at: Timestamp, pub updated_at: Timestamp, pub created_by: String,
        pub updated_by: String, pub expires_at: Option<Timestamp>, pub deleted_at: Option<Timestamp>,
        pub destroyed_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// That an item was written.
    pub(crate) struct Resealed { pub revision: i64 }
}

nsl_core::queries! {
    /// Items by their addresses; without one of what is not there.
    pub(crate) fn whole_items(tenant: TenantId, services: &[&str], keys: &[&str]) -> many<Whole> =
        "SELECT i.service_name::text AS service_name, i.key::text AS key, i.item_id, i.version, i.revision, \
             i.policy_type::text AS policy_type, i.policy_name::text AS policy_name, i.access, i.encryption, \
             i.sealing_key_version, i.wrapped_data_key, i.sealed_data, i.content_id, i.original_size, i.sealed_size, \
             i.fingerprint, i.metadata, i.created_at, i.updated_at, i.created_by, i.updated_by, i.expires_at, i.deleted_at, \
             i.destroyed_at \
         FROM unnest($2::text[], $3::text[]) AS n (service_name, key) \
         JOIN sgx.sealed_data_items i ON i.service_name = n.service_name AND i.key = n.key \
         WHERE i.tenant_id = $1";

    /// Former versions by their numbers.
    pub(crate) fn whole_versions(tenant: TenantId, item_ids: &[Uuid], versions: &[i64]) -> many<Whole> =
        "SELECT v.service_name::text AS service_name, v.key::text AS key, v.item_id, v.version, 0::bigint AS revision, \
             v.policy_type::text AS policy_type, v.policy_name::text AS policy_name, v.access, v.encryption, \
             v.sealing_key_version, v.wrapped_data_key, v.sealed_data, v.content_id, v.original_size, v.sealed_size, \
             v.fingerprint, v.metadata, v.created_at, v.updated_at, v.created_by, v.updated_by, v.expires_at, \
             NULL::timestamptz AS deleted_at, v.destroyed_at \
         FROM unnest($2::uuid[], $3::bigint[]) AS n (item_id, version) \
         JOIN sgx.item_versions v ON v.item_id = n.item_id AND v.version = n.version \
         WHERE v.tenant_id = $1";

    /// Former versions of an item that are under an earlier sealing key than this.
    pub(crate) fn versions_before(tenant: TenantId, item_id: Uuid, key_version: i32) -> many<Whole> =
        "SELECT v.service_name::text AS service_name, v.key::text AS key, v.item_id, v.version, 0::bigint AS revision, \
             v.policy_type::text AS policy_type, v.policy_name::text AS policy_name, v.access, v.encryption, \
             v.sealing_key_version, v.wrapped_data_key, v.sealed_data, v.content_id, v.original_size, v.sealed_size, \
             v.fingerprint, v.metadata, v.created_at, v.updated_at, v.created_by, v.updated_by, v.expires_at, \
             NULL::timestamptz AS deleted_at, v.destroyed_at \
         FROM sgx.item_versions v \
         WHERE v.tenant_id = $1 AND v.item_id = $2 AND v.sealing_key_version < $3 AND v.wrapped_data_key IS NOT NULL \
         ORDER BY v.version";

    /// Writes an item's values as they were sealed anew, with the event, if the item is still as it was read. NULL leaves a
    /// column of the current version as it is; sizes do not change.
    pub(crate) fn reseal(
        tenant: TenantId, service: &str, key: &str, item_id: Uuid, revision: i64, key_version: i32,
        wrapped: Option<&[u8]>, sealed: Option<&[u8]>, fingerprint: Option<&str>, versions: &[i64], former: &[&[u8]],
        version_wrapped: &[&[u8]], version_sealed: &[Option<&[u8]>], version_fingerprints: &[Option<&str>],
        event_id: Uuid, event_data: &Value, actor: &str,
    ) -> opt<Resealed> =
        "WITH item AS ( \
             UPDATE sgx.sealed_data_items SET revision = revision + 1, \
                 sealing_key_version = CASE WHEN $7::bytea IS NULL THEN sealing_key_version ELSE $6 END, \
                 wrapped_data_key = coalesce($7::bytea, wrapped_data_key), \
                 sealed_data = coalesce($8::bytea, sealed_data), fingerprint = coalesce($9::text, fingerprint) \
             WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text AND item_id = $4 AND revision = $5 \
             RETURNING tenant_id, item_id, revision), \
         versions AS ( \
             UPDATE sgx.item_versions v SET sealing_key_version = $6, wrapped_data_key = n.wrapped, \
                 sealed_data = coalesce(n.sealed, v.sealed_data), fingerprint = coalesce(n.fingerprint, v.fingerprint) \
             FROM item, unnest($10::bigint[], $11::bytea[], $12::bytea[], $13::bytea[], $14::text[]) \
                 AS n (version, former, wrapped, sealed, fingerprint) \
             WHERE v.tenant_id = $1 AND v.item_id = item.item_id AND v.version = n.version \
               AND v.wrapped_data_key = n.former), \
         event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                 correlation_id, causation_id) \
             SELECT $15, tenant_id, 'sgx.item/' || item_id, revision, 'sgx.item_resealed', 1, $16, '{}', $17, NULL, NULL \
             FROM item) \
         SELECT revision FROM item";
}
