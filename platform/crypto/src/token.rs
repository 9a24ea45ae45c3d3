//! Opaque bearer tokens: API keys, refresh tokens, links in mails. Signed tokens (JWT) do not belong here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::digest::{Sha256Digest, sha256};
use crate::random;

/// 256 bits cannot be guessed, so a token needs no slow hash.
const TOKEN_BYTES: usize = 32;
/// 32 bytes in base64url without padding.
const TOKEN_CHARACTERS: usize = 43;

/// A fresh token, shown to its owner once.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text to hand out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Makes a token: the prefix, which lets people and secret scanners tell what it is, and 32 random bytes in
/// base64url.
pub fn random_token(prefix: &str) -> Token {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    random::fill(&mut *bytes);
    // The whole capacity at once: a growing string would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + TOKEN_CHARACTERS));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    Token(text)
}

/// What is stored of a token, and looked up by. Plain SHA-256 is enough for 256 random bits, and only for
/// such.
pub fn token_hash(token: &str) -> Sha256Digest {
    sha256(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_prefix_and_32_random_bytes() {
        let (first, second) = (random_token("nsl_key_"), random_token("nsl_key_"));
        let random = first.expose().strip_prefix("nsl_key_").unwrap();
        assert_eq!(random.len(), TOKEN_CHARACTERS);
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), TOKEN_BYTES);
        assert_ne!(first.expose(), second.expose());
    }

    #[test]
    fn the_hash_is_sha256_of_the_whole_text() {
        let token = random_token("nsl_");
        assert_eq!(token_hash(token.expose()), sha256(token.expose().as_bytes()));
        assert_eq!(
            hex::encode(token_hash("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
