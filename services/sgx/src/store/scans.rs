//! Scans and their findings, and the rows that they look at.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

use super::whole::Whole;

nsl_core::row! {
    /// A scan and how far it is.
    #[derive(Clone)]
    #[expect(clippy::struct_field_names, reason = "a field is named as its column")]
    pub(crate) struct Scan {
        pub scan_id: Uuid, pub tenant_id: TenantId, pub state: String, pub total: i64, pub checked: i64,
        pub findings: i64, pub place: Option<Value>, pub failure: Option<String>, pub requested_by: String,
        pub started_at: Timestamp, pub updated_at: Timestamp, pub finished_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// Something that is not as it should be.
    pub(crate) struct Finding {
        pub kind: String, pub service_name: Option<String>, pub key: Option<String>, pub item_id: Option<Uuid>,
        pub version: Option<i64>, pub detail: String, pub found_at: Timestamp,
    }
}
nsl_core::row! {
    /// A finding that was not there before.
    pub(crate) struct New { pub number: i32 }
}
nsl_core::row! {
    /// An item that is there.
    pub(crate) struct Present { pub item_id: Uuid }
}
nsl_core::row! {
    /// An item that a finding is about.
    pub(crate) struct Told { pub item_id: Option<Uuid> }
}
nsl_core::row! {
    /// An item as it stands, with the numbers of its former versions.
    pub(crate) struct History {
        pub service_name: String, pub key: String, pub item_id: Uuid, pub version: i64,
        pub former: Vec<i64>,
    }
}
nsl_core::row! {
    pub(crate) struct Due { pub tenant_id: TenantId }
}
nsl_core::row! {
    pub(crate) struct Kept { pub versions: i64 }
}

nsl_core::queries! {
    /// The index of running ones refuses a second.
    pub(crate) fn add_scan(tenant: TenantId, scan_id: Uuid, total: i64, requested_by: &str, now: Timestamp) -> opt<Scan> =
        "INSERT INTO sgx.scans (tenant_id, scan_id, total, requested_by, started_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING \
         RETURNING scan_id, tenant_id, state, total, checked, findings, place, failure, requested_by, started_at, \
             updated_at, finished_at";

    pub(crate) fn scan(tenant: TenantId, scan_id: Uuid) -> opt<Scan> =
        "SELECT scan_id, tenant_id, state, total, checked, findings, place, failure, requested_by, started_at, updated_at, \
             finished_at \
         FROM sgx.scans WHERE tenant_id = $1 AND scan_id = $2";

    /// The newest first: ids are UUIDv7.
    pub(crate) fn scans(tenant: TenantId, before: Option<Uuid>, limit: i64) -> many<Scan> =
        "SELECT scan_id, tenant_id, state, total, checked, findings, place, failure, requested_by, started_at, updated_at, \
             finished_at \
         FROM sgx.scans WHERE tenant_id = $1 AND ($2::uuid IS NULL OR scan_id < $2) ORDER BY scan_id DESC LIMIT $3";

    /// Those of the tenants in sight.
    pub(crate) fn running() -> many<Scan> =
        "SELECT scan_id, tenant_id, state, total, checked, findings, place, failure, requested_by, started_at, updated_at, \
             finished_at \
         FROM sgx.scans WHERE state = 'running' ORDER BY scan_id";

    /// Of the tenants in sight, those that have sealed something before a time and were not scanned since.
    pub(crate) fn due(before: Timestamp) -> many<Due> =
        "SELECT DISTINCT k.tenant_id FROM sgx.sealing_keys k \
         WHERE k.created_at < $1 AND NOT EXISTS ( \
             SELECT FROM sgx.scans s WHERE s.tenant_id = k.tenant_id AND (s.state = 'running' OR s.started_at >= $1))";

    pub(crate) fn progress(tenant: TenantId, scan_id: Uuid, checked: i64, place: &Value, now: Timestamp) -> exec =
        "UPDATE sgx.scans SET checked = checked + $3, total = greatest(total, checked + $3), place = $4, updated_at = $5 \
         WHERE tenant_id = $1 AND scan_id = $2 AND state = 'running'";

    pub(crate) fn finish(tenant: TenantId, scan_id: Uuid, state: &str, failure: Option<&str>, now: Timestamp) -> opt<Scan> =
        "UPDATE sgx.scans SET state = $3, failure = $4, total = checked, place = NULL, updated_at = $5, finished_at = $5 \
         WHERE tenant_id = $1 AND scan_id = $2 AND state = 'running' \
         RETURNING scan_id, tenant_id, state, total, checked, findings, place, failure, requested_by, started_at, \
             updated_at, finished_at";

    /// Nothing if the scan has it already: a step that was broken off is done again.
    pub(crate) fn add_finding(
        tenant: TenantId, scan_id: Uuid, kind: &str, service: Option<&str>, key: Option<&str>, item_id: Option<Uuid>,
        version: Option<i64>, detail: &str, now: Timestamp,
    ) -> opt<New> =
        "WITH scan AS ( \
             UPDATE sgx.scans SET findings = findings + 1 \
             WHERE tenant_id = $1 AND scan_id = $2 AND NOT EXISTS ( \
                 SELECT FROM sgx.scan_findings f WHERE f.tenant_id = $1 AND f.scan_id = $2 \
                   AND f.item_id IS NOT DISTINCT FROM $6 AND f.version IS NOT DISTINCT FROM $7) \
             RETURNING findings) \
         INSERT INTO sgx.scan_findings (tenant_id, scan_id, number, kind, service_name, key, item_id, version, detail, found_at) \
         SELECT $1, $2, findings::int, $3, $4, $5, $6, $7, $8, $9 FROM scan RETURNING number";

    pub(crate) fn findings(tenant: TenantId, scan_id: Uuid, limit: i64) -> many<Finding> =
        "SELECT kind, service_name::text AS service_name, key::text AS key, item_id, version, detail, found_at \
         FROM sgx.scan_findings WHERE tenant_id = $1 AND scan_id = $2 ORDER BY number LIMIT $3";

    /// Items of which the scan has found something.
    pub(crate) fn found_items(tenant: TenantId, scan_id: Uuid, item_ids: &[Uuid]) -> many<Told> =
        "SELECT DISTINCT item_id FROM sgx.scan_findings WHERE tenant_id = $1 AND scan_id = $2 AND item_id = ANY ($3)";

    /// Rows of items and former versions, as they are counted with each change.
    pub(crate) fn kept(tenant: TenantId) -> one<Kept> =
        "SELECT (coalesce((SELECT sum(versions) FROM sgx.usage WHERE tenant_id = $1), 0) \
               + coalesce((SELECT sum(versions) FROM sgx.usage_changes WHERE tenant_id = $1), 0))::bigint AS versions";

    pub(crate) fn items_after(tenant: TenantId, after_service: &str, after_key: &str, limit: i64) -> many<Whole> =
        "SELECT i.service_name::text AS service_name, i.key::text AS key, i.item_id, i.version, i.revision, \
             i.policy_type::text AS policy_type, i.policy_name::text AS policy_name, i.access, i.encryption, \
             i.sealing_key_version, i.wrapped_data_key, i.sealed_data, i.content_id, i.original_size, i.sealed_size, \
             i.fingerprint, i.metadata, i.created_at, i.updated_at, i.created_by, i.updated_by, i.expires_at, i.deleted_at, \
             i.destroyed_at \
         FROM sgx.sealed_data_items i \
         WHERE i.tenant_id = $1 AND (i.service_name, i.key) > ($2::text COLLATE \"C\", $3::text COLLATE \"C\") \
         ORDER BY i.service_name, i.key LIMIT $4";

    pub(crate) fn versions_after(tenant: TenantId, after_item: Uuid, after_version: i64, limit: i64) -> many<Whole> =
        "SELECT v.service_name::text AS service_name, v.key::text AS key, v.item_id, v.version, 0::bigint AS revision, \
             v.policy_type::text AS policy_type, v.policy_name::text AS policy_name, v.access, v.encryption, \
             v.sealing_key_version, v.wrapped_data_key, v.sealed_data, v.content_id, v.original_size, v.sealed_size, \
             v.fingerprint, v.metadata, v.created_at, v.updated_at, v.created_by, v.updated_by, v.expires_at, \
             NULL::timestamptz AS deleted_at, v.destroyed_at \
         FROM sgx.item_versions v \
         WHERE v.tenant_id = $1 AND (v.item_id, v.version) > ($2::uuid, $3::bigint) \
         ORDER BY v.item_id, v.version LIMIT $4";

    /// What is there of these items. In one snapshot, since a put moves a version.
    pub(crate) fn histories(tenant: TenantId, services: &[&str], keys: &[&str], item_ids: &[Uuid]) -> many<History> =
        "SELECT i.service_name::text AS service_name, i.key::text AS key, i.item_id, i.version, \
             ARRAY(SELECT v.version FROM sgx.item_versions v WHERE v.tenant_id = $1 AND v.item_id = i.item_id) AS former \
         FROM unnest($2::text[], $3::text[], $4::uuid[]) AS n (service_name, key, item_id) \
         JOIN sgx.sealed_data_items i \
           ON i.service_name = n.service_name AND i.key = n.key AND i.item_id = n.item_id \
         WHERE i.tenant_id = $1";

    /// Which of these items are at these addresses.
    pub(crate) fn present(tenant: TenantId, services: &[&str], keys: &[&str], item_ids: &[Uuid]) -> many<Present> =
        "SELECT i.item_id FROM unnest($2::text[], $3::text[], $4::uuid[]) AS n (service_name, key, item_id) \
         JOIN sgx.sealed_data_items i \
           ON i.service_name = n.service_name AND i.key = n.key AND i.item_id = n.item_id \
         WHERE i.tenant_id = $1";
}
