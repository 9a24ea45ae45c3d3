//! Rotations, and the wrapped data keys that they move. Each table is walked in the order of its key.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    /// A rotation and how far it is.
    #[derive(Clone)]
    #[expect(clippy::struct_field_names, reason = "a field is named as its column")]
    pub(crate) struct Rotation {
        pub rotation_id: Uuid, pub tenant_id: TenantId, pub kind: String, pub from_key: String, pub to_key: String,
        pub state: String, pub total: i64, pub done: i64, pub place: Option<Value>, pub reason: Option<String>,
        pub failure: Option<String>, pub statement: Option<String>, pub requested_by: String,
        pub started_at: Timestamp, pub updated_at: Timestamp, pub finished_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// A transaction that may still write what it decided before.
    pub(crate) struct Writer { pub transaction: Option<String> }
}
nsl_core::row! {
    /// The wrapped data key of a value, and where it is bound to.
    #[expect(clippy::struct_field_names, reason = "a field is named as its column")]
    pub(crate) struct Wrapped {
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64,
        pub sealing_key_version: Option<i32>, pub wrapped_data_key: Option<Vec<u8>>, pub content_id: Option<Uuid>,
    }
}
nsl_core::row! {
    /// A sealing key of any tenant in sight.
    pub(crate) struct TenantKey {
        pub tenant_id: TenantId, pub version: i32, pub wrapped_key: Vec<u8>, pub root_key_id: Vec<u8>,
    }
}
nsl_core::row! {
    pub(crate) struct Rows { pub rows: i64 }
}

