//! Mail to be sent, wrapped by the enclave.

use jiff::Timestamp;
use uuid::Uuid;

nsl_core::row! {
    pub(crate) struct Waiting {
        pub(crate) id: Uuid,
        pub(crate) wrapped: Vec<u8>,
        pub(crate) root_key_id: Vec<u8>,
        pub(crate) tries: i32,
    }
}

nsl_core::row! {
    /// How much waits.
    pub(crate) struct Backlog {
        pub(crate) waiting: i64,
        /// How many were tried without success.
        pub(crate) failing: i64,
    }
}

nsl_core::queries! {
    pub(crate) fn add(id: Uuid, wrapped: &[u8], root_key_id: &[u8], now: Timestamp, expires: Timestamp) -> exec =
        "INSERT INTO auth.outbox (id, wrapped, root_key_id, created_at, expires_at, next_try_at) \
         VALUES ($1, $2, $3, $4, $5, $4)";

    /// What is to be sent now, the oldest first.
    pub(crate) fn due(now: Timestamp, most: i64) -> many<Waiting> =
        "SELECT id, wrapped, root_key_id, tries FROM auth.outbox \
         WHERE next_try_at <= $1 AND expires_at > $1 ORDER BY next_try_at LIMIT $2";

    /// Forgets a mail that was sent.
    pub(crate) fn remove(id: Uuid) -> exec = "DELETE FROM auth.outbox WHERE id = $1";

    /// Tries a mail again later.
    pub(crate) fn postpone(id: Uuid, next_try: Timestamp) -> exec =
        "UPDATE auth.outbox SET tries = tries + 1, next_try_at = $2 WHERE id = $1";

    /// Forgets mail whose token has expired.
    pub(crate) fn purge(before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.outbox WHERE id IN ( \
             SELECT id FROM auth.outbox WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

    pub(crate) fn backlog() -> one<Backlog> =
        "SELECT count(id) AS waiting, count(id) FILTER (WHERE tries > 0) AS failing FROM auth.outbox";
}
