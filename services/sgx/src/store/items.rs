//! The current version of each item. The hot statements write their event and audit rows themselves
//! (`core::db::record`).

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    /// What a change has to know of the row that it changes.
    pub(crate) struct Head {
        pub place: i64, pub item_id: Uuid, pub version: i64, pub revision: i64, pub created_at: Timestamp,
        pub created_by: String, pub expires_at: Option<Timestamp>, pub deleted_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// The place in the batch of a row that was written.
    pub(crate) struct Written { pub place: i64 }
}
nsl_core::row! {
    /// That the statement was not undone.
    pub(crate) struct AsPrepared { pub ok: bool }
}
nsl_core::row! {
    /// An item without its value.
    #[derive(Clone)]
    pub(crate) struct Info {
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64, pub revision: i64,
        pub policy_type: String, pub policy_name: Option<String>, pub encryption: String, pub original_size: i32,
        pub sealed_size: i32, pub fingerprint: String, pub metadata: Option<Value>, pub created_at: Timestamp, pub created_by: String,
        pub updated_at: Timestamp, pub updated_by: String, pub expires_at: Option<Timestamp>,
        pub deleted_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// The sealed value beside its [`Info`].
    #[expect(clippy::struct_field_names, reason = "a field is named as its column")]
    pub(crate) struct Sealed {
        pub place: i64, pub held_back: bool,
        pub sealing_key_version: Option<i32>, pub wrapped_data_key: Option<Vec<u8>>, pub sealed_data: Option<Vec<u8>>,
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64, pub policy_type: String,
        pub policy_name: Option<String>, pub access: Option<Value>, pub content_id: Option<Uuid>, pub encryption: String,
        pub original_size: i32, pub sealed_size: i32, pub fingerprint: String, pub metadata: Option<Value>,
        pub created_at: Timestamp, pub created_by: String, pub updated_at: Timestamp, pub updated_by: String,
        pub expires_at: Option<Timestamp>, pub deleted_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    pub(crate) struct Count { pub count: i64 }
}

nsl_core::queries! {
    /// OFFSET 0 keeps the look at each row its own, by the whole key. A join would be planned by what the tables held when
    /// the plan was made: while they were empty, as a walk through all rows of the tenant, for every batch.
    pub(crate) fn heads(tenants: &[TenantId], services: &[&str], keys: &[&str]) -> many<Head> =
        "SELECT input.place, i.item_id, i.version, i.revision, i.created_at, i.created_by, i.expires_at, i.deleted_at \
         FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS input (tenant_id, service_name, key, place) \
         CROSS JOIN LATERAL (SELECT * FROM sgx.sealed_data_items i WHERE i.tenant_id = input.tenant_id \
              AND i.service_name = input.service_name AND i.key = input.key OFFSET 0) AS i";

    /// Puts many items with an event and an audit row each, all of them or none: each row still as it was prepared for,
    /// each sealing key still active. What is replaced moves to the former versions, and the oldest of those go.
    ///
    /// The arrays are read more than once rather than passed through a CTE: joining what was written back to its input
    /// carried each sealed value three times through the executor.
    pub(crate) fn put_items(
        tenants: &[TenantId], services: &[&str], keys: &[&str], item_ids: &[Uuid], versions: &[i64], revisions: &[i64],
        policies: &[&str], encryptions: &[&str], key_versions: &[Option<i32>], wrapped: &[Option<&[u8]>], sealed: &[&[u8]],
        original_sizes: &[i32], sealed_sizes: &[i32], fingerprints: &[&str], metadata: &[Option<&Value>],
        created_ats: &[Timestamp], created_bys: &[&str], updated_ats: &[Timestamp], updated_bys: &[&str],
        expires_ats: &[Option<Timestamp>], event_ids: &[Uuid], streams: &[&str], event_data: &[&Value],
        correlations: &[Option<&str>], audit_ids: &[Uuid], users: &[Option<UserId>], sessions: &[Option<&str>],
        ip_addresses: &[Option<&str>], user_agents: &[Option<&str>], request_ids: &[Option<&str>],
        policy_names: &[Option<&str>], accesses: &[Option<&Value>], content_ids: &[Option<Uuid>],
        replaced_tenants: &[TenantId], replaced_services: &[&str], replaced_keys: &[&str], replaced_revisions: &[i64],
        replaced_at: &[Timestamp], trimmed_tenants: &[TenantId], trimmed_items: &[Uuid], trimmed_to: &[i64],
        usage_tenants: &[TenantId], usage_services: &[&str], usage_items: &[i64], usage_versions: &[i64],
        usage_bytes: &[i64], key_tenants: &[TenantId], active_keys: &[i32],
    ) -> one<AsPrepared> =
        "WITH replaced AS ( \
             INSERT INTO sgx.item_versions (tenant_id, item_id, version, service_name, key, policy_type, policy_name, \
                 access, encryption, sealing_key_version, wrapped_data_key, sealed_data, content_id, original_size, \
                 sealed_size, fingerprint, metadata, created_at, updated_at, created_by, updated_by, expires_at, reads, \
                 superseded_at, destroyed_at) \
             SELECT i.tenant_id, i.item_id, i.version, i.service_name, i.key, i.policy_type, i.policy_name, i.access, \
                 i.encryption, i.sealing_key_version, i.wrapped_data_key, i.sealed_data, i.content_id, i.original_size, \
                 i.sealed_size, i.fingerprint, i.metadata, i.created_at, i.updated_at, i.created_by, i.updated_by, \
                 i.expires_at, i.reads, r.at, i.destroyed_at \
             FROM unnest($34::uuid[], $35::text[], $36::text[], $37::bigint[], $38::timestamptz[]) \
                 AS r (tenant_id, service_name, key, revision, at) \
             CROSS JOIN LATERAL (SELECT * FROM sgx.sealed_data_items i WHERE i.tenant_id = r.tenant_id \
                  AND i.service_name = r.service_name AND i.key = r.key AND i.revision = r.revision OFFSET 0) AS i), \
         trimmed AS MATERIALIZED ( \
             SELECT * FROM sgx.trim_versions($39::uuid[], $40::uuid[], $41::bigint[])), \
         written AS ( \
             INSERT INTO sgx.sealed_data_items AS i (tenant_id, service_name, key, item_id, version, revision, policy_type, \
                 encryption, sealing_key_version, wrapped_data_key, sealed_data, original_size, sealed_size, fingerprint, \
                 metadata, created_at, created_by, updated_at, updated_by, expires_at, policy_name, access, content_id) \
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[], $7::text[], \
                 $8::text[], $9::int[], $10::bytea[], $11::bytea[], $12::int[], $13::int[], $14::text[], $15::jsonb[], \
                 $16::timestamptz[], $17::text[], $18::timestamptz[], $19::text[], $20::timestamptz[], $31::text[], \
                 $32::jsonb[], $33::uuid[]) \
             ON CONFLICT (tenant_id, service_name, key) DO UPDATE SET version = excluded.version, \
                 revision = excluded.revision, policy_type = excluded.policy_type, encryption = excluded.encryption, \
                 sealing_key_version = excluded.sealing_key_version, wrapped_data_key = excluded.wrapped_data_key, \
                 sealed_data = excluded.sealed_data, original_size = excluded.original_size, \
                 sealed_size = excluded.sealed_size, fingerprint = excluded.fingerprint, metadata = excluded.metadata, \
                 created_at = excluded.created_at, created_by = excluded.created_by, updated_at = excluded.updated_at, \
                 updated_by = excluded.updated_by, expires_at = excluded.expires_at, policy_name = excluded.policy_name, \
                 access = excluded.access, content_id = excluded.content_id, reads = 0, deleted_at = NULL, \
                 destroyed_at = NULL \
             WHERE i.item_id = excluded.item_id AND i.revision = excluded.revision - 1 \
             RETURNING 1), \
         usage AS ( \
             INSERT INTO sgx.usage_changes (tenant_id, service_name, items, versions, bytes) \
             SELECT tenant_id, service_name, sum(items), sum(versions), sum(bytes) FROM ( \
                 SELECT * FROM unnest($42::uuid[], $43::text[], $44::bigint[], $45::bigint[], $46::bigint[]) \
                     AS u (tenant_id, service_name, items, versions, bytes) \
                 UNION ALL SELECT tenant_id, service_name, 0, -1, -sealed_size FROM trimmed \
                     WHERE destroyed_at IS NULL) AS change \
             GROUP BY tenant_id, service_name), \
         event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                 correlation_id, causation_id) \
             SELECT id, tenant_id, stream, version, 'sgx.item_put', 1, data, '{}', actor, correlation_id, request_id \
             FROM unnest($21::uuid[], $1::uuid[], $22::text[], $6::bigint[], $23::jsonb[], $19::text[], $24::text[], \
                 $30::text[]) AS e (id, tenant_id, stream, version, data, actor, correlation_id, request_id)), \
         audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, \
                 actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT id, tenant_id, 'sgx', 'SEAL_ITEM', 'sealed_item', service_name || '/' || key, user_id, actor, \
                 session_id, ip_address, user_agent, request_id, 'Success', NULL, \
                 pg_catalog.jsonb_build_object('version', version) \
             FROM unnest($25::uuid[], $1::uuid[], $2::text[], $3::text[], $26::uuid[], $19::text[], $27::text[], \
                 $28::text[], $29::text[], $30::text[], $5::bigint[]) \
                 AS a (id, tenant_id, service_name, key, user_id, actor, session_id, ip_address, user_agent, request_id, \
                 version)) \
         SELECT sgx.as_prepared( \
             (SELECT count(*) FROM written) = pg_catalog.cardinality($1::uuid[]) \
             AND (SELECT count(*) FROM unnest($47::uuid[], $48::int[]) AS u (tenant_id, version) \
                  JOIN sgx.sealing_keys k ON k.tenant_id = u.tenant_id AND k.version = u.version \
                  WHERE k.state = 'active') = pg_catalog.cardinality($47::uuid[])) AS ok";

    /// Marks an item deleted if it is still as it was looked at, with its event and audit row.
    pub(crate) fn delete_item(
        tenant: TenantId, service: &str, key: &str, revision: i64, deleted_at: Timestamp, event_id: Uuid, stream: &str,
        event_data: &Value, correlation_id: Option<&str>, audit_id: Uuid, user: Option<UserId>, actor: &str,
        session: Option<&str>, ip_address: Option<&str>, user_agent: Option<&str>, request_id: Option<&str>,
    ) -> opt<Written> =
        "WITH deleted AS ( \
             UPDATE sgx.sealed_data_items SET deleted_at = $5, revision = revision + 1 \
             WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text AND revision = $4 AND deleted_at IS NULL \
             RETURNING tenant_id, service_name, key, revision), \
         usage AS ( \
             INSERT INTO sgx.usage_changes (tenant_id, service_name, items, versions, bytes) \
             SELECT tenant_id, service_name, -1, 0, 0 FROM deleted), \
         event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                 correlation_id, causation_id) \
             SELECT $6, tenant_id, $7, revision, 'sgx.item_deleted', 1, $8, '{}', $12, $9, $16 FROM deleted), \
         audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, \
                 actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT $10, tenant_id, 'sgx', 'DELETE_ITEM', 'sealed_item', service_name || '/' || key, $11, $12, $13, $14, \
                 $15, $16, 'Success', NULL, '{}' FROM deleted) \
         SELECT 1::bigint AS place FROM deleted";

    pub(crate) fn info(tenant: TenantId, service: &str, key: &str) -> opt<Info> =
        "SELECT service_name::text AS service_name, key::text AS key, item_id, version, revision, policy_type::text AS policy_type, policy_name::text AS policy_name, encryption, \
                original_size, sealed_size, fingerprint, metadata, created_at, created_by, updated_at, updated_by, \
                expires_at, deleted_at \
         FROM sgx.sealed_data_items WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text";

    pub(crate) fn sealed(tenant: TenantId, service: &str, key: &str) -> opt<Sealed> =
        "SELECT 1::bigint AS place, false AS held_back, sealing_key_version, wrapped_data_key, sealed_data, \
                service_name::text AS service_name, key::text AS key, item_id, version, policy_type::text AS policy_type, \
                policy_name::text AS policy_name, access, content_id, encryption, original_size, sealed_size, fingerprint, \
                metadata, created_at, created_by, updated_at, updated_by, expires_at, deleted_at \
         FROM sgx.sealed_data_items WHERE tenant_id = $1 AND service_name = $2::text AND key = $3::text";

    /// Many at once. What is large, streamed or under rules is held back, to be read on its own.
    pub(crate) fn sealed_many(tenants: &[TenantId], services: &[&str], keys: &[&str], largest: i32) -> many<Sealed> =
        "SELECT input.place, h.back AS held_back, i.sealing_key_version, i.wrapped_data_key, \
                CASE WHEN h.back THEN NULL ELSE i.sealed_data END AS sealed_data, \
                i.service_name::text AS service_name, i.key::text AS key, i.item_id, i.version, \
                i.policy_type::text AS policy_type, i.policy_name::text AS policy_name, i.access, i.content_id, \
                i.encryption, i.original_size, i.sealed_size, i.fingerprint, i.metadata, i.created_at, i.created_by, \
                i.updated_at, i.updated_by, i.expires_at, i.deleted_at \
         FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS input (tenant_id, service_name, key, place) \
         CROSS JOIN LATERAL (SELECT * FROM sgx.sealed_data_items i WHERE i.tenant_id = input.tenant_id \
              AND i.service_name = input.service_name AND i.key = input.key OFFSET 0) AS i \
         CROSS JOIN LATERAL (SELECT i.sealed_size > $4 OR i.access IS NOT NULL OR i.content_id IS NOT NULL) AS h (back)";

    /// Items in the order of (service, key) after a place. Ranges, not LIKE, which is not leakproof and would not use
    /// the index under row-level security; nor could a GIN index on `metadata` be used there, whose `@>` is not
    /// leakproof either: a search by metadata looks at each of the tenant's items after the place.
    pub(crate) fn list(
        tenant: TenantId, service: Option<&str>, from: &str, until: Option<&str>, after_service: &str, after_key: &str,
        now: Timestamp, limit: i64, metadata: Option<&Value>,
    ) -> many<Info> =
        "SELECT service_name::text AS service_name, key::text AS key, item_id, version, revision, policy_type::text AS policy_type, policy_name::text AS policy_name, encryption, \
                original_size, sealed_size, fingerprint, metadata, created_at, created_by, updated_at, updated_by, \
                expires_at, deleted_at \
         FROM sgx.sealed_data_items \
         WHERE tenant_id = $1 AND ($2::text IS NULL OR service_name = $2::text) \
           AND (service_name, key) > ($5::text COLLATE \"C\", $6::text COLLATE \"C\") \
           AND key >= $3::text COLLATE \"C\" AND ($4::text IS NULL OR key < $4::text COLLATE \"C\") \
           AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > $7) \
           AND ($9::jsonb IS NULL OR metadata @> $9::jsonb) \
         ORDER BY service_name, key LIMIT $8";

    /// Items in sight, counted up to 10,000; beyond that the planner's estimate for the whole table is told instead.
    pub(crate) fn count() -> one<Count> =
        "SELECT CASE WHEN c.count <= 10000 THEN c.count \
                ELSE greatest(c.count, (SELECT reltuples::bigint FROM pg_catalog.pg_class \
                                        WHERE oid = 'sgx.sealed_data_items'::pg_catalog.regclass)) END AS count \
         FROM (SELECT count(*) AS count FROM (SELECT FROM sgx.sealed_data_items WHERE deleted_at IS NULL LIMIT 10001) AS seen) AS c";

    /// The health check's row; its transaction is rolled back.
    pub(crate) fn probe(
        tenant: TenantId, item_id: Uuid, key_version: Option<i32>, wrapped: Option<&[u8]>, sealed: &[u8], size: i32,
        fingerprint: &str, encryption: &str, at: Timestamp,
    ) -> exec =
        "INSERT INTO sgx.sealed_data_items (tenant_id, service_name, key, item_id, version, revision, policy_type, encryption, \
             sealing_key_version, wrapped_data_key, sealed_data, original_size, sealed_size, fingerprint, created_at, \
             created_by, updated_at, updated_by) \
         VALUES ($1, 'nsl.health', $2::uuid::text, $2, 1, 1, 'MRSIGNER', $8, $3, $4, $5::bytea, $6, pg_catalog.octet_length($5::bytea), $7, \
             $9, 'system:health', $9, 'system:health')";
}
