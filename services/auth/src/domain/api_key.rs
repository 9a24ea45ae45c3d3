//! API keys: `nslk_`, 32 random bytes in base 62, and a checksum in base 62, so that a mistyped or invented key is told
//! without asking the database, and secret scanners recognise one.

use nsl_crypto::digest::Sha256Digest;
use nsl_crypto::random;
use nsl_crypto::token::token_hash;
use zeroize::Zeroizing;

use crate::domain::user::Violation;

const PREFIX: &str = "nslk_";
/// 32 bytes have at most 43 digits of base 62.
const RANDOM_CHARS: usize = 43;
/// 32 bits have at most 6.
const CHECK_CHARS: usize = 6;
/// So much of a key is kept and shown, to tell one from another: 42 random bits of 256.
const SHOWN_CHARS: usize = PREFIX.len() + 7;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Legacy keys are base64 of some random bytes.
const LEGACY_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
const MAX_PERMISSIONS: usize = 64;

/// A fresh key, shown to its owner once.
pub(crate) struct ApiKey(Zeroizing<String>);

impl ApiKey {
    pub(crate) fn generate() -> Self {
        let bytes = Zeroizing::new(random::bytes::<32>());
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECK_CHARS));
        text.push_str(PREFIX);
        push_base62(&mut text, &*bytes, RANDOM_CHARS);
        let check = crc32(text.as_bytes());
        push_base62(&mut text, &check.to_be_bytes(), CHECK_CHARS);
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept to be shown.
    pub(crate) fn shown(&self) -> &str {
        &self.0[..SHOWN_CHARS]
    }

    pub(crate) fn hash(&self) -> Sha256Digest {
        token_hash(&self.0)
    }
}

/// The forms of keys that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Ours.
    Nslk,
    /// A key of the legacy system: known by its hash alone.
    Legacy,
}

impl Format {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nslk => "nslk",
            Self::Legacy => "legacy-sha256",
        }
    }
}

/// What a bearer credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    Key(Format),
    /// It begins like one of ours and is none.
    Broken,
    /// Something else: an access token, as far as anyone can tell.
    Other,
}

/// Looks at a credential without asking anybody.
pub(crate) fn recognise(bearer: &str) -> Bearer {
    if let Some(rest) = bearer.strip_prefix(PREFIX) {
        let is_whole = rest.len() == RANDOM_CHARS + CHECK_CHARS && rest.bytes().all(|b| BASE62.contains(&b));
        if !is_whole {
            return Bearer::Broken;
        }
        let (body, check) = bearer.split_at(PREFIX.len() + RANDOM_CHARS);
        let mut expected = String::with_capacity(CHECK_CHARS);
        push_base62(&mut expected, &crc32(body.as_bytes()).to_be_bytes(), CHECK_CHARS);
        return if check == expected { Bearer::Key(Format::Nslk) } else { Bearer::Broken };
    }
    // A JWT has dots; so has nothing in base64.
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b);
    if LEGACY_CHARS.contains(&bearer.len()) && bearer.bytes().all(is_base64) {
        return Bearer::Key(Format::Legacy);
    }
    Bearer::Other
}

/// The digits of a big-endian number, with zeros in front.
fn push_base62(text: &mut String, bytes: &[u8], digits: usize) {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut reversed = Zeroizing::new(Vec::with_capacity(digits));
    for _ in 0..digits {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            rest = value % 62;
        }
        reversed.push(BASE62[usize::try_from(rest).unwrap_or_default()]);
    }
    text.extend(reversed.iter().rev().map(|digit| char::from(*digit)));
}

/// CRC-32 (ISO 3309): it finds typing mistakes and protects nothing.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A key to be made: what of it cannot be accepted.
pub(crate) fn check(name: &str, permissions: &[String]) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    found.extend(check_name(name).err());
    if !(1..=MAX_PERMISSIONS).contains(&permissions.len()) {
        found.push(Violation::new(
            "/permissions",
            format!("a key takes 1 to {MAX_PERMISSIONS} permissions, such as sgx:read"),
        ));
    }
    for (index, permission) in permissions.iter().enumerate() {
        if !is_permission(permission) {
            let detail = "a permission is <service>:<verb>, <service>:* or *";
            found.push(Violation::new(format!("/permissions/{index}"), detail));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

pub(crate) fn check_name(name: &str) -> Result<(), Violation> {
    if !(1..=100).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(Violation::new("/name", "a name has 1 to 100 characters and no control characters"));
    }
    Ok(())
}

fn is_permission(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    text == "*"
        || text.len() <= 100
            && text.split_once(':').is_some_and(|(service, verb)| {
                is_word(service) && (verb == "*" || verb.split('-').all(is_word))
            })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_a_fixed_form_and_a_checksum() {
        let (one, two) = (ApiKey::generate(), ApiKey::generate());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), 54);
        assert_eq!(recognise(one.expose()), Bearer::Key(Format::Nslk));
        assert_eq!((one.shown().len(), one.expose().starts_with(one.shown())), (12, true));
        assert_eq!(one.hash(), token_hash(one.expose()));
        for end in 0..54 {
            let truncated = recognise(&one.expose()[..end]);
            assert_ne!(truncated, Bearer::Key(Format::Nslk), "{end}");
        }
        // The check value of the CRC catalogue, and the largest number of 32 bits in base 62.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let mut text = String::new();
        push_base62(&mut text, &u32::MAX.to_be_bytes(), 6);
        assert_eq!(text, "4gfFC3");
    }

    #[test]
    fn every_single_mistake_is_found() {
        let key = ApiKey::generate();
        for index in PREFIX.len()..key.expose().len() {
            let mut typed = key.expose().as_bytes().to_vec();
            typed[index] = if typed[index] == b'x' { b'y' } else { b'x' };
            assert_eq!(recognise(std::str::from_utf8(&typed).unwrap()), Bearer::Broken, "{index}");
        }
    }

    #[test]
    fn other_credentials_are_told_apart() {
        assert_eq!(recognise("q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1PQ+/8AAAAAAA="), Bearer::Key(Format::Legacy));
        for other in ["", "short", "eyJhbGciOiJFZERTQSJ9.e30.c2ln", "white space is in this one"] {
            assert_eq!(recognise(other), Bearer::Other, "{other}");
        }
    }

    #[test]
    fn what_a_key_may_be_given() {
        let pointers = |name: &str, permissions: &[&str]| -> Vec<String> {
            let permissions: Vec<String> = permissions.iter().map(|p| (*p).to_owned()).collect();
            check(name, &permissions)
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|found| found.pointer)
                .collect()
        };
        assert!(pointers("CI", &["sgx:read", "sgx:*", "*", "auth:api-keys"]).is_empty());
        assert_eq!(pointers("", &[]), ["/name", "/permissions"]);
        assert_eq!(
            pointers("CI", &["sgx", "SGX:read", ":", "sgx:", "sgx:read-", "sgx:re ad"]),
            [
                "/permissions/0",
                "/permissions/1",
                "/permissions/2",
                "/permissions/3",
                "/permissions/4",
                "/permissions/5"
            ]
        );
        assert_eq!(pointers("CI", &["sgx:read"; 65]), ["/permissions"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), tail in any::<String>()) {
            let _ = recognise(&text);
            prop_assert_eq!(recognise(&format!("{PREFIX}{tail}")), Bearer::Broken);
        }
    }
}
