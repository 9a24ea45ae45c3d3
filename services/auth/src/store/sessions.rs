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
        pub(crate) revoked_at: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// Whether a refresh token and its successor were used.
    pub(crate) struct Trace {
        pub(crate) used_at: Option<Timestamp>,
        /// There is a successor, and it was not used.
        pub(crate) successor_is_unused: bool,
    }
}

nsl_core::row! {
    /// A session as its user sees it.
    pub(crate) struct Session {
        pub(crate) tenant_id: TenantId,
        pub(crate) id: SessionId,
        pub(crate) user_id: UserId,
        pub(crate) username: String,
        pub(crate) created_at: Timestamp,
        pub(crate) last_used_at: Timestamp,
        pub(crate) expires_at: Timestamp,
        pub(crate) ip_address: Option<String>,
        pub(crate) user_agent: Option<String>,
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

nsl_core::row! {
    /// A session that was ended.
    pub(crate) struct Ended {
        pub(crate) tenant_id: TenantId,
        pub(crate) id: SessionId,
    }
}

nsl_core::queries! {
    /// The family of a refresh token. Its tenant is not known before.
    pub(crate) fn by_token(token_hash: &[u8]) -> opt<Family> =
        "SELECT t.tenant_id, t.session_id, s.user_id, t.generation, t.expires_at, s.revoked_at \
         FROM auth.refresh_tokens AS t \
         JOIN auth.authentication_sessions AS s ON s.tenant_id = t.tenant_id AND s.id = t.session_id \
         WHERE t.token_hash = $1";

    /// Notes that a session is in use, and holds it until the transaction ends: all refreshes of a session, and its end,
    /// happen one after the other. No row if it is over.
    pub(crate) fn touch(tenant: TenantId, session: SessionId, now: Timestamp) -> opt<Changed> =
        "UPDATE auth.authentication_sessions SET last_used_at = greatest(last_used_at, $3) \
         WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL AND expires_at > $3 RETURNING id";

    /// What became of a refresh token.
    pub(crate) fn trace(tenant: TenantId, token_hash: &[u8]) -> opt<Trace> =
        "SELECT t.used_at, EXISTS ( \
             SELECT FROM auth.refresh_tokens AS n \
             WHERE n.tenant_id = t.tenant_id AND n.session_id = t.session_id AND n.generation = t.generation + 1 \
                 AND n.used_at IS NULL \
         ) AS successor_is_unused \
         FROM auth.refresh_tokens AS t WHERE t.tenant_id = $1 AND t.token_hash = $2";

    /// Marks a refresh token as used, and gives its session the next one and as much time as that has.
    pub(crate) fn advance(
        tenant: TenantId, session: SessionId, used: &[u8], next: &[u8], generation: i32, now: Timestamp,
        expires: Timestamp,
    ) -> exec =
        "WITH used AS ( \
             UPDATE auth.refresh_tokens SET used_at = $6 \
             WHERE tenant_id = $1 AND token_hash = $3 AND used_at IS NULL RETURNING tenant_id \
         ), session AS ( \
             UPDATE auth.authentication_sessions AS s SET expires_at = $7 \
             FROM used AS u WHERE s.tenant_id = u.tenant_id AND s.id = $2 \
             RETURNING s.tenant_id, s.id \
         ) \
         INSERT INTO auth.refresh_tokens (token_hash, tenant_id, session_id, generation, created_at, expires_at) \
         SELECT $4, s.tenant_id, s.id, $5, $6, $7 FROM session AS s";

    /// Ends a session and tells every process, which need to know it until the session's last access token has expired;
    /// no row if it has ended already.
    pub(crate) fn revoke(
        tenant: TenantId, session: SessionId, reason: &str, now: Timestamp, until: Timestamp,
    ) -> opt<Changed> =
        "WITH ended AS ( \
             UPDATE auth.authentication_sessions SET revoked_at = $4, revoke_reason = $3 \
             WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING tenant_id, id \
         ), told AS ( \
             INSERT INTO auth.revocations (tenant_id, subject_id, kind, revoked_at, expires_at) \
             SELECT e.tenant_id, e.id, 'session', $4, $5 FROM ended AS e \
         ) \
         SELECT e.id FROM ended AS e";

    /// Ends all sessions of a user in these tenants, or all but one.
    pub(crate) fn revoke_all(
        tenants: &[TenantId], user: UserId, but: Option<SessionId>, reason: &str, now: Timestamp, until: Timestamp,
    ) -> many<Ended> =
        "WITH ended AS ( \
             UPDATE auth.authentication_sessions SET revoked_at = $5, revoke_reason = $4 \
             WHERE tenant_id = ANY ($1::uuid[]) AND user_id = $2 AND id IS DISTINCT FROM $3 AND revoked_at IS NULL \
                 AND expires_at > $5 \
             RETURNING tenant_id, id \
         ), told AS ( \
             INSERT INTO auth.revocations (tenant_id, subject_id, kind, revoked_at, expires_at) \
             SELECT e.tenant_id, e.id, 'session', $5, $6 FROM ended AS e \
         ) \
         SELECT e.tenant_id, e.id FROM ended AS e";

    /// The sessions of a user that go on, in all their tenants, from before one, the latest first.
    pub(crate) fn of_user(user: UserId, before: Option<SessionId>, most: i64, now: Timestamp) -> many<Session> =
        "SELECT s.tenant_id, s.id, s.user_id, u.username, s.created_at, s.last_used_at, s.expires_at, s.ip_address, \
             s.user_agent \
         FROM auth.authentication_sessions AS s JOIN auth.users AS u ON u.id = s.user_id \
         WHERE s.user_id = $1 AND ($2::uuid IS NULL OR s.id < $2) AND s.revoked_at IS NULL AND s.expires_at > $4 \
         ORDER BY s.id DESC LIMIT $3";

    /// Those of a tenant, or of one user in it.
    pub(crate) fn of_tenant(
        tenant: TenantId, user: Option<UserId>, before: Option<SessionId>, most: i64, now: Timestamp,
    ) -> many<Session> =
        "SELECT s.tenant_id, s.id, s.user_id, u.username, s.created_at, s.last_used_at, s.expires_at, s.ip_address, \
             s.user_agent \
         FROM auth.authentication_sessions AS s JOIN auth.users AS u ON u.id = s.user_id \
         WHERE s.tenant_id = $1 AND ($2::uuid IS NULL OR s.user_id = $2) AND ($3::uuid IS NULL OR s.id < $3) \
             AND s.revoked_at IS NULL AND s.expires_at > $5 \
         ORDER BY s.id DESC LIMIT $4";

    /// One session that goes on, if it is of the user or in the tenant.
    pub(crate) fn one(
        session: SessionId, user: Option<UserId>, tenant: Option<TenantId>, now: Timestamp,
    ) -> opt<Session> =
        "SELECT s.tenant_id, s.id, s.user_id, u.username, s.created_at, s.last_used_at, s.expires_at, s.ip_address, \
             s.user_agent \
         FROM auth.authentication_sessions AS s JOIN auth.users AS u ON u.id = s.user_id \
         WHERE s.id = $1 AND (s.user_id = $2 OR s.tenant_id = $3) AND s.revoked_at IS NULL AND s.expires_at > $4";

    /// The tenants that a user has sessions in.
    pub(crate) fn tenants_of(user: UserId, now: Timestamp) -> many<Tenant> =
        "SELECT DISTINCT tenant_id FROM auth.authentication_sessions \
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2";

    /// The tenants that have something to purge.
    pub(crate) fn tenants_to_purge(before: Timestamp) -> many<Tenant> =
        "SELECT tenant_id FROM auth.authentication_sessions WHERE expires_at < $1 \
         UNION SELECT tenant_id FROM auth.refresh_tokens WHERE expires_at < $1 \
         UNION SELECT tenant_id FROM auth.revocations WHERE expires_at < $1";

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
