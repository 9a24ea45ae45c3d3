//! Wallets, and the challenges that were answered.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};
use uuid::Uuid;

nsl_core::row! {
    /// A wallet's account, as far as a login needs to know it.
    pub(crate) struct Owner {
        pub(crate) user_id: UserId,
        pub(crate) username: String,
        pub(crate) status: String,
        /// The oldest membership first.
        pub(crate) tenants: Vec<TenantId>,
    }
}

nsl_core::row! {
    /// A wallet, as its user sees it.
    pub(crate) struct Wallet {
        pub(crate) id: Uuid,
        pub(crate) chain: String,
        pub(crate) address: String,
        pub(crate) created_at: Timestamp,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

nsl_core::row! {
    /// Whether a user can log in at all.
    pub(crate) struct OtherWay {
        pub(crate) found: bool,
    }
}

nsl_core::queries! {
    /// Keeps that a challenge was answered; no row if it was before.
    pub(crate) fn spend(nonce_hash: &[u8], expires: Timestamp) -> exec =
        "INSERT INTO auth.wallet_nonces (nonce_hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    /// The account of a wallet.
    pub(crate) fn owner(chain: &str, address: &str) -> opt<Owner> =
        "SELECT w.user_id, u.username, u.status, ARRAY( \
             SELECT m.tenant_id FROM auth.memberships AS m WHERE m.user_id = w.user_id \
             ORDER BY m.created_at, m.tenant_id \
         ) AS tenants \
         FROM auth.wallets AS w JOIN auth.users AS u ON u.id = w.user_id \
         WHERE w.chain = $1 AND w.address = $2";

    /// Makes a user without a password, a member of the tenant with one role.
    pub(crate) fn register(tenant: TenantId, user: UserId, username: &str, role: Uuid, now: Timestamp) -> exec =
        "WITH new_user AS ( \
             INSERT INTO auth.users (id, username, home_tenant_id, created_at, updated_at) \
             VALUES ($2, $3, $1, $5, $5) \
         ), membership AS ( \
             INSERT INTO auth.memberships (tenant_id, user_id, created_at) VALUES ($1, $2, $5) \
         ) \
         INSERT INTO auth.user_roles (tenant_id, user_id, role_id, assigned_at) VALUES ($1, $2, $4, $5)";

    /// Links a wallet to a user.
    pub(crate) fn add(id: Uuid, chain: &str, address: &str, user: UserId, now: Timestamp) -> opt<Wallet> =
        "INSERT INTO auth.wallets (id, chain, address, user_id, created_at) VALUES ($1, $2, $3, $4, $5) \
         RETURNING id, chain, address, created_at, last_used_at";

    /// Notes that a wallet was used.
    pub(crate) fn touch(chain: &str, address: &str, now: Timestamp) -> exec =
        "UPDATE auth.wallets SET last_used_at = $3 WHERE chain = $1 AND address = $2";

    /// The wallets of a user, in the order in which they were linked.
    pub(crate) fn of_user(user: UserId) -> many<Wallet> =
        "SELECT id, chain, address, created_at, last_used_at FROM auth.wallets WHERE user_id = $1 ORDER BY id";

    /// Lets one request at a time remove a wallet of a user, so that of two one remains.
    pub(crate) fn lock(user: UserId) -> exec = "SELECT FROM auth.users WHERE id = $1 FOR UPDATE";

    /// Whether a user has a password or a wallet.
    pub(crate) fn other_way(user: UserId) -> opt<OtherWay> =
        "SELECT u.password_hash IS NOT NULL OR EXISTS ( \
             SELECT FROM auth.wallets AS w WHERE w.user_id = u.id \
         ) AS found \
         FROM auth.users AS u WHERE u.id = $1";

    /// Removes a wallet of a user; no row if it is not theirs.
    pub(crate) fn remove(user: UserId, wallet: Uuid) -> opt<Wallet> =
        "DELETE FROM auth.wallets WHERE user_id = $1 AND id = $2 \
         RETURNING id, chain, address, created_at, last_used_at";

    /// Deletes answered challenges that are over, some at a time.
    pub(crate) fn purge_nonces(before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.wallet_nonces WHERE nonce_hash IN ( \
             SELECT nonce_hash FROM auth.wallet_nonces WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
}
