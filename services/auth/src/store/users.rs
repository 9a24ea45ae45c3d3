//! Users, their memberships and what they may do. A user is of no tenant; whoever reads one for a tenant goes through
//! the membership.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use uuid::Uuid;

nsl_core::row! {
    /// What a login needs to know of a user.
    pub(crate) struct Login {
        pub(crate) id: UserId,
        pub(crate) username: String,
        pub(crate) password_hash: Option<String>,
        pub(crate) status: String,
        pub(crate) locked_until: Option<Timestamp>,
        /// The oldest membership first.
        pub(crate) tenants: Vec<TenantId>,
    }
}

nsl_core::row! {
    /// What a member may do in a tenant.
    pub(crate) struct Grants {
        pub(crate) username: String,
        pub(crate) roles: Vec<String>,
        pub(crate) permissions: Vec<String>,
    }
}

nsl_core::row! {
    /// A member of a tenant.
    pub(crate) struct Member {
        pub(crate) id: UserId,
        pub(crate) username: String,
        pub(crate) email: Option<String>,
        pub(crate) full_name: Option<String>,
        pub(crate) status: String,
        pub(crate) created_at: Timestamp,
        pub(crate) updated_at: Timestamp,
        pub(crate) last_login_at: Option<Timestamp>,
        pub(crate) roles: Vec<String>,
    }
}

nsl_core::row! {
    pub(crate) struct Found {
        pub(crate) found: bool,
    }
}

nsl_core::queries! {
    /// Lets one process at a time look whether there is a user and make the first. Readers pass.
    pub(crate) fn lock() -> exec = "LOCK TABLE auth.users IN SHARE ROW EXCLUSIVE MODE";

    pub(crate) fn any() -> one<Found> = "SELECT EXISTS (SELECT FROM auth.users) AS found";

    /// The user of a name, for a login.
    pub(crate) fn by_username(username: &str) -> opt<Login> =
        "SELECT u.id, u.username, u.password_hash, u.status, u.locked_until, ARRAY( \
             SELECT m.tenant_id FROM auth.memberships AS m WHERE m.user_id = u.id \
             ORDER BY m.created_at, m.tenant_id \
         ) AS tenants \
         FROM auth.users AS u WHERE lower(u.username) = lower($1)";

    /// What an active member may do; no row for anybody else.
    pub(crate) fn grants(tenant: TenantId, user: UserId, now: Timestamp) -> opt<Grants> =
        "SELECT u.username, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $3) \
             ORDER BY r.name \
         ) AS roles, ARRAY( \
             SELECT DISTINCT p.permission \
             FROM auth.user_roles AS ur JOIN auth.role_permissions AS p ON p.role_id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $3) \
             ORDER BY p.permission \
         ) AS permissions \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND m.user_id = $2 AND u.status = 'active'";

    /// Makes a user, a member of the tenant with these roles.

    pub(crate) fn add(
        tenant: TenantId, user: UserId, username: &str, email: Option<&str>, full_name: Option<&str>,
        password_hash: &str, roles: &[Uuid], assigned_by: Option<UserId>, now: Timestamp,
    ) -> exec =
        "WITH new_user AS ( \
             INSERT INTO auth.users (id, username, email, full_name, password_hash, created_at, updated_at) \
             VALUES ($2, $3, $4, $5, $6, $9, $9) \
         ), membership AS ( \
             INSERT INTO auth.memberships (tenant_id, user_id, created_at) VALUES ($1, $2, $9) \
         ) \
         INSERT INTO auth.user_roles (tenant_id, user_id, role_id, assigned_at, assigned_by) \
         SELECT $1, $2, role_id, $9, $8 FROM unnest($7::uuid[]) AS given (role_id)";

    /// One member of the tenant.
    pub(crate) fn member(tenant: TenantId, user: UserId, now: Timestamp) -> opt<Member> =
        "SELECT u.id, u.username, u.email, u.full_name, u.status, u.created_at, u.updated_at, u.last_login_at, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $3) \
             ORDER BY r.name \
         ) AS roles \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND m.user_id = $2";

    /// The members of the tenant after one, in the order of their ids.
    pub(crate) fn members(tenant: TenantId, after: Option<UserId>, most: i64, now: Timestamp) -> many<Member> =
        "SELECT u.id, u.username, u.email, u.full_name, u.status, u.created_at, u.updated_at, u.last_login_at, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $4) \
             ORDER BY r.name \
         ) AS roles \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND ($2::uuid IS NULL OR m.user_id > $2) \
         ORDER BY m.user_id LIMIT $3";
}
