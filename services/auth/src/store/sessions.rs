//! Sessions and their refresh tokens. All tokens of a session are one family; at most the last is unused.

use jiff::Timestamp;
use nsl_core::ids::{SessionId, TenantId, UserId};

nsl_core::row! {
    /// A refresh token with its session.
    pub(crate) struct Family {
        pub(crate) tenant_id: TenantId,
        pub(crate) session_id: SessionId,
        pub(crate) user_id: UserId,
        pub(crate) generation: i32,
        pub(crate) expires_at: Timestamp,
        pub(crate) used_at: Option<Timestamp>,
        pub(crate) revoked_at: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// Whether a session still authorizes.
    pub(crate) struct Alive {
        pub(crate) alive: bool,
    }
}

nsl_core::row! {
    pub(crate) struct Tenant {
        pub(crate) tenant_id: TenantId,
    }
}

nsl_core::row! {
    pub(crate) struct Changed {
        /// The session that was changed.
        pub(crate) id: SessionId,
    }
}

nsl_core::queries! {
    /// Starts a session with its first refresh token.

    pub(crate) fn start(
        tenant: TenantId, session: SessionId, user: UserId, ip_address: Option<&str>, user_agent: Option<&str>,
        token_hash: &[u8], now: Timestamp, expires: Timestamp,
    ) -> exec =
        "WITH session AS ( \
             INSERT INTO auth.authentication_sessions \
                 (tenant_id, id, user_id, created_at, expires_at, last_used_at, ip_address, user_agent) \
             VALUES ($1, $2, $3, $7, $8, $7, $4, $5) \
         ) \
         INSERT INTO auth.refresh_tokens (token_hash, tenant_id, session_id, generation, created_at, expires_at) \
         VALUES ($6, $1, $2, 0, $7, $8)";

    /// The family of a refresh token. Its tenant is not known before.
    pub(crate) fn by_token(token_hash: &[u8]) -> opt<Family> =
        "SELECT t.tenant_id, t.session_id, s.user_id, t.generation, t.expires_at, t.used_at, s.revoked_at \
         FROM auth.refresh_tokens AS t \
         JOIN auth.authentication_sessions AS s ON s.tenant_id = t.tenant_id AND s.id = t.session_id \
         WHERE t.token_hash = $1";

    /// Marks a refresh token as used; no row if another request was first.
    pub(crate) fn use_token(tenant: TenantId, token_hash: &[u8], now: Timestamp) -> exec =
        "UPDATE auth.refresh_tokens SET used_at = $3 \
         WHERE tenant_id = $1 AND token_hash = $2 AND used_at IS NULL";

    /// Gives a session its next refresh token, and as much time as that has; no row if the session has ended.
    pub(crate) fn extend(
        tenant: TenantId, session: SessionId, token_hash: &[u8], generation: i32, now: Timestamp, expires: Timestamp,
    ) -> exec =
        "WITH session AS ( \
             UPDATE auth.authentication_sessions SET last_used_at = $5, expires_at = $6 \
             WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL AND expires_at > $5 \
             RETURNING tenant_id, id \
         ) \
         INSERT INTO auth.refresh_tokens (token_hash, tenant_id, session_id, generation, created_at, expires_at) \
         SELECT $3, s.tenant_id, s.id, $4, $5, $6 FROM session AS s";

    /// Ends a session; no row if it has ended already.
    pub(crate) fn revoke(tenant: TenantId, session: SessionId, reason: &str, now: Timestamp) -> opt<Changed> =
        "UPDATE auth.authentication_sessions SET revoked_at = $4, revoke_reason = $3 \
         WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING id";

    /// Whether a session still authorizes: not revoked, not over, and its user an active member.
    pub(crate) fn is_alive(tenant: TenantId, session: SessionId, now: Timestamp) -> opt<Alive> =
        "SELECT s.revoked_at IS NULL AND s.expires_at > $3 AND u.status = 'active' AS alive \
         FROM auth.authentication_sessions AS s \
         JOIN auth.users AS u ON u.id = s.user_id \
         JOIN auth.memberships AS m ON m.tenant_id = s.tenant_id AND m.user_id = s.user_id \
         WHERE s.tenant_id = $1 AND s.id = $2";

    /// The tenants that have something to purge.
    pub(crate) fn tenants_to_purge(before: Timestamp) -> many<Tenant> =
        "SELECT tenant_id FROM auth.authentication_sessions WHERE expires_at < $1 \
         UNION SELECT tenant_id FROM auth.refresh_tokens WHERE expires_at < $1";

    /// Deletes sessions that are over, with their refresh tokens, some at a time.
    pub(crate) fn purge(tenant: TenantId, before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.authentication_sessions WHERE tenant_id = $1 AND id IN ( \
             SELECT id FROM auth.authentication_sessions \
             WHERE tenant_id = $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)";

    /// Deletes refresh tokens that have expired in sessions that go on, some at a time.
    pub(crate) fn purge_tokens(tenant: TenantId, before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.refresh_tokens WHERE tenant_id = $1 AND token_hash IN ( \
             SELECT token_hash FROM auth.refresh_tokens \
             WHERE tenant_id = $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)";
}
