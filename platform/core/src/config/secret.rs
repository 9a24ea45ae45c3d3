//! A secret in memory, and what counts as one: a value that is missing, short, or copied from an example is
//! refused before anything is protected by it.

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Visitor};
use zeroize::Zeroizing;

/// What stands for a secret where settings are shown.
pub(super) const MASK: &str = "••••";

/// A text that is wiped when dropped. It has no Debug, Clone, Display or Serialize, so that it reaches a log or
/// a reply only through a visible call of [`Secret::expose`].
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret as text (in quotes)")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
        }

        deserializer.deserialize_string(Text)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error(
        "{name} is missing; make a value with `nsl secrets` and set {name}, or {name}_FILE to a file that holds it"
    )]
    Missing { name: String },
    #[error("{name} is shorter than {min_bytes} bytes; make a value with `nsl secrets`")]
    Short { name: String, min_bytes: usize },
    #[error("{name} is an example or guessable value; make one of your own with `nsl secrets`")]
    Guessable { name: String },
    #[error("the operating system gave no randomness; try again")]
    NoRandomness,
}

/// 32 random bytes in base64: fit for every secret that this system asks for.
pub fn fresh() -> Result<Secret, SecretError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    Ok(Secret::new(STANDARD.encode(bytes.as_slice())))
}

/// Refuses a secret that protects nothing. `name` is the variable that the operator would set.
pub fn check_strength<'a>(
    name: &str,
    secret: Option<&'a Secret>,
    min_bytes: usize,
) -> Result<&'a Secret, SecretError> {
    let name = || name.to_owned();
    let secret = secret.filter(|secret| !secret.expose().trim().is_empty());
    let secret = secret.ok_or_else(|| SecretError::Missing { name: name() })?;
    let text = secret.expose();
    // The example is named first: "too short" would invite a longer one of the same kind.
    if is_example(text) || is_pattern(text.as_bytes()) {
        return Err(SecretError::Guessable { name: name() });
    }
    if text.len() < min_bytes {
        return Err(SecretError::Short { name: name(), min_bytes });
    }
    Ok(secret)
}

/// The words that examples are made of: those of the guide (`your_jwt_secret_key`), of the legacy system's
/// defaults (`default-secret-key`, `validation-key`), and of their usual lengthening to 32 characters.
const EXAMPLE_WORDS: &[&str] = &[
    "admin",
    "api",
    "at",
    "bit",
    "bits",
    "bytes",
    "change",
    "changeit",
    "char",
    "characters",
    "chars",
    "default",
    "demo",
    "dev",
    "development",
    "encryption",
    "example",
    "for",
    "here",
    "in",
    "insecure",
    "insert",
    "is",
    "it",
    "jwt",
    "key",
    "layer",
    "least",
    "letmein",
    "long",
    "master",
    "me",
    "min",
    "minimum",
    "must",
    "my",
    "neo",
    "only",
    "pass",
    "passphrase",
    "password",
    "placeholder",
    "please",
    "postgres",
    "postgresql",
    "production",
    "replace",
    "root",
    "sample",
    "secret",
    "secure",
    "service",
    "sgx",
    "signing",
    "strong",
    "super",
    "test",
    "testing",
    "the",
    "this",
    "to",
    "token",
    "user",
    "validation",
    "value",
    "very",
    "with",
    "your",
];

/// Whether the letters are nothing but words of examples; digits and signs between them do not make it one's own.
fn is_example(text: &str) -> bool {
    let letters: Zeroizing<String> = Zeroizing::new(
        text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect(),
    );
    if letters.is_empty() || !text.is_ascii() {
        return false;
    }
    let mut ends = vec![false; letters.len() + 1];
    ends[0] = true;
    for start in 0..letters.len() {
        if ends[start] {
            for word in EXAMPLE_WORDS.iter().filter(|word| letters[start..].starts_with(**word)) {
                ends[start + word.len()] = true;
            }
        }
    }
    ends[letters.len()]
}

/// One unit repeated (`aaaa`, `abcabc`) or a run (`12345678`). A random value of 16 bytes or more is neither.
fn is_pattern(text: &[u8]) -> bool {
    let repeats = (1..=text.len() / 2).any(|unit| text.iter().zip(&text[unit..]).all(|(a, b)| a == b));
    let runs =
        text.len() > 3 && text.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1) || pair == b"90");
    repeats || runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, min_bytes: usize) -> Result<(), SecretError> {
        check_strength("NAME", Some(&Secret::new(text.to_owned())), min_bytes).map(|_| ())
    }

    #[test]
    fn examples_are_refused() {
        for text in [
            "your_secure_password",
            "your_jwt_secret_key",
            "your_sgx_encryption_key",
            "your_password",
            "changeme",
            "ChangeMe123!",
            "password",
            "secret",
            "example",
            "test",
            "default-secret-key",
            "validation-key",
            "YourSuperSecretKey",
            "your-256-bit-secret",
            "your_jwt_secret_key_at_least_32_characters_long",
            "changemechangemechangemechangeme",
            "<your-password>",
            "00000000000000000000000000000000",
            "abcabcabcabcabcabcabcabcabcabcabc",
            "0123456789012345678901234567890123456789",
            "abcdefghijklmnopqrstuvwxyz",
        ] {
            assert_eq!(check(text, 8), Err(SecretError::Guessable { name: "NAME".into() }), "{text}");
        }
    }

    #[test]
    fn missing_and_short_are_told_apart() {
        let missing = SecretError::Missing { name: "NAME".into() };
        assert_eq!(check_strength("NAME", None, 1).map(|_| ()), Err(missing));
        assert!(matches!(check("", 1), Err(SecretError::Missing { .. })));
        assert!(matches!(check(" \t", 1), Err(SecretError::Missing { .. })));
        assert_eq!(check("7rT-kq9", 8), Err(SecretError::Short { name: "NAME".into(), min_bytes: 8 }));
        assert_eq!(check("7rT-kq9z", 8), Ok(()));
    }

    #[test]
    fn refusals_say_how_to_make_one_and_hide_the_value() {
        for (text, min_bytes) in [("", 8), ("x7Kp", 8), ("changeme", 8)] {
            let refusal = check(text, min_bytes).unwrap_err().to_string();
            assert!(refusal.contains("nsl secrets") && refusal.contains("NAME"), "{refusal}");
            assert!(text.is_empty() || !refusal.contains(text), "{refusal}");
        }
    }

    #[test]
    fn fresh_values_pass_and_differ() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(STANDARD.decode(one.expose()).unwrap().len(), 32);
        assert!(check(one.expose(), 32).is_ok());
    }

    proptest! {
        #[test]
        fn random_values_are_never_called_examples(bytes in prop::array::uniform32(any::<u8>())) {
            // A shrunk or biased array of zeros is a pattern, and rightly refused.
            prop_assume!(bytes.iter().collect::<std::collections::BTreeSet<_>>().len() > 12);
            prop_assert!(check(&STANDARD.encode(bytes), 32).is_ok());
            prop_assert!(check(&hex::encode(bytes), 32).is_ok());
        }

        #[test]
        fn no_text_makes_the_check_panic(text in any::<String>()) {
            let _ = check(&text, 32);
        }
    }
}
