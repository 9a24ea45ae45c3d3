//! Public keys and signatures of Neo N3: ECDSA on secp256r1 with SHA-256. Private keys do not belong here:
//! the key management service holds them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Address, ScriptHash};

/// PUSHDATA1 with its length, SYSCALL, and the interop id of `System.Crypto.CheckSig`.
const PUSH_KEY: [u8; 2] = [0x0c, 33];
const CHECK_SIG: [u8; 5] = [0x41, 0x56, 0xe7, 0xb3, 0x27];

/// A point on secp256r1, compressed as N3 writes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 33]);

impl PublicKey {
    /// From SEC 1: 33 bytes compressed, or the 65 bytes that some wallets give.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut compressed = [0; 33];
        match bytes {
            [0x02 | 0x03, ..] if bytes.len() == 33 => compressed.copy_from_slice(bytes),
            [0x04, .., last] if bytes.len() == 65 => {
                compressed[0] = 0x02 | (last & 1);
                compressed[1..].copy_from_slice(&bytes[1..33]);
            }
            _ => return Err(KeyError::Form),
        }
        // Over the bytes as given, so that the Y of an uncompressed key is checked and not only its last bit.
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map_err(|_| KeyError::NotOnCurve)?;
        Ok(Self(compressed))
    }

    pub fn compressed(&self) -> &[u8; 33] {
        &self.0
    }

    /// The script that a transaction's witness carries for this key.
    pub fn verification_script(&self) -> [u8; 40] {
        let mut script = [0; 40];
        script[..2].copy_from_slice(&PUSH_KEY);
        script[2..35].copy_from_slice(&self.0);
        script[35..].copy_from_slice(&CHECK_SIG);
        script
    }

    pub fn script_hash(&self) -> ScriptHash {
        ScriptHash::of_script(&self.verification_script())
    }

    /// The address of the single-key account.
    pub fn address(&self) -> Address {
        self.script_hash().into()
    }

    /// Whether this key made the signature over SHA-256 of the bytes.
    ///
    /// A high S is accepted: the N3 virtual machine does, and wallets do not normalise. It lets anyone write
    /// a second signature for the same bytes, which gains nothing where what is spent is the nonce in them.
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(bytes, &signature.0).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_sec1(&hex::decode(text).map_err(|_| KeyError::Form)?)
    }
}

/// Why a text or bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a public key: give 33 bytes that begin with 02 or 03, or 65 that begin with 04, in hex")]
    Form,
    #[error("the public key is not a point on secp256r1: Neo N3 uses no other curve for accounts")]
    NotOnCurve,
}

/// R and S, 32 bytes each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Hex as the older dAPIs give it, or base64 as NEP-20 and NEP-21 do. The lengths differ, so neither can be
/// taken for the other.
impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let mut bytes = [0; 64];
        match text.len() {
            128 => hex::decode_to_slice(text, &mut bytes).map_err(|_| SignatureError)?,
            88 => {
                let decoded = STANDARD.decode(text).map_err(|_| SignatureError)?;
                bytes = decoded.try_into().map_err(|_| SignatureError)?;
            }
            _ => return Err(SignatureError),
        }
        Ok(Self(bytes))
    }
}

/// The text is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signature of Neo N3: give the 64 bytes of R and S in hex or base64")]
pub struct SignatureError;

#[cfg(test)]
mod tests {
    use super::*;
    use nsl_crypto::digest::sha256;
    use proptest::prelude::*;

    /// NEP-20's example.
    const KEY: &str = "0355912bc4e61c9715c5912397ea53a5ac6c103c4893fbd9c2a9f3be13b7a3e29d";

    #[test]
    fn the_interop_id_is_what_the_name_hashes_to() {
        assert_eq!(sha256(b"System.Crypto.CheckSig")[..4], CHECK_SIG[1..]);
    }

    #[test]
    fn the_address_of_a_key() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.address().to_string(), "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7");
        assert_eq!(hex::encode(key.verification_script()), format!("0c21{KEY}4156e7b327"));
    }

    #[test]
    fn both_forms_of_a_key_are_one_key() {
        // The generator of secp256r1 (SEC 2, 2.4.2): its Y is odd.
        let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        let y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let compressed: PublicKey = format!("03{x}").parse().unwrap();
        assert_eq!(format!("04{x}{y}").parse(), Ok(compressed));
        // The same X and the last bit of Y, but not a point.
        let other_y = y.replacen('4', "5", 1);
        assert_eq!(format!("04{x}{other_y}").parse::<PublicKey>(), Err(KeyError::NotOnCurve));
    }

    #[test]
    fn what_is_no_key() {
        for wrong in
            ["", "00", &KEY[2..], &KEY[..64], &format!("04{KEY}"), &KEY.replacen("03", "05", 1), "zz"]
        {
            assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError::Form), "{wrong}");
        }
        // X = p has no place in the field.
        let p = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
        assert_eq!(format!("02{p}").parse::<PublicKey>(), Err(KeyError::NotOnCurve));
    }

    #[test]
    fn a_signature_in_hex_and_in_base64() {
        let bytes = [0xa5; 64];
        let signature = Signature::from_bytes(bytes);
        assert_eq!(hex::encode(bytes).parse(), Ok(signature));
        assert_eq!(hex::encode_upper(bytes).parse(), Ok(signature));
        assert_eq!(STANDARD.encode(bytes).parse(), Ok(signature));
        assert_eq!(STANDARD.encode([0; 65]).parse::<Signature>(), Err(SignatureError));
        assert_eq!("".parse::<Signature>(), Err(SignatureError));
    }

    proptest! {
        #[test]
        fn any_input_is_survived(text: String, bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = (text.parse::<PublicKey>(), text.parse::<Signature>(), PublicKey::from_sec1(&bytes));
        }

        #[test]
        fn a_random_signature_verifies_nothing(bytes: [u8; 32], message: Vec<u8>) {
            let signature = Signature::from_bytes([bytes, bytes].concat().try_into().unwrap());
            prop_assert!(!KEY.parse::<PublicKey>().unwrap().verifies(&message, &signature));
        }
    }
}
