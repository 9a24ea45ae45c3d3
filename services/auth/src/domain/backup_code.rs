//! Backup codes: each stands in once for a lost second factor. 50 random bits are enough against guessing at a login
//! that locks after some failures, and too few for a plain hash at rest: 2^50 SHA-256 are within reach of whoever has
//! a copy of the database. So what is stored is an HMAC under a key that is not in the database.

use aws_lc_rs::hmac;
use nsl_core::ids::UserId;
use nsl_crypto::digest::sha256;
use nsl_crypto::key::Key256;
use nsl_crypto::random;
use zeroize::Zeroizing;

/// How many a user is given at once.
pub(crate) const COUNT: usize = 10;
const CHARS: usize = 10;
/// Crockford's base 32: no letter that is taken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The key of the stored forms.
pub(crate) struct BackupKey(hmac::Key);

impl BackupKey {
    pub(crate) fn derive(secret: &[u8]) -> Self {
        let key = Key256::from_bytes(sha256(secret)).derive(&[b"auth.backup-code"]);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// What is stored of a user's code; None for a text that cannot be one.
    pub(crate) fn hash(&self, user: UserId, code: &str) -> Option<Vec<u8>> {
        let code = normal(code)?;
        let mut context = hmac::Context::with_key(&self.0);
        // An id has a fixed length, so the border is clear.
        context.update(user.0.as_bytes());
        context.update(code.as_bytes());
        Some(context.sign().as_ref().to_vec())
    }
}

/// A fresh code, as it is shown: `XXXXX-XXXXX`.
pub(crate) fn generate() -> Zeroizing<String> {
    let bytes = Zeroizing::new(random::bytes::<CHARS>());
    let mut text = Zeroizing::new(String::with_capacity(CHARS + 1));
    for (index, byte) in bytes.iter().enumerate() {
        if index == CHARS / 2 {
            text.push('-');
        }
        // 256 is a multiple of 32: no letter is likelier than another.
        text.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    text
}

/// A code without what people add or mistake: case, dashes, spaces, O for 0, I and L for 1.
fn normal(code: &str) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(CHARS));
    for c in code.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        if text.len() == CHARS || !u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte)) {
            return None;
        }
        text.push(c);
    }
    (text.len() == CHARS).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed_and_to_its_user_only() {
        let key = BackupKey::derive(b"a secret of the tests, long enough");
        let (ann, bob) = (UserId::generate(), UserId::generate());
        let stored = key.hash(ann, "01234-ABCDE").unwrap();
        for typed in ["01234abcde", "o1234 abcde", "oI234-ABCDE", "0l234-abcde "] {
            assert_eq!(key.hash(ann, typed).as_ref(), Some(&stored), "{typed}");
        }
        assert_ne!(key.hash(bob, "01234-ABCDE").unwrap(), stored);
        assert_ne!(
            BackupKey::derive(b"another secret, as long as that").hash(ann, "01234-ABCDE"),
            Some(stored)
        );
        for wrong in ["", "01234-ABCD", "01234-ABCDEF", "01234-ABCDU", "123456", "０1234ABCDE"] {
            assert_eq!(key.hash(ann, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fresh_codes_differ_and_are_codes() {
        let codes: std::collections::BTreeSet<String> = (0..100).map(|_| generate().to_string()).collect();
        assert_eq!(codes.len(), 100);
        assert!(codes.iter().all(|code| code.len() == CHARS + 1 && normal(code).is_some()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = normal(&text);
        }
    }
}
