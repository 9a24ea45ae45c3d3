//! Second factors and the codes that stand in for one. A code is spent by the row that says so: of two requests with
//! the same code one finds no row to change.

use jiff::Timestamp;
use nsl_core::ids::UserId;
use nsl_core::ports::SealedSecret;

nsl_core::row! {
    pub(crate) struct Totp {
        pub(crate) wrapped_secret: Vec<u8>,
        pub(crate) root_key_id: Vec<u8>,
        pub(crate) confirmed_at: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// What a user may see of their second factor.
    pub(crate) struct Status {
        pub(crate) confirmed_at: Option<Timestamp>,
        pub(crate) backup_codes_left: i64,
    }
}

nsl_core::row! {
    pub(crate) struct Enrolled {
        pub(crate) enrolled: bool,
    }
}

impl Totp {
    pub(crate) fn sealed(self) -> SealedSecret {
        SealedSecret { bytes: self.wrapped_secret, root_key_id: self.root_key_id }
    }
}

nsl_core::queries! {
    pub(crate) fn totp(user: UserId) -> opt<Totp> =
        "SELECT wrapped_secret, root_key_id, confirmed_at FROM auth.totp_factors WHERE user_id = $1";

    pub(crate) fn status(user: UserId) -> one<Status> =
        "SELECT max(t.confirmed_at) AS confirmed_at, ( \
             SELECT count(*) FROM auth.backup_codes AS b WHERE b.user_id = $1 AND b.used_at IS NULL \
         ) AS backup_codes_left \
         FROM auth.totp_factors AS t WHERE t.user_id = $1";

    pub(crate) fn is_enrolled(user: UserId) -> one<Enrolled> =
        "SELECT EXISTS ( \
             SELECT FROM auth.totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL \
         ) AS enrolled";

    /// Begins an enrolment, or begins it anew; no row where one was confirmed.
    pub(crate) fn begin(user: UserId, wrapped: &[u8], root_key_id: &[u8], now: Timestamp) -> exec =
        "INSERT INTO auth.totp_factors AS t (user_id, wrapped_secret, root_key_id, created_at) \
         VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id) DO UPDATE SET wrapped_secret = $2, root_key_id = $3, created_at = $4 \
         WHERE t.confirmed_at IS NULL";

    /// Confirms the secret that the code was of; no row if that was done, or another enrolment was begun.
    pub(crate) fn confirm(user: UserId, wrapped: &[u8], step: i64, now: Timestamp) -> exec =
        "UPDATE auth.totp_factors SET confirmed_at = $4, last_step = $3 \
         WHERE user_id = $1 AND wrapped_secret = $2 AND confirmed_at IS NULL";

    /// Spends the code of a time step; no row for one that was used, or is older than one that was.
    pub(crate) fn use_step(user: UserId, step: i64) -> exec =
        "UPDATE auth.totp_factors SET last_step = $2 \
         WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2";

    /// Takes the second factor away, with the codes that stood in for it.
    pub(crate) fn remove(user: UserId) -> exec =
        "WITH codes AS (DELETE FROM auth.backup_codes WHERE user_id = $1) \
         DELETE FROM auth.totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL";

    /// Gives a user backup codes in place of all earlier ones.
    pub(crate) fn replace_backup_codes(user: UserId, hashes: &[Vec<u8>], now: Timestamp) -> exec =
        "WITH earlier AS (DELETE FROM auth.backup_codes WHERE user_id = $1) \
         INSERT INTO auth.backup_codes (user_id, code_hash, created_at) \
         SELECT $1, h.code_hash, $3 FROM unnest($2::bytea[]) AS h (code_hash)";

    /// Spends a backup code; no row for one that was used or is not of this user.
    pub(crate) fn use_backup_code(user: UserId, hash: &[u8], now: Timestamp) -> exec =
        "UPDATE auth.backup_codes SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL";
}
