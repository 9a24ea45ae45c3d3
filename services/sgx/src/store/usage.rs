//! What is kept per service. Changes are inserted by whoever writes and folded by a job: one row that every put updates
//! would make writers queue.

use nsl_core::ids::TenantId;

nsl_core::row! {
    /// What a service of a tenant keeps.
    pub(crate) struct Used { pub service_name: String, pub items: i64, pub versions: i64, pub bytes: i64 }
}
nsl_core::row! {
    /// What a service, or a tenant as a whole, keeps.
    pub(crate) struct Total { pub items: i64, pub bytes: i64 }
}
nsl_core::row! {
    pub(crate) struct Folded { pub changes: i64 }
}

nsl_core::queries! {
    /// Notes changes: items that came to life, versions whose value is kept, and their sealed bytes.
    pub(crate) fn add_changes(
        tenants: &[TenantId], services: &[&str], items: &[i64], versions: &[i64], bytes: &[i64],
    ) -> exec =
        "INSERT INTO sgx.usage_changes (tenant_id, service_name, items, versions, bytes) \
         SELECT tenant_id, service_name, sum(items)::bigint, sum(versions)::bigint, sum(bytes)::bigint \
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) \
              AS change (tenant_id, service_name, items, versions, bytes) \
         GROUP BY tenant_id, service_name \
         HAVING sum(items) <> 0 OR sum(versions) <> 0 OR sum(bytes) <> 0";

    /// The truth: what is folded and what is not, of each service.
    pub(crate) fn by_service(tenant: TenantId) -> many<Used> =
        "SELECT service_name::text AS service_name, sum(items)::bigint AS items, sum(versions)::bigint AS versions, \
                sum(bytes)::bigint AS bytes \
         FROM (SELECT service_name, items, versions, bytes FROM sgx.usage WHERE tenant_id = $1 \
               UNION ALL \
               SELECT service_name, items, versions, bytes FROM sgx.usage_changes WHERE tenant_id = $1) AS told \
         GROUP BY service_name ORDER BY service_name";

    /// The same of one service; of the tenant as a whole where none is named.
    pub(crate) fn total(tenant: TenantId, service: Option<&str>) -> one<Total> =
        "SELECT coalesce(sum(items), 0)::bigint AS items, coalesce(sum(bytes), 0)::bigint AS bytes \
         FROM (SELECT items, bytes FROM sgx.usage \
               WHERE tenant_id = $1 AND ($2::text IS NULL OR service_name = $2::text) \
               UNION ALL \
               SELECT items, bytes FROM sgx.usage_changes \
               WHERE tenant_id = $1 AND ($2::text IS NULL OR service_name = $2::text)) AS told";

    /// Folds the changes of a tenant that are there now; a service of which nothing is left has no row.
    pub(crate) fn fold(tenant: TenantId, limit: i64) -> one<Folded> =
        "WITH gone AS ( \
             DELETE FROM sgx.usage_changes WHERE tenant_id = $1 AND ctid = ANY (ARRAY( \
                 SELECT ctid FROM sgx.usage_changes WHERE tenant_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)) \
             RETURNING service_name, items, versions, bytes), \
         summed AS ( \
             SELECT service_name, sum(items)::bigint AS items, sum(versions)::bigint AS versions, \
                    sum(bytes)::bigint AS bytes, count(*) AS changes \
             FROM gone GROUP BY service_name), \
         folded AS ( \
             INSERT INTO sgx.usage AS u (tenant_id, service_name, items, versions, bytes) \
             SELECT $1, service_name, items, versions, bytes FROM summed ORDER BY service_name \
             ON CONFLICT (tenant_id, service_name) DO UPDATE SET items = u.items + excluded.items, \
                 versions = u.versions + excluded.versions, bytes = u.bytes + excluded.bytes) \
         SELECT coalesce(sum(changes), 0)::bigint AS changes FROM summed";
}
