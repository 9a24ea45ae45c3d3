//! Policies that tenants made; the built-in ones are part of the program.

use jiff::Timestamp;
use nsl_core::ids::TenantId;

nsl_core::row! {
    #[derive(Clone, Debug)]
    #[expect(clippy::struct_field_names, reason = "a field is named as its column")]
    pub(crate) struct Policy {
        pub name: String, pub policy_type: String, pub description: Option<String>, pub expiration_hours: Option<i32>,
        pub allow_unseal: bool, pub require_attestation: bool, pub allowed_roles: Option<Vec<String>>,
        pub max_reads: Option<i64>, pub min_isv_svn: Option<i32>, pub is_active: bool, pub version: i64,
        pub created_at: Timestamp, pub updated_at: Timestamp, pub created_by: String, pub updated_by: String,
    }
}

nsl_core::queries! {
    pub(crate) fn named(tenant: TenantId, name: &str) -> opt<Policy> =
        "SELECT name::text AS name, policy_type::text AS policy_type, description::text AS description, expiration_hours, \
                allow_unseal, require_attestation, allowed_roles, max_reads, min_isv_svn, is_active, version, created_at, \
                updated_at, created_by, updated_by \
         FROM sgx.policies WHERE tenant_id = $1 AND name = $2::text";

    pub(crate) fn list(tenant: TenantId, after: &str, limit: i64) -> many<Policy> =
        "SELECT name::text AS name, policy_type::text AS policy_type, description::text AS description, expiration_hours, \
                allow_unseal, require_attestation, allowed_roles, max_reads, min_isv_svn, is_active, version, created_at, \
                updated_at, created_by, updated_by \
         FROM sgx.policies WHERE tenant_id = $1 AND name > $2::text COLLATE \"C\" ORDER BY name LIMIT $3";

    /// Makes a policy; no row if the name is taken.
    pub(crate) fn add(
        tenant: TenantId, name: &str, policy_type: &str, description: Option<&str>, expiration_hours: Option<i32>,
        allow_unseal: bool, require_attestation: bool, allowed_roles: Option<&[String]>, max_reads: Option<i64>,
        min_isv_svn: Option<i32>, is_active: bool, now: Timestamp, actor: &str,
    ) -> opt<Policy> =
        "INSERT INTO sgx.policies (tenant_id, name, policy_type, description, expiration_hours, allow_unseal, \
             require_attestation, allowed_roles, max_reads, min_isv_svn, is_active, created_at, updated_at, created_by, \
             updated_by) \
         VALUES ($1, $2::text, $3::text, $4::text, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $13) \
         ON CONFLICT (tenant_id, name) DO NOTHING \
         RETURNING name::text AS name, policy_type::text AS policy_type, description::text AS description, \
             expiration_hours, allow_unseal, require_attestation, allowed_roles, max_reads, min_isv_svn, is_active, version, \
             created_at, updated_at, created_by, updated_by";

    /// Replaces a policy that is at a version.
    pub(crate) fn replace(
        tenant: TenantId, name: &str, policy_type: &str, description: Option<&str>, expiration_hours: Option<i32>,
        allow_unseal: bool, require_attestation: bool, allowed_roles: Option<&[String]>, max_reads: Option<i64>,
        min_isv_svn: Option<i32>, is_active: bool, now: Timestamp, actor: &str, version: i64,
    ) -> opt<Policy> =
        "UPDATE sgx.policies SET policy_type = $3::text, description = $4::text, expiration_hours = $5, allow_unseal = $6, \
             require_attestation = $7, allowed_roles = $8, max_reads = $9, min_isv_svn = $10, is_active = $11, \
             updated_at = $12, updated_by = $13, version = version + 1 \
         WHERE tenant_id = $1 AND name = $2::text AND version = $14 \
         RETURNING name::text AS name, policy_type::text AS policy_type, description::text AS description, \
             expiration_hours, allow_unseal, require_attestation, allowed_roles, max_reads, min_isv_svn, is_active, version, \
             created_at, updated_at, created_by, updated_by";

    pub(crate) fn remove(tenant: TenantId, name: &str, version: i64) -> exec =
        "DELETE FROM sgx.policies WHERE tenant_id = $1 AND name = $2::text AND version = $3";
}
