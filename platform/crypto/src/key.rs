//! 256-bit secret keys: made at random, read from text, derived from one another, named by a public id.
//!
//! What a key encrypts belongs to `envelope`; asymmetric keys belong to `signing`.

use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{aad, fault, random};

/// The length of a key in bytes.
pub const KEY_LEN: usize = 32;

/// The labels keep ids and derived keys apart: neither can be had by asking for the other.
const DERIVE_LABEL: &[u8] = b"nsl.derive.v1";
const ID_LABEL: &[u8] = b"nsl.key-id.v1";
const PLATFORM_LABEL: &[u8] = b"nsl.platform-key.v1";

/// A text is no key. It never carries the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// Neither base64 nor hexadecimal.
    #[error(
        "the key is neither standard base64 nor hexadecimal; give 32 bytes as 44 characters of base64 \
         or as 64 hex digits (`openssl rand -base64 32` makes such a key)"
    )]
    Encoding,
    /// Readable, but of another length.
    #[error(
        "the key has {found} bytes where 32 are needed; give 44 characters of base64 or 64 hex digits \
         (`openssl rand -base64 32` makes such a key)"
    )]
    Length {
        /// How many bytes the text stands for.
        found: usize,
    },
}

/// A 256-bit secret key. Boxed, so that moving it leaves no copies on the stack; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key256(Box<[u8; KEY_LEN]>);

impl Key256 {
    /// Makes a random key.
    pub fn generate() -> Self {
        Self::filled(random::fill)
    }

    /// Takes over raw bytes. The caller wipes their own copy.
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let key = Self::filled(|out| out.copy_from_slice(&bytes));
        bytes.zeroize();
        key
    }

    /// A key from what the platform gives an enclave: 128 uniform bits (Intel SDM, EGETKEY).
    pub fn from_platform(material: &[u8; 16]) -> Self {
        Self::filled(|out| hkdf_sha256(PLATFORM_LABEL, material, &[], out))
    }

    /// Reads a configured key: 64 hex digits, or the 44 characters of padded standard base64, of exactly 32
    /// bytes. White space around it does not count. A text of hex digits alone is read as hex: read as base64
    /// it could never come to 32 bytes.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        let bytes =
            hex::decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| KeyTextError::Encoding)?;
        let bytes = Zeroizing::new(bytes);
        if bytes.len() != KEY_LEN {
            return Err(KeyTextError::Length { found: bytes.len() });
        }
        Ok(Self::filled(|out| out.copy_from_slice(&bytes)))
    }

    /// A public name of this key, to store beside what it sealed. It says nothing about the key, but equal
    /// keys have equal ids.
    pub fn id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        self.expand(ID_LABEL, &[], &mut id);
        id
    }

    /// Derives the key for a purpose by HKDF-SHA256 (RFC 5869) without salt: this key is uniform already
    /// (section 3.1). The parts of `info` keep their borders.
    #[must_use]
    pub fn derive(&self, info: &[&[u8]]) -> Self {
        Self::filled(|out| self.expand(DERIVE_LABEL, info, out))
    }

    /// The raw bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Writes a key straight into its box.
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut key = Self(Box::new([0; KEY_LEN]));
        fill(key.0.as_mut_slice());
        key
    }

    fn expand(&self, label: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        let mut info = Vec::with_capacity(64);
        aad::append(&mut info, label);
        for part in parts {
            aad::append(&mut info, part);
        }
        hkdf_sha256(&[], self.expose(), &info, out);
    }
}

