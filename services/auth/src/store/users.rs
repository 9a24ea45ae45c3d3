//! Users, their memberships and what they may do. A user is of no tenant; whoever reads one for a tenant goes through
//! the membership.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use uuid::Uuid;

nsl_core::row! {
    /// What a member may do in a tenant.
    pub(crate) struct Grants {
        pub(crate) username: String,
        pub(crate) roles: Vec<String>,
        pub(crate) permissions: Vec<String>,
        /// When the first of the roles ends.
        pub(crate) until: Option<Timestamp>,
        pub(crate) has_totp: bool,
        /// Of the account, when this was read.
        pub(crate) revision: i64,
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
    /// Whose an account is, and where its mail goes.
    pub(crate) struct Account {
        pub(crate) home_tenant_id: Option<TenantId>,
        pub(crate) email: Option<String>,
    }
}

nsl_core::row! {
    pub(crate) struct Name {
        pub(crate) name: String,
    }
}

nsl_core::row! {
    pub(crate) struct Id {
        pub(crate) id: UserId,
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

    /// The user of a name.
    pub(crate) fn by_username(username: &str) -> opt<Id> =
        "SELECT id FROM auth.users WHERE lower(username) = lower($1)";

    /// The user of a name, for a process that may not read what a login needs.
    pub(crate) fn id_by_username(username: &str) -> opt<Id> =
        "SELECT id FROM auth.users WHERE lower(username) = lower($1)";

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
         ) AS permissions, ( \
             SELECT min(ur.expires_at) FROM auth.user_roles AS ur \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id AND ur.expires_at > $3 \
         ) AS until, EXISTS ( \
             SELECT FROM auth.totp_factors AS t WHERE t.user_id = m.user_id AND t.confirmed_at IS NOT NULL \
         ) AS has_totp, u.revision \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND m.user_id = $2 AND u.status = 'active'";

    /// Makes a user, a member of the tenant with these roles.

    pub(crate) fn add(
        tenant: TenantId, user: UserId, username: &str, email: Option<&str>, full_name: Option<&str>,
        password_hash: &str, roles: &[Uuid], assigned_by: Option<UserId>, now: Timestamp,
    ) -> exec =
        "WITH new_user AS ( \
             INSERT INTO auth.users \
                 (id, username, email, full_name, password_hash, home_tenant_id, created_at, updated_at) \
             VALUES ($2, $3, $4, $5, $6, $1, $9, $9) \
         ), membership AS ( \
             INSERT INTO auth.memberships (tenant_id, user_id, created_at) VALUES ($1, $2, $9) \
         ) \
         INSERT INTO auth.user_roles (tenant_id, user_id, role_id, assigned_at, assigned_by) \
         SELECT $1, $2, role_id, $9, $8 FROM unnest($7::uuid[]) AS given (role_id)";

    /// One member of the tenant. The address and the full name of somebody else's account are not shown.
    pub(crate) fn member(tenant: TenantId, user: UserId, viewer: Option<UserId>, now: Timestamp) -> opt<Member> =
        "SELECT u.id, u.username, CASE WHEN u.home_tenant_id = m.tenant_id OR u.id = $3 THEN u.email END AS email, \
             CASE WHEN u.home_tenant_id = m.tenant_id OR u.id = $3 THEN u.full_name END AS full_name, \
             u.status, u.created_at, u.updated_at, u.last_login_at, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $4) \
             ORDER BY r.name \
         ) AS roles \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND m.user_id = $2";

    /// The members of the tenant after one, in the order of their ids.
    pub(crate) fn members(
        tenant: TenantId, after: Option<UserId>, most: i64, viewer: Option<UserId>, now: Timestamp,
    ) -> many<Member> =
        "SELECT u.id, u.username, CASE WHEN u.home_tenant_id = m.tenant_id OR u.id = $4 THEN u.email END AS email, \
             CASE WHEN u.home_tenant_id = m.tenant_id OR u.id = $4 THEN u.full_name END AS full_name, \
             u.status, u.created_at, u.updated_at, u.last_login_at, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = m.tenant_id AND ur.user_id = m.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $5) \
             ORDER BY r.name \
         ) AS roles \
         FROM auth.memberships AS m JOIN auth.users AS u ON u.id = m.user_id \
         WHERE m.tenant_id = $1 AND ($2::uuid IS NULL OR m.user_id > $2) \
         ORDER BY m.user_id LIMIT $3";

    pub(crate) fn exists(user: UserId) -> one<Found> =
        "SELECT EXISTS (SELECT FROM auth.users WHERE id = $1) AS found";

    /// Holds an account until the transaction ends, for what changes it: a login of it that is under way waits, and then
    /// starts no session.
    pub(crate) fn hold(user: UserId) -> opt<Account> =
        "UPDATE auth.users SET revision = revision + 1 WHERE id = $1 RETURNING home_tenant_id, email";

    /// Lets one request at a time do something for an account that changes nothing of it.
    pub(crate) fn queue(user: UserId) -> opt<Id> =
        "SELECT id FROM auth.users WHERE id = $1 FOR NO KEY UPDATE";

    /// What a user may do, in one tenant or in all of them together, whether they can log in or not.
    pub(crate) fn powers(user: UserId, tenant: Option<TenantId>, now: Timestamp) -> many<Name> =
        "SELECT DISTINCT p.permission AS name \
         FROM auth.user_roles AS ur JOIN auth.role_permissions AS p ON p.role_id = ur.role_id \
         WHERE ur.user_id = $1 AND ($2::uuid IS NULL OR ur.tenant_id = $2) \
             AND (ur.expires_at IS NULL OR ur.expires_at > $3) \
         ORDER BY p.permission";

    /// Changes what is to be changed of an account. A new address is not known to be its owner's.
    pub(crate) fn update(
        user: UserId, sets_email: bool, email: Option<&str>, sets_full_name: bool, full_name: Option<&str>,
        status: Option<&str>, now: Timestamp,
    ) -> exec =
        "UPDATE auth.users SET \
             email = CASE WHEN $2 THEN $3 ELSE email END, \
             email_verified_at = CASE WHEN $2 AND lower(email) IS DISTINCT FROM lower($3) THEN NULL \
                 ELSE email_verified_at END, \
             full_name = CASE WHEN $4 THEN $5 ELSE full_name END, \
             status = coalesce($6, status), updated_at = $7 \
         WHERE id = $1";

    /// Forgets the wrong passwords of an account.
    pub(crate) fn forgive(user: UserId) -> exec =
        "WITH places AS (DELETE FROM auth.login_origins WHERE user_id = $1) \
         UPDATE auth.users SET failed_attempts = 0, locked_until = NULL WHERE id = $1";

    /// Makes a user a member with these roles. One who has left every tenant can log in again when the tenant that
    /// manages the account takes them back.
    pub(crate) fn join(
        tenant: TenantId, user: UserId, roles: &[Uuid], assigned_by: Option<UserId>, now: Timestamp,
    ) -> exec =
        "WITH membership AS ( \
             INSERT INTO auth.memberships (tenant_id, user_id, created_at) VALUES ($1, $2, $5) \
         ), roles AS ( \
             INSERT INTO auth.user_roles (tenant_id, user_id, role_id, assigned_at, assigned_by) \
             SELECT $1, $2, role_id, $5, $4 FROM unnest($3::uuid[]) AS given (role_id) \
         ) \
         UPDATE auth.users AS u SET status = 'active', updated_at = $5 \
         WHERE u.id = $2 AND u.home_tenant_id = $1 AND u.status = 'disabled' \
             AND NOT EXISTS (SELECT FROM auth.memberships AS m WHERE m.user_id = u.id)";

    /// Ends a membership, with its roles. An account that is a member nowhere any more cannot log in; one that still is
    /// somewhere belongs to no tenant when it has left the one that managed it.
    pub(crate) fn leave(tenant: TenantId, user: UserId, now: Timestamp) -> exec =
        "WITH gone AS ( \
             DELETE FROM auth.memberships WHERE tenant_id = $1 AND user_id = $2 RETURNING user_id \
         ), others AS ( \
             SELECT EXISTS ( \
                 SELECT FROM auth.memberships WHERE user_id = $2 AND tenant_id <> $1 \
             ) AS there \
         ) \
         UPDATE auth.users AS u SET \
             home_tenant_id = CASE WHEN o.there THEN nullif(u.home_tenant_id, $1) ELSE u.home_tenant_id END, \
             status = CASE WHEN o.there THEN u.status ELSE 'disabled' END, updated_at = $3 \
         FROM gone AS g CROSS JOIN others AS o WHERE u.id = g.user_id";
}
