//! API keys.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use uuid::Uuid;

nsl_core::row! {
    /// A key as its owner sees it.
    pub(crate) struct ApiKey {
        pub(crate) id: Uuid,
        pub(crate) user_id: UserId,
        pub(crate) name: String,
        pub(crate) format: String,
        pub(crate) prefix: String,
        pub(crate) permissions: Vec<String>,
        pub(crate) created_at: Timestamp,
        pub(crate) expires_at: Option<Timestamp>,
        pub(crate) revoked_at: Option<Timestamp>,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// What a key that was shown allows.
    pub(crate) struct Grants {
        pub(crate) tenant_id: TenantId,
        pub(crate) id: Uuid,
        pub(crate) user_id: UserId,
        pub(crate) username: String,
        pub(crate) name: String,
        pub(crate) format: String,
        pub(crate) permissions: Vec<String>,
        pub(crate) expires_at: Option<Timestamp>,
        pub(crate) last_used_at: Option<Timestamp>,
        /// Those of the owner, now.
        pub(crate) owner_roles: Vec<String>,
        pub(crate) owner_permissions: Vec<String>,
        pub(crate) owner_has_totp: bool,
    }
}

nsl_core::row! {
    /// A key that was revoked or rotated.
    pub(crate) struct Ended {
        /// The hash of what is good no longer.
        pub(crate) key_hash: Vec<u8>,
    }
}

nsl_core::queries! {
    pub(crate) fn add(
        tenant: TenantId, id: Uuid, user: UserId, name: &str, prefix: &str, hash: &[u8], permissions: &[String],
        now: Timestamp, expires: Option<Timestamp>,
    ) -> one<ApiKey> =
        "INSERT INTO auth.api_keys \
             (tenant_id, id, user_id, name, prefix, key_hash, permissions, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         RETURNING id, user_id, name, format, prefix, permissions, created_at, expires_at, revoked_at, last_used_at";

    /// The keys of a user, or of all users of the tenant, after one, in the order in which they were made.
    pub(crate) fn list(tenant: TenantId, user: Option<UserId>, after: Option<Uuid>, most: i64) -> many<ApiKey> =
        "SELECT id, user_id, name, format, prefix, permissions, created_at, expires_at, revoked_at, last_used_at \
         FROM auth.api_keys \
         WHERE tenant_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND ($3::uuid IS NULL OR id > $3) \
         ORDER BY id LIMIT $4";

    /// One key; of the user, where one is named.
    pub(crate) fn one(tenant: TenantId, id: Uuid, user: Option<UserId>) -> opt<ApiKey> =
        "SELECT id, user_id, name, format, prefix, permissions, created_at, expires_at, revoked_at, last_used_at \
         FROM auth.api_keys WHERE tenant_id = $1 AND id = $2 AND ($3::uuid IS NULL OR user_id = $3)";

    pub(crate) fn rename(tenant: TenantId, id: Uuid, user: UserId, name: &str) -> opt<ApiKey> =
        "UPDATE auth.api_keys SET name = $4 \
         WHERE tenant_id = $1 AND id = $2 AND user_id = $3 AND revoked_at IS NULL \
         RETURNING id, user_id, name, format, prefix, permissions, created_at, expires_at, revoked_at, last_used_at";

    /// The hash of a key that is good, held until the transaction ends.
    pub(crate) fn hash(tenant: TenantId, id: Uuid, user: Option<UserId>) -> opt<Ended> =
        "SELECT key_hash FROM auth.api_keys \
         WHERE tenant_id = $1 AND id = $2 AND ($3::uuid IS NULL OR user_id = $3) AND revoked_at IS NULL FOR UPDATE";

    /// Gives a key another text; the old one is good no longer.
    pub(crate) fn rotate(tenant: TenantId, id: Uuid, prefix: &str, hash: &[u8]) -> one<ApiKey> =
        "UPDATE auth.api_keys SET prefix = $3, key_hash = $4, format = 'nslk' WHERE tenant_id = $1 AND id = $2 \
         RETURNING id, user_id, name, format, prefix, permissions, created_at, expires_at, revoked_at, last_used_at";

    pub(crate) fn revoke(tenant: TenantId, id: Uuid, now: Timestamp) -> exec =
        "UPDATE auth.api_keys SET revoked_at = $3 WHERE tenant_id = $1 AND id = $2";

    /// What the key of a hash allows; no row for one that is good no longer, or whose owner is.
    pub(crate) fn grants(hash: &[u8], now: Timestamp) -> opt<Grants> =
        "SELECT k.tenant_id, k.id, k.user_id, u.username, k.name, k.format, k.permissions, k.expires_at, \
             k.last_used_at, ARRAY( \
             SELECT r.name FROM auth.user_roles AS ur JOIN auth.roles AS r ON r.id = ur.role_id \
             WHERE ur.tenant_id = k.tenant_id AND ur.user_id = k.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $2) \
         ) AS owner_roles, ARRAY( \
             SELECT DISTINCT p.permission \
             FROM auth.user_roles AS ur JOIN auth.role_permissions AS p ON p.role_id = ur.role_id \
             WHERE ur.tenant_id = k.tenant_id AND ur.user_id = k.user_id \
                 AND (ur.expires_at IS NULL OR ur.expires_at > $2) \
         ) AS owner_permissions, EXISTS ( \
             SELECT FROM auth.totp_factors AS t WHERE t.user_id = k.user_id AND t.confirmed_at IS NOT NULL \
         ) AS owner_has_totp \
         FROM auth.api_keys AS k \
         JOIN auth.memberships AS m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id \
         JOIN auth.users AS u ON u.id = k.user_id \
         WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) \
             AND u.status = 'active'";

    /// Notes when keys were used.
    pub(crate) fn used(tenant: TenantId, ids: &[Uuid], times: &[Timestamp]) -> exec =
        "UPDATE auth.api_keys AS k SET last_used_at = greatest(k.last_used_at, u.used_at) \
         FROM unnest($2::uuid[], $3::timestamptz[]) AS u (id, used_at) WHERE k.tenant_id = $1 AND k.id = u.id";
}
