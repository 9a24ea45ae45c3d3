//! Roles, what they permit, and who holds them.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use uuid::Uuid;

use super::users::Id;

/// The built-in role that may do everything, from the first migration.
pub(crate) const ADMINISTRATOR: Uuid = uuid::uuid!("00000000-0000-7000-8000-000000000101");

nsl_core::row! {
    /// A role, with its permissions.
    pub(crate) struct Role {
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) description: String,
        /// Of every tenant, and never changed.
        pub(crate) builtin: bool,
        pub(crate) permissions: Vec<String>,
        pub(crate) created_at: Timestamp,
    }
}

nsl_core::row! {
    pub(crate) struct InUse {
        pub(crate) holders: i64,
    }
}

nsl_core::row! {
    pub(crate) struct Held {
        pub(crate) id: Uuid,
    }
}

nsl_core::queries! {
    /// The roles of these names that the tenant can give: its own and the built-in ones, which come first, so that no
    /// tenant can give another meaning to their names.
    pub(crate) fn by_names(tenant: TenantId, names: &[String]) -> many<Role> =
        "SELECT r.id, r.name, r.description, r.builtin, ARRAY( \
             SELECT p.permission FROM auth.role_permissions AS p WHERE p.role_id = r.id ORDER BY p.permission \
         ) AS permissions, r.created_at \
         FROM auth.roles AS r \
         WHERE (r.tenant_id IS NULL OR r.tenant_id = $1) \
             AND lower(r.name) IN (SELECT lower(n.name) FROM unnest($2::text[]) AS n (name)) \
         ORDER BY r.tenant_id NULLS FIRST, r.name";

    /// The roles that the tenant can give, the built-in ones first, after one by its id.
    pub(crate) fn list(tenant: TenantId, after: Option<Uuid>, most: i64) -> many<Role> =
        "SELECT r.id, r.name, r.description, r.builtin, ARRAY( \
             SELECT p.permission FROM auth.role_permissions AS p WHERE p.role_id = r.id ORDER BY p.permission \
         ) AS permissions, r.created_at \
         FROM auth.roles AS r \
         WHERE (r.tenant_id IS NULL OR r.tenant_id = $1) AND ($2::uuid IS NULL OR r.id > $2) \
         ORDER BY r.id LIMIT $3";

    /// Makes a role of the tenant; the constraint `roles_name_key` refuses a name that is taken.
    pub(crate) fn add(
        tenant: TenantId, role: Uuid, name: &str, description: &str, permissions: &[String], now: Timestamp,
    ) -> exec =
        "WITH role AS ( \
             INSERT INTO auth.roles (id, tenant_id, name, description, created_at) VALUES ($2, $1, $3, $4, $6) \
         ) \
         INSERT INTO auth.role_permissions (role_id, tenant_id, permission) \
         SELECT DISTINCT $2::uuid, $1::uuid, given.permission FROM unnest($5::text[]) AS given (permission)";

    /// Holds a role of the tenant until the transaction ends: nobody is given it meanwhile.
    pub(crate) fn hold(tenant: TenantId, role: Uuid) -> opt<Held> =
        "SELECT id FROM auth.roles WHERE tenant_id = $1 AND id = $2 FOR UPDATE";

    pub(crate) fn describe(tenant: TenantId, role: Uuid, description: &str) -> exec =
        "UPDATE auth.roles SET description = $3 WHERE tenant_id = $1 AND id = $2";

    /// Sets what a role permits.
    pub(crate) fn permit(tenant: TenantId, role: Uuid, permissions: &[String]) -> exec =
        "WITH gone AS ( \
             DELETE FROM auth.role_permissions \
             WHERE tenant_id = $1 AND role_id = $2 AND permission <> ALL ($3::text[]) \
         ) \
         INSERT INTO auth.role_permissions (role_id, tenant_id, permission) \
         SELECT DISTINCT $2::uuid, $1::uuid, given.permission FROM unnest($3::text[]) AS given (permission) \
         ON CONFLICT (role_id, permission) DO NOTHING";

    /// How many members hold a role.
    pub(crate) fn in_use(tenant: TenantId, role: Uuid, now: Timestamp) -> one<InUse> =
        "SELECT count(*) AS holders FROM auth.user_roles \
         WHERE tenant_id = $1 AND role_id = $2 AND (expires_at IS NULL OR expires_at > $3)";

    pub(crate) fn delete(tenant: TenantId, role: Uuid) -> exec =
        "DELETE FROM auth.roles WHERE tenant_id = $1 AND id = $2";

    /// Gives a role to a member, or another end to one that they hold.
    pub(crate) fn assign(
        tenant: TenantId, user: UserId, role: Uuid, expires: Option<Timestamp>, by: Option<UserId>, now: Timestamp,
    ) -> exec =
        "INSERT INTO auth.user_roles (tenant_id, user_id, role_id, assigned_at, assigned_by, expires_at) \
         VALUES ($1, $2, $3, $6, $5, $4) \
         ON CONFLICT (tenant_id, user_id, role_id) \
             DO UPDATE SET assigned_at = $6, assigned_by = $5, expires_at = $4";

    /// Takes a role from a member; no row if they do not hold it.
    pub(crate) fn unassign(tenant: TenantId, user: UserId, role: Uuid) -> exec =
        "DELETE FROM auth.user_roles WHERE tenant_id = $1 AND user_id = $2 AND role_id = $3";

    /// Holds every assignment of a role until the transaction ends: the next to change one of them sees what we did.
    pub(crate) fn hold_holders(tenant: TenantId, role: Uuid) -> many<Id> =
        "SELECT user_id AS id FROM auth.user_roles WHERE tenant_id = $1 AND role_id = $2 ORDER BY user_id \
         FOR NO KEY UPDATE";

    /// The members who hold a role, without an end, and can log in.
    pub(crate) fn lasting_holders(tenant: TenantId, role: Uuid) -> many<Id> =
        "SELECT ur.user_id AS id FROM auth.user_roles AS ur JOIN auth.users AS u ON u.id = ur.user_id \
         WHERE ur.tenant_id = $1 AND ur.role_id = $2 AND ur.expires_at IS NULL AND u.status = 'active' \
         ORDER BY ur.user_id";
}
