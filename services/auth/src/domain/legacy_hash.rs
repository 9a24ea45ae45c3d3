//! The password hashes of the legacy system: accepted at one login, which replaces them.
//!
//! Three forms: PBKDF2 with the salt before the hash in one base64 text; PBKDF2 with salt and hash apart, which the
//! import joins to `$pbkdf2-sha256$i=100000$<salt>$<hash>`; bcrypt. New hashes are Argon2id and do not belong here.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, verify};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(99_999);
const JOINED: &str = "$pbkdf2-sha256$i=100000$";
const HASH_LEN: usize = 32;
const SHORT_SALT_LEN: usize = 16;
/// The legacy system used 10 to 12. A row that someone changed must not take minutes of a core.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// A stored hash of the legacy system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LegacyHash<'a> {
    Pbkdf2 { salt: Vec<u8>, hash: Vec<u8> },
    Bcrypt { cost: u32, text: &'a str },
}

impl<'a> LegacyHash<'a> {
    /// Reads a stored hash; None for one of another kind.
    pub(crate) fn parse(stored: &'a str) -> Option<Self> {
        if let Some(parts) = stored.strip_prefix(JOINED) {
            let (salt, hash) = parts.split_once('$')?;
            return Self::pbkdf2(BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?);
        }
        if let Some(cost) = bcrypt_cost(stored) {
            return BCRYPT_COSTS.contains(&cost).then_some(Self::Bcrypt { cost, text: stored });
        }
        let bytes = BASE64.decode(stored).ok()?;
        if bytes.len() != SHORT_SALT_LEN + HASH_LEN {
            return None;
        }
        let (salt, hash) = bytes.split_at(SHORT_SALT_LEN);
        Self::pbkdf2(salt.to_vec(), hash.to_vec())
    }

    fn pbkdf2(salt: Vec<u8>, hash: Vec<u8>) -> Option<Self> {
        (salt.len() >= SHORT_SALT_LEN && hash.len() == HASH_LEN).then_some(Self::Pbkdf2 { salt, hash })
    }
}

/// `$2a$10$` and its siblings.
fn bcrypt_cost(stored: &str) -> Option<u32> {
    let rest = stored.strip_prefix("$2")?;
    let rest = rest.strip_prefix(['a', 'b', 'x', 'y'])?.strip_prefix('$')?;
    rest.split_once('$')?.0.parse().ok()
}

/// The legacy forms that are in the database, or one that a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) pbkdf2: bool,
    /// The highest cost; 0 for none.
    pub(crate) bcrypt_cost: u32,
}

impl Work {
    /// Whether the password belongs to the hash, if there is one. Takes the time of all the work, whatever the hash
    /// is and whether there is one.
    pub(crate) fn matches(self, hash: Option<&LegacyHash<'_>>, password: &[u8]) -> bool {
        let mut matches = false;
        match hash {
            Some(LegacyHash::Pbkdf2 { salt, hash }) => matches |= pbkdf2(salt, hash, password),
            _ if self.pbkdf2 => {
                pbkdf2(&[0; SHORT_SALT_LEN], &[0; HASH_LEN], password);
            }
            _ => {}
        }
        let mut done = BCRYPT_COSTS.start() - 1;
        if let Some(LegacyHash::Bcrypt { cost, text }) = hash {
            matches |= bcrypt::verify(password, text).unwrap_or(false);
            done = *cost;
        } else if self.bcrypt_cost > 0 {
            idle_bcrypt(*BCRYPT_COSTS.start(), password);
            done = *BCRYPT_COSTS.start();
        }
        // Each cost is twice the one before: what is done and the steps up to the highest add up to the highest.
        for cost in done..self.bcrypt_cost.min(*BCRYPT_COSTS.end()) {
            idle_bcrypt(cost, password);
        }
        matches
    }
}

fn pbkdf2(salt: &[u8], hash: &[u8], password: &[u8]) -> bool {
    verify(PBKDF2_HMAC_SHA256, ITERATIONS, salt, password, hash).is_ok()
}

fn idle_bcrypt(cost: u32, password: &[u8]) {
    let hash = bcrypt::hash_with_salt(password, cost, [0; 16]);
    std::hint::black_box(hash.is_ok());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By Python: `hashlib.pbkdf2_hmac('sha256', b'legacy horse battery', bytes(range(16)), 100000)`, salt first.
    const ONE_COLUMN: &str = "AAECAwQFBgcICQoLDA0ODzpobfjMiPZZpi8Lwj27EobhkXnNhe9bIWtwZEZyql5m";
    /// The same with the salt `bytes(range(32))`.
    const TWO_COLUMNS: &str = "$pbkdf2-sha256$i=100000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=$bad8BaunKfqTsl6pWp6g3wXiBpl0jT1SghOr5rMIlnU=";
    /// By the Python package bcrypt 5.0.0, cost 4 (the tests' time), with the prefix that .NET writes.
    const BCRYPT: &str = "$2a$04$1e9d7B5uVicbgy9Gs3152effkadqVH9ObNLm7fkGa04VR.kb6HQE2";
    const PASSWORD: &[u8] = b"legacy horse battery";

    #[test]
    fn the_three_forms_match_their_password_only() {
        for stored in [ONE_COLUMN, TWO_COLUMNS, BCRYPT] {
            let hash = LegacyHash::parse(stored).unwrap();
            for work in [Work::default(), Work { pbkdf2: true, bcrypt_cost: 5 }] {
                assert!(work.matches(Some(&hash), PASSWORD), "{stored}");
                assert!(!work.matches(Some(&hash), b"legacy house battery"), "{stored}");
                assert!(!work.matches(Some(&hash), b""), "{stored}");
            }
        }
        assert!(!Work { pbkdf2: true, bcrypt_cost: 5 }.matches(None, PASSWORD));
    }

    #[test]
    fn everything_else_is_no_legacy_hash() {
        for stored in [
            "",
            "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$x",
            "AAECAwQFBgcICQoLDA0ODw==",
            "$pbkdf2-sha256$i=100000$AAEC$AAEC",
            "$pbkdf2-sha256$i=1$AAECAwQFBgcICQoLDA0ODw$x",
            "$2a$31$abcdefghijklmnopqrstuuHnJp0FNkgsGaMZqQ3jH5oR3vJ1l8Y5e",
            "$2z$10$abcdefghijklmnopqrstuuHnJp0FNkgsGaMZqQ3jH5oR3vJ1l8Y5e",
        ] {
            assert_eq!(LegacyHash::parse(stored), None, "{stored}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(stored in any::<String>(), tail in any::<String>()) {
            let _ = LegacyHash::parse(&stored);
            let _ = LegacyHash::parse(&format!("$2a${tail}"));
            let _ = LegacyHash::parse(&format!("{JOINED}{tail}"));
        }
    }
}
