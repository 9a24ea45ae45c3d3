//! What shows that a user is the user: the password, and the e-mail address that mail reaches them at.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};

nsl_core::row! {
    /// A user whose account it is.
    pub(crate) struct Owner {
        pub(crate) username: String,
        pub(crate) email: Option<String>,
        pub(crate) email_is_verified: bool,
        pub(crate) full_name: Option<String>,
        pub(crate) password_hash: Option<String>,
    }
}

nsl_core::row! {
    /// A user to whom mail can be sent.
    pub(crate) struct Reachable {
        pub(crate) id: UserId,
        pub(crate) username: String,
        pub(crate) email: String,
    }
}

nsl_core::row! {
    /// Whose mail a token came in.
    pub(crate) struct Recipient {
        pub(crate) user_id: UserId,
        pub(crate) username: String,
        /// Where it was sent.
        pub(crate) email: String,
        pub(crate) full_name: Option<String>,
        /// The user's tenants, the oldest membership first.
        pub(crate) tenants: Vec<TenantId>,
    }
}

nsl_core::row! {
    pub(crate) struct LegacyForms {
        pub(crate) pbkdf2: bool,
        pub(crate) bcrypt_cost: i32,
    }
}

nsl_core::row! {
    pub(crate) struct Spent {
        pub(crate) user_id: UserId,
    }
}

nsl_core::queries! {
    pub(crate) fn owner(user: UserId) -> opt<Owner> =
        "SELECT username, email, email_verified_at IS NOT NULL AS email_is_verified, full_name, password_hash \
         FROM auth.users WHERE id = $1 AND status = 'active'";

    /// The active user of a name or an address, if mail can be sent to them. A name goes before another user's address.
    pub(crate) fn reachable(name_or_email: &str) -> opt<Reachable> =
        "SELECT id, username, coalesce(email, '') AS email FROM auth.users \
         WHERE (lower(username) = lower($1) OR lower(email) = lower($1)) \
             AND email IS NOT NULL AND status = 'active' \
         ORDER BY lower(username) = lower($1) DESC LIMIT 1";

    /// The legacy forms of hashes that are still there; a cost of 0 for no bcrypt.
    pub(crate) fn legacy_forms() -> one<LegacyForms> =
        "SELECT coalesce(bool_or(password_hash NOT LIKE '$2%'), false) AS pbkdf2, \
             coalesce(max(substring(password_hash FROM '^\\$2[abxy]\\$([0-9]{2})\\$')::integer), 0) AS bcrypt_cost \
         FROM auth.users WHERE password_hash NOT LIKE '$argon2id$%'";

    /// Sets a new password.
    pub(crate) fn set_password(user: UserId, hash: &str, now: Timestamp) -> exec =
        "UPDATE auth.users SET password_hash = $2, password_changed_at = $3, updated_at = $3, failed_attempts = 0, \
             locked_until = NULL, revision = revision + 1 \
         WHERE id = $1 AND status = 'active'";

    /// Notes that mail to the address reaches the user, if it is still theirs.
    pub(crate) fn verify_email(user: UserId, email: &str, now: Timestamp) -> exec =
        "UPDATE auth.users SET email_verified_at = coalesce(email_verified_at, $3) \
         WHERE id = $1 AND lower(email) = lower($2) AND status = 'active'";

    /// Lets one request at a time ask for mail to a name or an address, whether or not somebody has it.
    pub(crate) fn queue(name_or_email: &str) -> exec =
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('auth.mail ' || lower($1), 0))";

    /// Keeps a token that goes out by mail; no row where the user has as many of its purpose as one is sent at a time,
    /// or another address, or where there is no user. Two do not count at the same time only where they have queued.
    pub(crate) fn add_token(
        hash: &[u8], user: Option<UserId>, purpose: &str, email: &str, now: Timestamp, expires: Timestamp, most: i64,
    ) -> exec =
        "INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, email, created_at, expires_at) \
         SELECT $1, u.id, $3, $4, $5, $6 FROM auth.users AS u \
         WHERE u.id = $2 AND lower(u.email) = lower($4) AND $7 > ( \
             SELECT count(*) FROM auth.one_time_tokens AS t \
             WHERE t.user_id = u.id AND t.purpose = $3 AND t.expires_at > $5)";

    /// The user whose mail a token came in, if that is still their address.
    pub(crate) fn recipient(hash: &[u8], purpose: &str, now: Timestamp) -> opt<Recipient> =
        "SELECT t.user_id, u.username, t.email, u.full_name, ARRAY( \
             SELECT m.tenant_id FROM auth.memberships AS m WHERE m.user_id = u.id \
             ORDER BY m.created_at, m.tenant_id \
         ) AS tenants \
         FROM auth.one_time_tokens AS t JOIN auth.users AS u ON u.id = t.user_id \
         WHERE t.token_hash = $1 AND t.purpose = $2 AND t.expires_at > $3 AND u.status = 'active' \
             AND lower(u.email) = lower(t.email)";

    /// Spends a token, and with it every other of its user and purpose; no row if another request was first.
    pub(crate) fn spend_token(hash: &[u8], purpose: &str, now: Timestamp) -> opt<Spent> =
        "WITH spent AS ( \
             DELETE FROM auth.one_time_tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3 \
             RETURNING user_id \
         ), others AS ( \
             DELETE FROM auth.one_time_tokens AS t USING spent AS s \
             WHERE t.user_id = s.user_id AND t.purpose = $2 AND t.token_hash <> $1 \
         ) \
         SELECT s.user_id FROM spent AS s";

    /// Makes a user's other tokens useless, as when the password was changed in another way.
    pub(crate) fn drop_tokens(user: UserId, purpose: &str) -> exec =
        "DELETE FROM auth.one_time_tokens WHERE user_id = $1 AND purpose = $2";

    /// Makes every token useless that was mailed to another address than this one.
    pub(crate) fn drop_tokens_elsewhere(user: UserId, email: Option<&str>) -> exec =
        "DELETE FROM auth.one_time_tokens WHERE user_id = $1 AND lower(email) IS DISTINCT FROM lower($2)";

    /// Deletes tokens that have expired, some at a time.
    pub(crate) fn purge_tokens(before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.one_time_tokens WHERE token_hash IN ( \
             SELECT token_hash FROM auth.one_time_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
}
