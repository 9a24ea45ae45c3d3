//! Signed notes (C2SP `signed-note`): a text, a blank line, and lines with signatures over the text.
//!
//! ```text
//! — <key name> <base64 of the key's hash (4 bytes) and its Ed25519 signature>
//! ```
//! What a text says belongs to whoever signs it. Of the signature types there is Ed25519 alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::digest::{constant_time_eq, sha256_concat};
use crate::signing::{PUBLIC_KEY_LEN, SIGNATURE_LEN, SigningKeyPair, verify};

/// The signature type Ed25519, the first byte of an encoded key.
const ED25519: u8 = 0x01;
const KEY_HASH_LEN: usize = 4;
/// The specification lets a verifier stop at some number of signatures; this is that of its reference implementation.
const MOST_SIGNATURES: usize = 100;

/// A note is not what a key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoteError {
    /// It has not the form of a signed note.
    #[error(
        "this is no signed note: a text, a blank line and signature lines; take the whole file as it came"
    )]
    Malformed,
    /// No line names the key.
    #[error("no signature of this key is on the note; take the key of whoever issued it")]
    NotSigned,
    /// The key's line does not fit the text.
    #[error("the signature does not fit the text: the text was changed after it was signed")]
    Forged,
}

/// A text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a verifier key for Ed25519: <name>+<hash, 8 hex digits>+<base64 of the type and the public key>"
)]
pub struct NotAVerifierKey;

/// The public key that notes are verified with, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public_key: [u8; PUBLIC_KEY_LEN],
}

