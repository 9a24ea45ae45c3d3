//! Ed25519 key pairs (RFC 8032): made, kept as PKCS#8, published, and used.
//!
//! Signing a JWT is `jsonwebtoken`'s part, which takes the PKCS#8 bytes. Customers' keys belong to key
//! management.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::fault;

/// The length of an Ed25519 public key.
pub const PUBLIC_KEY_LEN: usize = 32;
/// The length of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// The bytes hold no Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an Ed25519 private key in PKCS#8 (RFC 5958, DER); restore the stored key or make a new one")]
pub struct NotAKeyPair;

/// A private signing key and its public half.
pub struct SigningKeyPair {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    public_key: [u8; PUBLIC_KEY_LEN],
}

impl SigningKeyPair {
    /// Makes a random pair. The document is version 1 (RFC 5208), the one that the OpenSSL tools read.
    pub fn generate() -> Self {
        match Ed25519KeyPair::generate().and_then(|pair| Ok((pair.to_pkcs8v1()?, pair))) {
            Ok((pkcs8, pair)) => Self::from_parts(pkcs8.as_ref(), pair),
            // Neither takes input: what is left is the allocator.
            Err(_) => fault::abort("AWS-LC cannot make an Ed25519 key"),
        }
    }

    /// Reads a stored pair, version 1 or 2. A public key in the document must belong to the private one.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, NotAKeyPair> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| NotAKeyPair)?;
        Ok(Self::from_parts(pkcs8, pair))
    }

    fn from_parts(pkcs8: &[u8], pair: Ed25519KeyPair) -> Self {
        let mut public_key = [0; PUBLIC_KEY_LEN];
        public_key.copy_from_slice(pair.public_key().as_ref());
        Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()), public_key }
    }

    /// Signs a message. The same message has the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut signature = [0; SIGNATURE_LEN];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// The private key as PKCS#8 DER.
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key, as a JWK's `x` carries it (RFC 8037, section 2).
    pub fn public_key(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.public_key
    }
}

/// Whether a signature is of this message under this public key.
pub fn verify(public_key: &[u8; PUBLIC_KEY_LEN], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_pair_signs_for_its_public_key() {
        let made = SigningKeyPair::generate();
        let read = SigningKeyPair::from_pkcs8(made.expose_pkcs8()).unwrap();
        assert_eq!(read.public_key(), made.public_key());

        let signature = read.sign(b"message");
        assert!(verify(made.public_key(), b"message", &signature));
        assert!(!verify(made.public_key(), b"massage", &signature));
        assert!(!verify(made.public_key(), b"message", &signature[1..]));
        assert!(!verify(SigningKeyPair::generate().public_key(), b"message", &signature));
    }

    #[test]
    fn rfc_8410_example() {
        // RFC 8410, section 10.3: the example private key, and its public key from the second example.
        let pkcs8 = hex::decode(
            "302e020100300506032b657004220420\
             d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
        );
        let pair = SigningKeyPair::from_pkcs8(&pkcs8.unwrap()).unwrap();
        assert_eq!(
            hex::encode(pair.public_key()),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let pair = SigningKeyPair::generate();
        let cut = &pair.expose_pkcs8()[..pair.expose_pkcs8().len() - 1];
        for bytes in [&[][..], cut, pair.public_key()] {
            assert!(SigningKeyPair::from_pkcs8(bytes).is_err());
        }
    }
}
