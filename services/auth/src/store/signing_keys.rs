//! Keys that sign access tokens. The wrapped private half is read and written by the enclave's login alone.

use jiff::Timestamp;

nsl_core::row! {
    /// A key as the enclave reads it.
    pub(crate) struct WrappedKey {
        pub(crate) kid: String,
        pub(crate) wrapped_private_key: Vec<u8>,
        pub(crate) root_key_id: Vec<u8>,
        pub(crate) not_before: Timestamp,
    }
}

nsl_core::row! {
    /// What everybody may know of a key.
    pub(crate) struct PublicKey {
        pub(crate) kid: String,
        pub(crate) public_key: Vec<u8>,
    }
}

nsl_core::queries! {
    /// Lets one process at a time look whether there is a key and make one. Readers pass.
    pub(crate) fn lock() -> exec = "LOCK TABLE auth.signing_keys IN SHARE ROW EXCLUSIVE MODE";

    /// The keys that sign or will, in the order of their first use.
    pub(crate) fn living() -> many<WrappedKey> =
        "SELECT kid, wrapped_private_key, root_key_id, not_before FROM auth.signing_keys \
         WHERE algorithm = 'EdDSA' AND retired_at IS NULL ORDER BY not_before, kid";

    pub(crate) fn add(
        kid: &str, public_key: &[u8], wrapped_private_key: &[u8], root_key_id: &[u8], now: Timestamp,
        not_before: Timestamp,
    ) -> exec =
        "INSERT INTO auth.signing_keys \
             (kid, algorithm, public_key, wrapped_private_key, root_key_id, created_at, not_before) \
         VALUES ($1, 'EdDSA', $2, $3, $4, $5, $6)";

    /// Lets a key sign no more; it is published until its last token has expired.
    pub(crate) fn retire(kid: &str, now: Timestamp) -> exec =
        "UPDATE auth.signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL";

    /// The keys whose tokens may still be about: those that sign, will sign, or were retired after `since`.
    pub(crate) fn published(since: Timestamp) -> many<PublicKey> =
        "SELECT kid, public_key FROM auth.signing_keys \
         WHERE algorithm = 'EdDSA' AND (retired_at IS NULL OR retired_at > $1) ORDER BY not_before, kid";
}