fn hkdf_sha256(salt: &[u8], input_key: &[u8], info: &[u8], out: &mut [u8]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(input_key);
    if prk.expand(&[info], OutputLen(out.len())).and_then(|okm| okm.fill(out)).is_err() {
        // RFC 5869 bounds the output at 255 digests; this module asks for one.
        fault::abort("AWS-LC cannot derive a key");
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counting() -> Key256 {
        Key256::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    /// RFC 5869, appendix A.1, A.2 (long) and A.3 (no salt, no info).
    #[test]
    fn rfc_5869_vectors() {
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let cases = [
            (
                vec![0x0b; 22],
                range(0x00, 0x0c),
                range(0xf0, 0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                range(0x00, 0x4f),
                range(0x60, 0xaf),
                range(0xb0, 0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                 59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                 cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ];
        for (input_key, salt, info, expected) in cases {
            let mut out = vec![0; expected.len() / 2];
            hkdf_sha256(&salt, &input_key, &info, &mut out);
            assert_eq!(hex::encode(out), expected);
        }
    }

    /// Computed with Python's `cryptography` 48 from the definition above: stored data depends on both.
    #[test]
    fn ids_and_derived_keys_are_frozen() {
        assert_eq!(hex::encode(counting().id()), "32310829a4c8bd43");
        assert_eq!(
            hex::encode(counting().derive(&[b"sgx", &[1]]).expose()),
            "6376b74e568064ae3ff8f0dcc11013a47a9baab8bd7b9e3b87d8d90e0043e363"
        );
    }

    /// By RFC 5869 with the label as salt: an enclave has to open its slot after an upgrade of this program.
    #[test]
    fn a_key_of_the_platform_is_frozen() {
        let prk = {
            let salt = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"nsl.platform-key.v1");
            aws_lc_rs::hmac::sign(&salt, &[7; 16])
        };
        let prk = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, prk.as_ref());
        let expected = aws_lc_rs::hmac::sign(&prk, &[1]);
        assert_eq!(Key256::from_platform(&[7; 16]).expose(), expected.as_ref());
        assert_ne!(Key256::from_platform(&[7; 16]).id(), Key256::from_platform(&[8; 16]).id());
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_border() {
        let key = counting();
        let infos: [&[&[u8]]; 6] = [&[], &[b""], &[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""]];
        let derived: Vec<Key256> = infos.iter().map(|info| key.derive(info)).collect();
        for (i, a) in derived.iter().enumerate() {
            assert_ne!(a.expose(), key.expose());
            assert_ne!(a.expose()[..8], key.id());
            for b in &derived[i + 1..] {
                assert_ne!(a.expose(), b.expose());
            }
        }
    }

    #[test]
    fn generated_keys_differ() {
        let (a, b) = (Key256::generate(), Key256::generate());
        assert_ne!(a.expose(), b.expose());
        assert_ne!(a.id(), b.id());
    }

    #[test]
    fn texts_that_are_no_keys() {
        let parse = |text: &str| Key256::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(parse(""), KeyTextError::Length { found: 0 });
        assert_eq!(parse(&"ab".repeat(16)), KeyTextError::Length { found: 16 });
        assert_eq!(parse(&"ab".repeat(33)), KeyTextError::Length { found: 33 });
        assert_eq!(parse(&STANDARD.encode([7; 31])), KeyTextError::Length { found: 31 });
        assert_eq!(parse(&STANDARD.encode([7; 48])), KeyTextError::Length { found: 48 });
        assert_eq!(parse("your_sgx_encryption_key"), KeyTextError::Encoding);
        assert_eq!(parse(STANDARD.encode([7; 32]).trim_end_matches('=')), KeyTextError::Encoding);
        // The last character carries bits that 32 bytes do not have: a second spelling of the same key.
        assert_eq!(parse(&format!("{}B=", "A".repeat(42))), KeyTextError::Encoding);
    }

    #[test]
    fn errors_tell_the_length_and_never_the_text() {
        let text = "00112233445566778899aabbccddeeff";
        let message = Key256::parse(text).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("16 bytes where 32"), "{message}");
        assert!(!message.contains(&text[..8]), "{message}");
    }

    proptest! {
        #[test]
        fn both_spellings_are_read(bytes: [u8; KEY_LEN]) {
            let spellings = [hex::encode(bytes), hex::encode_upper(bytes), STANDARD.encode(bytes)];
            for text in spellings {
                let padded = format!(" {text}\n");
                for text in [text.as_str(), padded.as_str()] {
                    let key = Key256::parse(text).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    prop_assert_eq!(key.expose(), &bytes);
                }
            }
        }
    }
}
