//! The cryptography of the house: keys, sealed envelopes, digests, Merkle trees, passwords, tokens.
//!
//! Everything here is pure: no I/O but the system's randomness, no async, no clock, and nothing of ours below
//! it. What a key is for, where it is stored and who may use it belongs to the services. Transport security
//! belongs to rustls, and JSON web tokens to `jsonwebtoken`; both stand on the same AWS-LC as this crate.
//!
//! Secrets are boxed or zeroized types without `Debug` and `Clone`. AWS-LC wipes its own key schedules: its
//! `OPENSSL_free` cleanses every block before it gives it back.

// Associated data with unambiguous parts: what binds a sealed value to its place.
pub mod aad;
// Large values, sealed chunk by chunk.
pub mod chunks;
// SHA-256, fingerprints, comparison in constant time.
pub mod digest;
// Values sealed under random data keys, and data keys wrapped under a key-encryption key.
pub mod envelope;
// 256-bit secret keys: made, read from text, derived, named.
pub mod key;
// RFC 6962 Merkle tree hashes.
pub mod merkle;
// Signed notes: texts with Ed25519 signatures, as transparency logs publish them.
pub mod note;
// Argon2id password hashes as PHC strings.
pub mod password;
// Random bytes from the system.
pub mod random;
// Ed25519 key pairs.
pub mod signing;
// Bearer tokens and the hashes that are stored in their place.
pub mod token;

mod fault;