nsl_core::queries! {
    /// The index of running ones refuses a second.
    pub(crate) fn add_rotation(
        tenant: TenantId, rotation_id: Uuid, kind: &str, from_key: &str, to_key: &str, total: i64, reason: Option<&str>,
        requested_by: &str, now: Timestamp,
    ) -> opt<Rotation> =
        "INSERT INTO sgx.rotations (tenant_id, rotation_id, kind, from_key, to_key, total, reason, requested_by, \
             started_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING \
         RETURNING rotation_id, tenant_id, kind, from_key, to_key, state, total, done, place, reason, failure, statement, \
             requested_by, started_at, updated_at, finished_at";

    pub(crate) fn rotation(tenant: TenantId, rotation_id: Uuid) -> opt<Rotation> =
        "SELECT rotation_id, tenant_id, kind, from_key, to_key, state, total, done, place, reason, failure, statement, \
             requested_by, started_at, updated_at, finished_at \
         FROM sgx.rotations WHERE tenant_id = $1 AND rotation_id = $2";

    /// The newest first: ids are UUIDv7.
    pub(crate) fn rotations(tenant: TenantId, before: Option<Uuid>, limit: i64) -> many<Rotation> =
        "SELECT rotation_id, tenant_id, kind, from_key, to_key, state, total, done, place, reason, failure, statement, \
             requested_by, started_at, updated_at, finished_at \
         FROM sgx.rotations WHERE tenant_id = $1 AND ($2::uuid IS NULL OR rotation_id < $2) \
         ORDER BY rotation_id DESC LIMIT $3";

    /// Those of the tenants in sight.
    pub(crate) fn running() -> many<Rotation> =
        "SELECT rotation_id, tenant_id, kind, from_key, to_key, state, total, done, place, reason, failure, statement, \
             requested_by, started_at, updated_at, finished_at \
         FROM sgx.rotations WHERE state = 'running' ORDER BY rotation_id";

    pub(crate) fn progress(tenant: TenantId, rotation_id: Uuid, moved: i64, place: &Value, now: Timestamp) -> exec =
        "UPDATE sgx.rotations SET done = done + $3, total = greatest(total, done + $3), place = $4, updated_at = $5 \
         WHERE tenant_id = $1 AND rotation_id = $2 AND state = 'running'";

    pub(crate) fn complete(tenant: TenantId, rotation_id: Uuid, statement: &str, now: Timestamp) -> opt<Rotation> =
        "UPDATE sgx.rotations SET state = 'completed', statement = $3, total = done, place = NULL, updated_at = $4, \
             finished_at = $4 \
         WHERE tenant_id = $1 AND rotation_id = $2 AND state = 'running' \
         RETURNING rotation_id, tenant_id, kind, from_key, to_key, state, total, done, place, reason, failure, statement, \
             requested_by, started_at, updated_at, finished_at";

    pub(crate) fn fail(tenant: TenantId, rotation_id: Uuid, failure: &str, now: Timestamp) -> exec =
        "UPDATE sgx.rotations SET state = 'failed', failure = $3, updated_at = $4, finished_at = $4 \
         WHERE tenant_id = $1 AND rotation_id = $2 AND state = 'running'";

    /// Transactions that hold the lock of a writer on the sealed rows. A statement takes that lock before its snapshot, so
    /// whatever starts to write after this has seen what was committed before it.
    pub(crate) fn writers() -> many<Writer> =
        "SELECT DISTINCT l.virtualtransaction AS transaction \
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
         WHERE d.datname = pg_catalog.current_database() AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' \
           AND l.granted AND l.virtualtransaction IS NOT NULL \
           AND l.relation IN ('sgx.sealed_data_items'::pg_catalog.regclass, 'sgx.item_versions'::pg_catalog.regclass)";

    /// Values whose data key is under an earlier sealing key than this.
    pub(crate) fn rows_before(tenant: TenantId, version: i32) -> one<Rows> =
        "SELECT (SELECT count(*) FROM sgx.sealed_data_items \
                 WHERE tenant_id = $1 AND sealing_key_version < $2 AND wrapped_data_key IS NOT NULL) \
              + (SELECT count(*) FROM sgx.item_versions \
                 WHERE tenant_id = $1 AND sealing_key_version < $2 AND wrapped_data_key IS NOT NULL) AS rows";

    pub(crate) fn wrapped_items(tenant: TenantId, after_service: &str, after_key: &str, limit: i64) -> many<Wrapped> =
        "SELECT service_name::text AS service_name, key::text AS key, item_id, version, sealing_key_version, \
             wrapped_data_key, content_id \
         FROM sgx.sealed_data_items \
         WHERE tenant_id = $1 AND (service_name, key) > ($2::text COLLATE \"C\", $3::text COLLATE \"C\") \
         ORDER BY service_name, key LIMIT $4";

    pub(crate) fn wrapped_versions(tenant: TenantId, after_item: Uuid, after_version: i64, limit: i64) -> many<Wrapped> =
        "SELECT service_name::text AS service_name, key::text AS key, item_id, version, sealing_key_version, \
             wrapped_data_key, content_id \
         FROM sgx.item_versions \
         WHERE tenant_id = $1 AND (item_id, version) > ($2::uuid, $3::bigint) ORDER BY item_id, version LIMIT $4";

    /// Rows that somebody else holds or has changed are left for the next walk: a rotation never makes a writer wait while
    /// it waits itself, so the two cannot deadlock.
    pub(crate) fn rewrap_items(
        tenant: TenantId, services: &[&str], keys: &[&str], former: &[&[u8]], wrapped: &[&[u8]], version: i32,
    ) -> exec =
        "WITH mine AS ( \
             SELECT i.service_name, i.key, n.wrapped FROM sgx.sealed_data_items i \
             JOIN unnest($2::text[], $3::text[], $4::bytea[], $5::bytea[]) AS n (service_name, key, former, wrapped) \
               ON i.service_name = n.service_name AND i.key = n.key AND i.wrapped_data_key = n.former \
             WHERE i.tenant_id = $1 FOR NO KEY UPDATE OF i SKIP LOCKED) \
         UPDATE sgx.sealed_data_items i SET wrapped_data_key = mine.wrapped, sealing_key_version = $6 FROM mine \
         WHERE i.tenant_id = $1 AND i.service_name = mine.service_name AND i.key = mine.key";

    pub(crate) fn rewrap_versions(
        tenant: TenantId, item_ids: &[Uuid], versions: &[i64], former: &[&[u8]], wrapped: &[&[u8]], version: i32,
    ) -> exec =
        "WITH mine AS ( \
             SELECT v.item_id, v.version, n.wrapped FROM sgx.item_versions v \
             JOIN unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[]) AS n (item_id, version, former, wrapped) \
               ON v.item_id = n.item_id AND v.version = n.version AND v.wrapped_data_key = n.former \
             WHERE v.tenant_id = $1 FOR NO KEY UPDATE OF v SKIP LOCKED) \
         UPDATE sgx.item_versions v SET wrapped_data_key = mine.wrapped, sealing_key_version = $6 FROM mine \
         WHERE v.tenant_id = $1 AND v.item_id = mine.item_id AND v.version = mine.version";

    /// Of all tenants in sight, in the order of tenant and version.
    pub(crate) fn tenant_keys(after_tenant: Uuid, after_version: i32, limit: i64) -> many<TenantKey> =
        "SELECT tenant_id, version, wrapped_key, root_key_id FROM sgx.sealing_keys \
         WHERE (tenant_id, version) > ($1::uuid, $2::int) ORDER BY tenant_id, version LIMIT $3";

    pub(crate) fn rewrap_tenant_key(
        tenant: TenantId, version: i32, former: &[u8], wrapped_key: &[u8], root_key_id: &[u8],
    ) -> exec =
        "UPDATE sgx.sealing_keys SET wrapped_key = $4, root_key_id = $5 \
         WHERE tenant_id = $1 AND version = $2 AND wrapped_key = $3";
}
