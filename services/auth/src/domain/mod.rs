//! Types and rules, pure: no async, SQL, HTTP or clock.

/// What may change of an account.
pub(crate) mod account;
/// API keys: form, checksum, what one may be given.
pub(crate) mod api_key;
/// Codes that stand in for a lost second factor.
pub(crate) mod backup_code;
/// Tokens of the legacy system.
pub(crate) mod legacy;
/// The password hashes of the legacy system.
pub(crate) mod legacy_hash;
/// When guessing is stopped.
pub(crate) mod lockout;
/// Whether a login succeeds, once the password was compared.
pub(crate) mod login;
/// The mail that is sent.
pub(crate) mod mail;
/// Nonces of sign-in challenges.
pub(crate) mod nonce;
/// Refresh tokens: how one is made from the one before, and what it means when one comes.
pub(crate) mod refresh;
/// What a role may be named and permit.
pub(crate) mod role;
/// When the key that signs access tokens changes.
pub(crate) mod rotation;
/// Challenges for wallets, and whether an answer signs its wallet in.
pub(crate) mod sign_in;
/// What a tenant may be named.
pub(crate) mod tenant;
/// Access tokens: claims, signing, verification, published keys.
pub(crate) mod token;
/// Time-based one-time passwords.
pub(crate) mod totp;
/// What usernames, passwords and profiles may be.
pub(crate) mod user;
/// What a wallet shows to sign in, and why that may not do.
pub(crate) mod wallet;
