//! One item with its versions, under a lock: what restoring, destroying, moving and guarded reads need. Each function is one
//! step of a transaction that holds the item's row ([`hold`]).

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    /// What stands at an address.
    pub(crate) struct Place {
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64, pub revision: i64,
        pub created_at: Timestamp, pub created_by: String, pub expires_at: Option<Timestamp>,
        pub deleted_at: Option<Timestamp>, pub destroyed_at: Option<Timestamp>, pub sealed_size: i32,
        pub content_id: Option<Uuid>,
    }
}
nsl_core::row! {
    /// A version of an item with all that it is bound to, and what its item is at.
    pub(crate) struct Held {
        pub current_version: i64, pub revision: i64, pub deleted_at: Option<Timestamp>,
        pub item_id: Uuid, pub version: i64, pub policy_type: String, pub policy_name: Option<String>,
        pub access: Option<Value>, pub encryption: String, pub sealing_key_version: Option<i32>,
        pub wrapped_data_key: Option<Vec<u8>>, pub sealed_data: Option<Vec<u8>>, pub content_id: Option<Uuid>,
        pub original_size: i32, pub sealed_size: i32, pub fingerprint: String, pub metadata: Option<Value>,
        pub created_at: Timestamp, pub created_by: String, pub updated_at: Timestamp, pub updated_by: String,
        pub expires_at: Option<Timestamp>, pub reads: i64, pub destroyed_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// A version in the list of them.
    pub(crate) struct Listed {
        pub version: i64, pub original_size: i32, pub sealed_size: i32, pub fingerprint: String, pub policy_type: String,
        pub policy_name: Option<String>, pub created_at: Timestamp, pub superseded_at: Option<Timestamp>,
        pub expires_at: Option<Timestamp>, pub destroyed: bool, pub current: bool,
    }
}
nsl_core::row! {
    /// A version whose value went.
    pub(crate) struct Gone { pub version: i64, pub sealed_size: i32, pub kept: bool, pub content_id: Option<Uuid> }
}
nsl_core::row! {
    pub(crate) struct Revision { pub revision: i64 }
}
nsl_core::row! {
    pub(crate) struct KeyVersion { pub sealing_key_version: Option<i32> }
}
nsl_core::row! {
    pub(crate) struct Reads { pub reads: i64 }
}

nsl_core::queries! {
    /// Locks what stands at some addresses, in an order that all take.
    pub(crate) fn hold(tenant: TenantId, services: &[&str], keys: &[&str]) -> many<Place> =
        "SELECT i.service_name::text AS service_name, i.key::text AS key, i.item_id, i.version, i.revision, i.created_at, \
                i.created_by, i.expires_at, i.deleted_at, i.destroyed_at, i.sealed_size, i.content_id \
         FROM unnest($2::text[], $3::text[]) AS input (service_name, key) \
         JOIN sgx.sealed_data_items i ON i.tenant_id = $1 AND i.service_name = input.service_name AND i.key = input.key \
         ORDER BY i.service_name, i.key FOR UPDATE OF i";

    /// A version of an item; the current one where none is named.
    pub(crate) fn held(tenant: TenantId, service: &str, key: &str, version: Option<i64>) -> opt<Held> =
        "SELECT i.version AS current_version, i.revision, i.deleted_at, h.item_id, h.version, \
                h.policy_type::text AS policy_type, h.policy_name::text AS policy_name, h.access, h.encryption, \
                h.sealing_key_version, h.wrapped_data_key, h.sealed_data, h.content_id, h.original_size, h.sealed_size, \
                h.fingerprint, h.metadata, h.created_at, h.created_by, h.updated_at, h.updated_by, h.expires_at, h.reads, \
                h.destroyed_at \
         FROM sgx.sealed_data_items i CROSS JOIN LATERAL ( \
             SELECT i.item_id, i.version, i.policy_type, i.policy_name, i.access, i.encryption, i.sealing_key_version, \
                 i.wrapped_data_key, i.sealed_data, i.content_id, i.original_size, i.sealed_size, i.fingerprint, \
                 i.metadata, i.created_at, i.created_by, i.updated_at, i.updated_by, i.expires_at, i.reads, i.destroyed_at \
             WHERE $4::bigint IS NULL OR i.version = $4::bigint \
             UNION ALL \
             SELECT v.item_id, v.version, v.policy_type, v.policy_name, v.access, v.encryption, v.sealing_key_version, \
                 v.wrapped_data_key, v.sealed_data, v.content_id, v.original_size, v.sealed_size, v.fingerprint, \
                 v.metadata, v.created_at, v.created_by, v.updated_at, v.updated_by, v.expires_at, v.reads, v.destroyed_at \
             FROM sgx.item_versions v \
             WHERE v.tenant_id = i.tenant_id AND v.item_id = i.item_id AND v.version = $4::bigint) AS h \
         WHERE i.tenant_id = $1 AND i.service_name = $2::text AND i.key = $3::text";

    /// Which sealing key opens a version: opened before the transaction, so that it asks for no second connection.
    pub(crate) fn opening_key(tenant: TenantId, service: &str, key: &str, version: Option<i64>) -> opt<KeyVersion> =
        "SELECT CASE WHEN $4::bigint IS NULL OR i.version = $4::bigint THEN i.sealing_key_version \
                     ELSE v.sealing_key_version END AS sealing_key_version \
         FROM sgx.sealed_data_items i LEFT JOIN sgx.item_versions v \
              ON v.tenant_id = i.tenant_id AND v.item_id = i.item_id AND v.version = $4::bigint \
         WHERE i.tenant_id = $1 AND i.service_name = $2::text AND i.key = $3::text";

    /// The versions of an item below one, newest first.
    pub(crate) fn list(tenant: TenantId, service: &str, key: &str, below: i64, limit: i64) -> many<Listed> =
        "SELECT h.version, h.original_size, h.sealed_size, h.fingerprint, h.policy_type::text AS policy_type, \
                h.policy_name::text AS policy_name, h.updated_at AS created_at, h.superseded_at, h.expires_at, \
                h.destroyed_at IS NOT NULL AS destroyed, h.current \
         FROM sgx.sealed_data_items i CROSS JOIN LATERAL ( \
             SELECT i.version, i.original_size, i.sealed_size, i.fingerprint, i.policy_type, i.policy_name, i.updated_at, \
                 NULL::timestamptz AS superseded_at, i.expires_at, i.destroyed_at, i.deleted_at IS NULL AS current \
             UNION ALL \
             SELECT v.version, v.original_size, v.sealed_size, v.fingerprint, v.policy_type, v.policy_name, v.updated_at, \
                 v.superseded_at, v.expires_at, v.destroyed_at, false \
             FROM sgx.item_versions v WHERE v.tenant_id = i.tenant_id AND v.item_id = i.item_id) AS h \
         WHERE i.tenant_id = $1 AND i.service_name = $2::text AND i.key = $3::text AND h.version < $4 \
         ORDER BY h.version DESC LIMIT $5";

    /// Keeps the row as it stands as a former version.
    pub(crate) fn keep_former(tenant: TenantId, service: &str, key: &str, now: Timestamp) -> exec =
        "INSERT INTO sgx.item_versions (tenant_id, item_id, version, service_name, key, policy_type, policy_name, access, \
             encryption, sealing_key_version, wrapped_data_key, sealed_data, content_id, original_size, sealed_size, \
             fingerprint, metadata, created_at, updated_at, created_by, updated_by, expires_at, reads, superseded_at, \
             destroyed_at) \
         SELECT tenant_id, item_id, version, service_name, key, policy_type, policy_name, access, \
             encryption, sealing_key_version, wrapped_data_key, sealed_data, content_id, original_size, sealed_size, \
             fingerprint, metadata, created_at, updated_at, created_by, updated_by, expires_at, reads, $4, destroyed_at \
         FROM sgx.sealed_data_items WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text";

    /// Writes the row of an item: a new one, or in place of the one that is at the revision before. No row where another
    /// writer was first, or where the sealing key is not the active one any more.
    pub(crate) fn write(
        tenant: TenantId, service: &str, key: &str, item_id: Uuid, version: i64, revision: i64, policy_type: &str,
        policy_name: Option<&str>, access: Option<&Value>, encryption: &str, key_version: Option<i32>,
        wrapped: Option<&[u8]>, sealed: &[u8], original_size: i32, sealed_size: i32, fingerprint: &str,
        metadata: Option<&Value>, created_at: Timestamp, created_by: &str, updated_at: Timestamp, updated_by: &str,
        expires_at: Option<Timestamp>, reads: i64, content_id: Option<Uuid>,
    ) -> opt<Revision> =
        "INSERT INTO sgx.sealed_data_items AS i (tenant_id, service_name, key, item_id, version, revision, policy_type, \
             policy_name, access, encryption, sealing_key_version, wrapped_data_key, sealed_data, original_size, sealed_size, \
             fingerprint, metadata, created_at, created_by, updated_at, updated_by, expires_at, reads, content_id) \
         SELECT $1, $2::text, $3::text, $4, $5, $6, $7::text, $8::text, $9, $10, $11::int, $12, $13, $14, $15, $16, $17, $18, \
             $19, $20, $21, $22, $23, $24 \
         WHERE $11::int IS NULL OR EXISTS ( \
             SELECT FROM sgx.sealing_keys k WHERE k.tenant_id = $1 AND k.version = $11::int AND k.state = 'active') \
         ON CONFLICT (tenant_id, service_name, key) DO UPDATE SET version = excluded.version, \
             revision = excluded.revision, policy_type = excluded.policy_type, policy_name = excluded.policy_name, \
             access = excluded.access, encryption = excluded.encryption, \
             sealing_key_version = excluded.sealing_key_version, wrapped_data_key = excluded.wrapped_data_key, \
             sealed_data = excluded.sealed_data, content_id = excluded.content_id, original_size = excluded.original_size, \
             sealed_size = excluded.sealed_size, fingerprint = excluded.fingerprint, metadata = excluded.metadata, \
             created_at = excluded.created_at, created_by = excluded.created_by, updated_at = excluded.updated_at, \
             updated_by = excluded.updated_by, expires_at = excluded.expires_at, reads = excluded.reads, \
             deleted_at = NULL, destroyed_at = NULL \
         WHERE i.item_id = excluded.item_id AND i.revision = excluded.revision - 1 \
         RETURNING i.revision";

    /// Removes the versions up to one; more are not kept.
    pub(crate) fn trim(tenant: TenantId, item_id: Uuid, up_to: i64) -> many<Gone> =
        "DELETE FROM sgx.item_versions WHERE tenant_id = $1 AND item_id = $2 AND version <= $3 \
         RETURNING version, sealed_size, destroyed_at IS NULL AS kept, content_id";

    /// Marks the item deleted.
    pub(crate) fn mark_deleted(tenant: TenantId, service: &str, key: &str, now: Timestamp) -> one<Revision> =
        "UPDATE sgx.sealed_data_items SET deleted_at = $4, revision = revision + 1 \
         WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text RETURNING revision";

    /// Takes the mark away again.
    pub(crate) fn undelete(tenant: TenantId, service: &str, key: &str) -> one<Revision> =
        "UPDATE sgx.sealed_data_items SET deleted_at = NULL, revision = revision + 1 \
         WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text RETURNING revision";

    /// Raises the revision, for a change that is not of the row itself.
    pub(crate) fn raise(tenant: TenantId, service: &str, key: &str) -> one<Revision> =
        "UPDATE sgx.sealed_data_items SET revision = revision + 1 \
         WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text RETURNING revision";

    /// Takes key and value of the current version; the item is deleted with them.
    pub(crate) fn destroy_current(tenant: TenantId, service: &str, key: &str, now: Timestamp) -> one<Revision> =
        "UPDATE sgx.sealed_data_items SET wrapped_data_key = NULL, sealed_data = NULL, destroyed_at = $4, \
             deleted_at = CASE WHEN deleted_at IS NULL THEN $4 ELSE deleted_at END, revision = revision + 1 \
         WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text RETURNING revision";

    /// Takes key and value of former versions, of all of them where none is named.
    pub(crate) fn destroy_former(tenant: TenantId, item_id: Uuid, version: Option<i64>, now: Timestamp) -> many<Gone> =
        "UPDATE sgx.item_versions SET wrapped_data_key = NULL, sealed_data = NULL, destroyed_at = $4 \
         WHERE tenant_id = $1 AND item_id = $2 AND ($3::bigint IS NULL OR version = $3::bigint) AND destroyed_at IS NULL \
         RETURNING version, sealed_size, true AS kept, content_id";

    /// Counts a read of a version, if so many are still allowed.
    pub(crate) fn count_read(tenant: TenantId, service: &str, key: &str, item_id: Uuid, version: i64, most: i64) -> opt<Reads> =
        "WITH current AS ( \
             UPDATE sgx.sealed_data_items SET reads = reads + 1 \
             WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text AND item_id = $4 AND version = $5 \
               AND deleted_at IS NULL AND reads < $6 RETURNING reads), \
         former AS ( \
             UPDATE sgx.item_versions SET reads = reads + 1 \
             WHERE tenant_id = $1 AND item_id = $4 AND version = $5 AND destroyed_at IS NULL AND reads < $6 \
             RETURNING reads) \
         SELECT reads FROM current UNION ALL SELECT reads FROM former";
}
