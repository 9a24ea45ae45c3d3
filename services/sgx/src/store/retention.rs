//! What goes after `DataRetentionDays`: items that were deleted or have expired, former versions, verdicts on quotes. A batch
//! at a time, each item with its event and audit row in the same statement. Chunks of streamed values that nothing names any
//! more are the purge's of `store::content`: several rows may name one content.

use jiff::Timestamp;
use nsl_core::ids::TenantId;

nsl_core::row! {
    pub(crate) struct Purged { pub rows: i64 }
}

nsl_core::queries! {
    /// Removes items that were deleted or expired before a time, with all their versions.
    pub(crate) fn items(tenant: TenantId, before: Timestamp, limit: i64) -> one<Purged> =
        "WITH old AS ( \
             SELECT tenant_id, service_name, key FROM sgx.sealed_data_items \
             WHERE tenant_id = $1 AND (deleted_at < $2 OR expires_at < $2) LIMIT $3 FOR UPDATE SKIP LOCKED), \
         gone AS ( \
             DELETE FROM sgx.sealed_data_items i USING old \
             WHERE i.tenant_id = old.tenant_id AND i.service_name = old.service_name AND i.key = old.key \
             RETURNING i.tenant_id, i.service_name, i.key, i.item_id, i.version, i.revision, i.sealed_size, \
                 i.deleted_at IS NULL AS alive, i.destroyed_at IS NULL AS kept), \
         former AS ( \
             DELETE FROM sgx.item_versions v USING gone WHERE v.tenant_id = gone.tenant_id AND v.item_id = gone.item_id \
             RETURNING v.tenant_id, gone.service_name, v.sealed_size, v.destroyed_at IS NULL AS kept), \
         usage AS ( \
             INSERT INTO sgx.usage_changes (tenant_id, service_name, items, versions, bytes) \
             SELECT tenant_id, service_name, sum(items)::bigint, sum(versions)::bigint, sum(bytes)::bigint \
             FROM (SELECT tenant_id, service_name, -alive::int AS items, -kept::int AS versions, \
                          -kept::int * sealed_size::bigint AS bytes FROM gone \
                   UNION ALL \
                   SELECT tenant_id, service_name, 0, -kept::int, -kept::int * sealed_size::bigint FROM former) AS change \
             GROUP BY tenant_id, service_name), \
         event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                 correlation_id, causation_id) \
             SELECT core.uuid_v7(), tenant_id, 'sgx.item/' || item_id, revision + 1, 'sgx.item_purged', 1, \
                 pg_catalog.jsonb_build_object('service', service_name, 'key', key, 'itemId', item_id, 'version', version), \
                 '{}', 'system:sgx.purge', NULL, NULL FROM gone), \
         audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, \
                 actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT core.uuid_v7(), tenant_id, 'sgx', 'CLEANUP_EXPIRED_DATA', 'sealed_item', service_name || '/' || key, NULL, \
                 'system:sgx.purge', NULL, NULL, NULL, NULL, 'Success', NULL, '{}' FROM gone) \
         SELECT count(*) AS rows FROM gone";

    /// Removes versions that were superseded before a time. The item's row is raised with it: its stream gets an event.
    pub(crate) fn versions(tenant: TenantId, before: Timestamp, limit: i64) -> one<Purged> =
        "WITH old AS ( \
             SELECT service_name, key, item_id, max(version) AS last \
             FROM (SELECT service_name, key, item_id, version FROM sgx.item_versions \
                   WHERE tenant_id = $1 AND superseded_at < $2 LIMIT $3) AS superseded \
             GROUP BY service_name, key, item_id), \
         held AS ( \
             SELECT i.service_name, i.key, i.item_id, old.last FROM old JOIN sgx.sealed_data_items i \
                 ON i.tenant_id = $1 AND i.service_name = old.service_name AND i.key = old.key AND i.item_id = old.item_id \
             FOR UPDATE OF i SKIP LOCKED), \
         raised AS ( \
             UPDATE sgx.sealed_data_items i SET revision = i.revision + 1 FROM held \
             WHERE i.tenant_id = $1 AND i.service_name = held.service_name AND i.key = held.key \
               AND i.item_id = held.item_id \
             RETURNING i.tenant_id, i.service_name, i.key, i.item_id, i.version, i.revision, held.last), \
         gone AS ( \
             DELETE FROM sgx.item_versions v USING raised \
             WHERE v.tenant_id = raised.tenant_id AND v.item_id = raised.item_id AND v.version <= raised.last \
             RETURNING v.tenant_id, raised.service_name, v.sealed_size, v.destroyed_at IS NULL AS kept), \
         usage AS ( \
             INSERT INTO sgx.usage_changes (tenant_id, service_name, items, versions, bytes) \
             SELECT tenant_id, service_name, 0, -count(*) FILTER (WHERE kept), \
                 (-coalesce(sum(sealed_size) FILTER (WHERE kept), 0))::bigint \
             FROM gone GROUP BY tenant_id, service_name), \
         event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
                 correlation_id, causation_id) \
             SELECT core.uuid_v7(), tenant_id, 'sgx.item/' || item_id, revision, 'sgx.versions_purged', 1, \
                 pg_catalog.jsonb_build_object('service', service_name, 'key', key, 'itemId', item_id, 'version', version, \
                     'below', last + 1), \
                 '{}', 'system:sgx.purge', NULL, NULL FROM raised), \
         audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, \
                 actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT core.uuid_v7(), tenant_id, 'sgx', 'CLEANUP_OLD_VERSIONS', 'sealed_item', service_name || '/' || key, \
                 NULL, 'system:sgx.purge', NULL, NULL, NULL, NULL, 'Success', NULL, \
                 pg_catalog.jsonb_build_object('below', last + 1) FROM raised) \
         SELECT count(*) AS rows FROM gone";

    /// Removes verdicts on quotes that count no longer since a time.
    pub(crate) fn attestations(tenant: TenantId, before: Timestamp, limit: i64) -> one<Purged> =
        "WITH gone AS ( \
             DELETE FROM sgx.attestations a USING ( \
                 SELECT tenant_id, attestation_id FROM sgx.attestations \
                 WHERE tenant_id = $1 AND expires_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED) AS old \
             WHERE a.tenant_id = old.tenant_id AND a.attestation_id = old.attestation_id \
             RETURNING a.tenant_id, a.attestation_id), \
         audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, user_id, \
                 actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT core.uuid_v7(), tenant_id, 'sgx', 'CLEANUP_ATTESTATIONS', 'attestation', attestation_id::text, NULL, \
                 'system:sgx.purge', NULL, NULL, NULL, NULL, 'Success', NULL, '{}' FROM gone) \
         SELECT count(*) AS rows FROM gone";
}
