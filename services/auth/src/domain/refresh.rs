//! Refresh tokens: how one is made from the one before, and what it means when one comes.
//!
//! The first token of a session is random. Its successors are HMACs, so that two tabs which refresh at the same time
//! get the same one, although only hashes are stored. The HMAC covers the token before, too: whoever knows the server's
//! secret and the ids in the database, and no token, makes none.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use nsl_core::ids::SessionId;
use nsl_crypto::digest::{Sha256Digest, sha256};
use nsl_crypto::key::Key256;
use nsl_crypto::token::{random_token, token_hash};
use zeroize::Zeroizing;

/// Tells people and secret scanners what it is.
const PREFIX: &str = "nslr_";
/// The prefix and 32 bytes in base64url.
const CHARS: usize = PREFIX.len() + 43;
/// Two tabs of one browser refresh within this time of one another.
const TABS: SignedDuration = SignedDuration::from_secs(10);

/// A refresh token, to be handed out.
pub(crate) type RefreshToken = Zeroizing<String>;

/// The server's part of every successor.
pub(crate) struct RefreshKey(hmac::Key);

impl RefreshKey {
    /// A key of its own label: it signs nothing else, and the shared secret cannot be told from it.
    pub(crate) fn derive(secret: &[u8]) -> Self {
        let key = Key256::from_bytes(sha256(secret)).derive(&[b"auth.refresh-token"]);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The token that follows `token` in a session. All inputs but the last have a fixed length.
    pub(crate) fn successor(&self, session: SessionId, generation: i32, token: &str) -> RefreshToken {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(session.0.as_bytes());
        context.update(&generation.to_be_bytes());
        context.update(token.as_bytes());
        let mut text = Zeroizing::new(String::with_capacity(CHARS));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(context.sign(), &mut text);
        text
    }
}

/// The first token of a session.
pub(crate) fn first() -> RefreshToken {
    Zeroizing::new(random_token(PREFIX).expose().to_owned())
}

/// What is stored of a refresh token; None for a text that cannot be one.
pub(crate) fn hash(token: &str) -> Option<Sha256Digest> {
    (token.len() == CHARS && token.starts_with(PREFIX)).then(|| token_hash(token))
}

/// What it means that a token came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It was not used yet.
    First,
    /// Another tab was a moment faster: it gets the same successor.
    Again,
    /// Someone else holds it too (RFC 9700 section 4.14.2).
    Reuse,
}

/// Judges a token by when it was used and whether its successor is still unused.
pub(crate) fn judge(used_at: Option<Timestamp>, successor_is_unused: bool, now: Timestamp) -> Use {
    match used_at {
        None => Use::First,
        Some(at) if successor_is_unused && now.duration_since(at) <= TABS => Use::Again,
        Some(_) => Use::Reuse,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_refresh_token_is_known_by_its_form() {
        let token = first();
        assert_eq!(hash(&token), Some(token_hash(&token)));
        assert_eq!(hash(&token[1..]), None);
        assert_eq!(hash(&format!("{}x", *token)), None);
        assert_eq!(hash(random_token("nslk_").expose()), None);
        assert_eq!(hash(""), None);
    }

    #[test]
    fn a_successor_is_the_same_for_the_same_token_only() {
        let key = RefreshKey::derive(b"a secret of the tests, long enough");
        let (session, token) = (SessionId(Uuid::from_u128(1)), first());
        let next = key.successor(session, 1, &token);
        assert_eq!(hash(&next), Some(token_hash(&next)));
        assert_eq!(next, key.successor(session, 1, &token));
        for other in [
            key.successor(SessionId(Uuid::from_u128(2)), 1, &token),
            key.successor(session, 2, &token),
            key.successor(session, 1, &first()),
            RefreshKey::derive(b"another secret of the tests, as long").successor(session, 1, &token),
        ] {
            assert_ne!(next, other);
        }
    }

    #[test]
    fn only_two_tabs_within_ten_seconds_get_the_same_successor() {
        let ago = |seconds| Some(NOW - SignedDuration::from_secs(seconds));
        assert_eq!(judge(None, false, NOW), Use::First);
        for (used_at, unused, expected) in [
            (ago(0), true, Use::Again),
            (ago(10), true, Use::Again),
            // Another process's clock is ahead.
            (ago(-2), true, Use::Again),
            (ago(11), true, Use::Reuse),
            (ago(0), false, Use::Reuse),
            (ago(10), false, Use::Reuse),
        ] {
            assert_eq!(judge(used_at, unused, NOW), expected, "{used_at:?} {unused}");
        }
    }
}
