//! Attempts to log in.

use jiff::Timestamp;
use nsl_core::ids::UserId;
use uuid::Uuid;

nsl_core::queries! {
    /// Records an attempt that failed and counts it with the user, if it was a guess. One statement for known and
    /// unknown users, so that both take the same time.

    pub(crate) fn add_denied(
        id: Uuid, username: &str, user: Option<UserId>, counts: bool, ip_address: Option<&str>,
        user_agent: Option<&str>, reason: &str, now: Timestamp,
    ) -> exec =
        "WITH attempt AS ( \
             INSERT INTO auth.login_attempts \
                 (id, username, user_id, ip_address, user_agent, success, reason, attempted_at) \
             VALUES ($1, $2, $3, $5, $6, false, $7, $8) \
         ) \
         UPDATE auth.users SET failed_attempts = failed_attempts + 1 WHERE id = $3 AND $4";

    /// Deletes old attempts, some at a time.
    pub(crate) fn purge(before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.login_attempts WHERE id IN ( \
             SELECT id FROM auth.login_attempts WHERE attempted_at < $1 ORDER BY attempted_at LIMIT $2)";
}
