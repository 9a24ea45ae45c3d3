//! Roles and what they permit.

use nsl_core::ids::TenantId;
use uuid::Uuid;

nsl_core::row! {
    /// A role, with its permissions.
    pub(crate) struct Role {
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) permissions: Vec<String>,
    }
}

nsl_core::queries! {
    /// The roles of these names that the tenant can give: its own and the built-in ones, which come first, so that no
    /// tenant can give another meaning to their names.
    pub(crate) fn by_names(tenant: TenantId, names: &[String]) -> many<Role> =
        "SELECT r.id, r.name, ARRAY( \
             SELECT p.permission FROM auth.role_permissions AS p WHERE p.role_id = r.id ORDER BY p.permission \
         ) AS permissions \
         FROM auth.roles AS r \
         WHERE (r.tenant_id IS NULL OR r.tenant_id = $1) \
             AND lower(r.name) IN (SELECT lower(n.name) FROM unnest($2::text[]) AS n (name)) \
         ORDER BY r.tenant_id NULLS FIRST, r.name";
}
