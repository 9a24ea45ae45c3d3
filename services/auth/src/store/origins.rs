//! Wrong passwords of an account by the block of addresses that they came from, and where its owner logs in from.

use jiff::Timestamp;
use nsl_core::ids::UserId;

nsl_core::row! {
    /// What is known of an account at a block.
    pub(crate) struct Standing {
        pub(crate) is_known: bool,
        pub(crate) locked_until: Option<Timestamp>,
        pub(crate) everywhere_locked_until: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// A count that was raised.
    pub(crate) struct Counted {
        pub(crate) address_block: String,
        pub(crate) failures: i32,
    }
}

nsl_core::queries! {
    /// The standing of an account at a block and everywhere. A login before `since` counts no more.
    pub(crate) fn standing(user: UserId, block: &str, everywhere: &str, since: Timestamp) -> one<Standing> =
        "SELECT coalesce(bool_or(address_block = $2 AND last_success_at > $4), false) AS is_known, \
             max(locked_until) FILTER (WHERE address_block = $2) AS locked_until, \
             max(locked_until) FILTER (WHERE address_block = $3) AS everywhere_locked_until \
         FROM auth.login_origins WHERE user_id = $1 AND address_block IN ($2, $3)";

    /// Counts a failure at each of the blocks, if it was a guess; a count whose last failure was before `forget`
    /// begins anew. No row for no account, by the same statement.
    pub(crate) fn count(
        user: Option<UserId>, is_guess: bool, blocks: &[&str], now: Timestamp, forget: Timestamp,
    ) -> many<Counted> =
        "INSERT INTO auth.login_origins AS o (user_id, address_block, failures, last_failed_at) \
         SELECT u.id, b.block, 1, $4 FROM auth.users AS u CROSS JOIN unnest($3::text[]) AS b (block) \
         WHERE u.id = $1 AND $2 ORDER BY b.block \
         ON CONFLICT (user_id, address_block) DO UPDATE SET last_failed_at = $4, \
             failures = CASE WHEN o.last_failed_at > $5 THEN o.failures + 1 ELSE 1 END \
         RETURNING address_block, failures";

    /// Locks an account at a block.
    pub(crate) fn lock(user: UserId, block: &str, until: Timestamp) -> exec =
        "UPDATE auth.login_origins SET locked_until = $3 WHERE user_id = $1 AND address_block = $2";

    /// Ends every lockout of an account: its owner showed who they are in another way.
    pub(crate) fn forgive(user: UserId) -> exec =
        "UPDATE auth.login_origins SET failures = 0, locked_until = NULL WHERE user_id = $1";

    /// Deletes counts that nobody needs any more, some at a time.
    pub(crate) fn purge(failed_before: Timestamp, known_before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.login_origins WHERE (user_id, address_block) IN ( \
             SELECT user_id, address_block FROM auth.login_origins \
             WHERE coalesce(last_failed_at < $1, true) AND coalesce(last_success_at < $2, true) LIMIT $3)";
}
