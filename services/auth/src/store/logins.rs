//! The two statements of a login: what it is decided by, and the session that it starts. Each is one round trip.

use jiff::Timestamp;
use nsl_core::ids::{SessionId, TenantId, UserId};
use serde_json::Value;
use uuid::Uuid;

use super::users::Id;

nsl_core::row! {
    /// Whoever a login names, with what is known of them at the block that it comes from.
    pub(crate) struct Applicant {
        pub(crate) id: UserId,
        pub(crate) username: String,
        pub(crate) password_hash: Option<String>,
        pub(crate) status: String,
        pub(crate) locked_until: Option<Timestamp>,
        /// When this was read: whatever a login is decided by raises it.
        pub(crate) revision: i64,
        /// The oldest membership first.
        pub(crate) tenants: Vec<TenantId>,
        pub(crate) is_known: bool,
        pub(crate) block_locked_until: Option<Timestamp>,
        pub(crate) everywhere_locked_until: Option<Timestamp>,
        /// Of a second factor that was confirmed.
        pub(crate) totp_secret: Option<Vec<u8>>,
        pub(crate) totp_root_key_id: Option<Vec<u8>>,
    }
}

nsl_core::queries! {
    /// The user of a name. A login from the block before `since` counts no more.
    pub(crate) fn applicant(username: &str, block: &str, everywhere: &str, since: Timestamp) -> opt<Applicant> =
        "SELECT u.id, u.username, u.password_hash, u.status, u.locked_until, u.revision, ARRAY( \
             SELECT m.tenant_id FROM auth.memberships AS m WHERE m.user_id = u.id \
             ORDER BY m.created_at, m.tenant_id \
         ) AS tenants, coalesce(o.last_success_at > $4, false) AS is_known, o.locked_until AS block_locked_until, \
             e.locked_until AS everywhere_locked_until, t.wrapped_secret AS totp_secret, \
             t.root_key_id AS totp_root_key_id \
         FROM auth.users AS u \
         LEFT JOIN auth.login_origins AS o ON o.user_id = u.id AND o.address_block = $2 \
         LEFT JOIN auth.login_origins AS e ON e.user_id = u.id AND e.address_block = $3 \
         LEFT JOIN auth.totp_factors AS t ON t.user_id = u.id AND t.confirmed_at IS NOT NULL \
         WHERE lower(u.username) = lower($1)";

    /// Starts a session with its first refresh token, and records the login. No row, and nothing written, where the
    /// account is no longer at the revision by which that was decided, or one of the blocks was locked meanwhile: whoever
    /// changes the account holds its row, so this waits for them and then finds another revision, although it sees
    /// nothing else of what they did.
    pub(crate) fn enter(
        tenant: TenantId, session: SessionId, user: UserId, revision: i64, renewed_hash: Option<&str>, block: &str,
        blocks: &[&str], token_hash: &[u8], now: Timestamp, expires: Timestamp, attempt: Uuid, attempted: &str,
        ip_address: Option<&str>, user_agent: Option<&str>, event: Uuid, stream: &str, event_data: &Value,
        actor: &str, correlation_id: Option<&str>, audit: Uuid, request_id: Option<&str>,
    ) -> opt<Id> =
        "WITH admitted AS ( \
             UPDATE auth.users AS u SET failed_attempts = 0, last_login_at = $9, \
                 password_hash = coalesce($5, u.password_hash) \
             WHERE u.id = $3 AND u.status = 'active' AND u.revision = $4 AND NOT EXISTS ( \
                 SELECT FROM auth.login_origins AS o \
                 WHERE o.user_id = $3 AND o.address_block = ANY ($7::text[]) AND o.locked_until > $9) \
             RETURNING u.id \
         ), place AS ( \
             INSERT INTO auth.login_origins AS o (user_id, address_block, last_success_at) \
             SELECT id, $6, $9 FROM admitted \
             ON CONFLICT (user_id, address_block) \
                 DO UPDATE SET failures = 0, locked_until = NULL, last_success_at = $9 \
         ), session AS ( \
             INSERT INTO auth.authentication_sessions \
                 (tenant_id, id, user_id, created_at, expires_at, last_used_at, ip_address, user_agent) \
             SELECT $1, $2, id, $9, $10, $9, $13, $14 FROM admitted \
         ), token AS ( \
             INSERT INTO auth.refresh_tokens (token_hash, tenant_id, session_id, generation, created_at, expires_at) \
             SELECT $8, $1, $2, 0, $9, $10 FROM admitted \
         ), attempt AS ( \
             INSERT INTO auth.login_attempts (id, username, user_id, ip_address, user_agent, success, attempted_at) \
             SELECT $11, $12, id, $13, $14, true, $9 FROM admitted \
         ), head AS ( \
             INSERT INTO eventsourcing.streams (tenant_id, stream, version) SELECT $1, $16, 1 FROM admitted \
         ), event AS ( \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, \
                 actor, correlation_id, causation_id) \
             SELECT $15, $1, $16, 1, 'auth.session_started', 1, $17, '{}', $18, $19, $21 FROM admitted \
         ), audit AS ( \
             INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, \
                 user_id, actor, session_id, ip_address, user_agent, request_id, result, details, metadata) \
             SELECT $20, $1, 'auth', 'LOGIN', 'session', ($2::uuid)::text, id, $18, ($2::uuid)::text, $13, $14, $21, \
                 'Success', NULL, '{}' FROM admitted \
         ) \
         SELECT id FROM admitted";
}