impl VerifierKey {
    /// A name is not empty and holds neither white space nor a plus sign.
    pub fn new(name: &str, public_key: &[u8; PUBLIC_KEY_LEN]) -> Result<Self, NotAVerifierKey> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+') {
            return Err(NotAVerifierKey);
        }
        Ok(Self { name: name.to_owned(), public_key: *public_key })
    }

    /// Reads `<name>+<hash>+<key>`.
    pub fn parse(text: &str) -> Result<Self, NotAVerifierKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAVerifierKey);
        };
        let key = STANDARD.decode(key).map_err(|_| NotAVerifierKey)?;
        let Some((&ED25519, public_key)) = key.split_first() else { return Err(NotAVerifierKey) };
        let key = Self::new(name, public_key.try_into().map_err(|_| NotAVerifierKey)?)?;
        if hash != hex::encode(key.hash()) {
            return Err(NotAVerifierKey);
        }
        Ok(key)
    }

    /// `SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4]`: tells keys of one name apart.
    fn hash(&self) -> [u8; KEY_HASH_LEN] {
        let digest = sha256_concat(&[self.name.as_bytes(), b"\n", &[ED25519], &self.public_key]);
        let mut hash = [0; KEY_HASH_LEN];
        hash.copy_from_slice(&digest[..KEY_HASH_LEN]);
        hash
    }

    /// The text of a note that this key signed.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        // The last blank line: a text may hold others.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        if note.chars().any(|c| c.is_control() && c != '\n') || lines.split('\n').count() > MOST_SIGNATURES {
            return Err(NoteError::Malformed);
        }
        let mut signed = false;
        for line in lines.split('\n') {
            let (name, encoded) = line
                .strip_prefix("— ")
                .and_then(|line| line.split_once(' '))
                .filter(|(name, _)| !name.is_empty())
                .ok_or(NoteError::Malformed)?;
            let decoded = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed)?;
            let (hash, signature) = decoded.split_at_checked(KEY_HASH_LEN).ok_or(NoteError::Malformed)?;
            if name != self.name || !constant_time_eq(hash, &self.hash()) {
                continue;
            }
            // A forged line beside a good one spoils the note, as in the specification.
            if !verify(&self.public_key, text.as_bytes(), signature) {
                return Err(NoteError::Forged);
            }
            signed = true;
        }
        if signed { Ok(text) } else { Err(NoteError::NotSigned) }
    }

    /// Signs a text, which ends with a line feed and holds no other control characters.
    pub fn sign(&self, text: &str, pair: &SigningKeyPair) -> String {
        debug_assert!(text.ends_with('\n'));
        let mut signature = Vec::with_capacity(KEY_HASH_LEN + SIGNATURE_LEN);
        signature.extend_from_slice(&self.hash());
        signature.extend_from_slice(&pair.sign(text.as_bytes()));
        format!("{text}\n— {} {}\n", self.name, STANDARD.encode(signature))
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = Vec::with_capacity(1 + PUBLIC_KEY_LEN);
        key.push(ED25519);
        key.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash()), STANDARD.encode(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification and of its reference implementation (`golang.org/x/mod/sumdb/note`).
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const LINE: &str = "— PeterNeumann \
                        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn note() -> String {
        format!("{TEXT}\n{LINE}")
    }

    /// The example's seed as PKCS#8 (RFC 8410, section 7).
    fn pair() -> SigningKeyPair {
        let mut pkcs8 = hex::decode("302e020100300506032b657004220420").unwrap();
        pkcs8.extend_from_slice(&STANDARD.decode(SECRET).unwrap()[1..]);
        SigningKeyPair::from_pkcs8(&pkcs8).unwrap()
    }

    #[test]
    fn the_specification_s_example_is_signed_and_verified() {
        let key = VerifierKey::new("PeterNeumann", pair().public_key()).unwrap();
        assert_eq!(key.to_string(), VKEY);
        assert_eq!(VerifierKey::parse(VKEY), Ok(key.clone()));
        assert_eq!(key.sign(TEXT, &pair()), note());
        assert_eq!(key.open(&note()), Ok(TEXT));
    }

    #[test]
    fn any_change_of_a_note_is_noticed() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let note = note();
        for (at, character) in note.char_indices() {
            let other = if character == 'A' { 'B' } else { 'A' };
            let changed = format!("{}{other}{}", &note[..at], &note[at + character.len_utf8()..]);
            assert!(key.open(&changed).is_err(), "{changed}");
            assert!(key.open(&note[..at]).is_err(), "cut off at {at}");
        }
        for longer in [format!("x{note}"), format!("\n{note}"), format!("{note}\n"), format!("{note}x")] {
            assert!(key.open(&longer).is_err(), "{longer}");
        }
    }

    #[test]
    fn other_signatures_do_not_count_and_a_forged_one_spoils() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let pair = SigningKeyPair::generate();
        let other = VerifierKey::new("other.example/log", pair.public_key()).unwrap();
        let theirs = other.sign(TEXT, &pair);
        assert_eq!(key.open(&theirs), Err(NoteError::NotSigned));
        let line = theirs.strip_prefix(TEXT).and_then(|rest| rest.strip_prefix('\n')).unwrap();
        assert_eq!(key.open(&format!("{}{line}", note())), Ok(TEXT));
        assert_eq!(other.open(&format!("{}{line}", note())), Ok(TEXT));
        let namesake = VerifierKey::new("PeterNeumann", pair.public_key()).unwrap();
        assert_eq!(namesake.open(&note()), Err(NoteError::NotSigned), "another key of the same name");
        let forged = note().replace("x08go/ZJ", "x08go/ZK");
        assert_eq!(key.open(&forged), Err(NoteError::Forged));
        assert_eq!(key.open(&format!("{forged}{LINE}")), Err(NoteError::Forged));
        assert_eq!(key.open(&format!("{TEXT}\n{}", LINE.repeat(101))), Err(NoteError::Malformed));
    }

    #[test]
    fn texts_that_are_no_verifier_keys() {
        for at in 0..VKEY.len() {
            assert!(VerifierKey::parse(&VKEY[..at]).is_err(), "{}", &VKEY[..at]);
            let changed = format!("{}~{}", &VKEY[..at], &VKEY[at + 1..]);
            assert!(VerifierKey::parse(&changed).is_err(), "{changed}");
        }
        // A length and a type that cannot be, with hashes that fit.
        for text in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert_eq!(VerifierKey::parse(text), Err(NotAVerifierKey));
        }
        for name in ["", "a b", "a+b", "a\n"] {
            assert!(VerifierKey::new(name, &[0; 32]).is_err());
        }
    }
}
