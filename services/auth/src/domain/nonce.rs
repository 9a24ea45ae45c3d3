//! Nonces of sign-in challenges. A challenge is not stored: its nonce is a MAC over everything that it is for, so that
//! whatever a wallet sends back, in a text or in a payload that names no site (NEP-20), the nonce still binds it. That
//! it counts once is the database's part.

use jiff::Timestamp;
use nsl_chain::Network;
use nsl_crypto::digest::{Sha256Digest, constant_time_eq, sha256};
use nsl_crypto::key::Key256;
use nsl_crypto::random;

use super::wallet::Refusal;
use crate::config::Site;

const RANDOM: usize = 8;
/// A forger has five minutes and a network in between.
const MAC: usize = 16;
const BYTES: usize = RANDOM + size_of::<i64>() + MAC;

/// What a challenge is for. The text that a wallet shows says it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    LogIn,
    /// Another way into the account of a user who has logged in.
    Link,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::LogIn => "log-in",
            Self::Link => "link",
        }
    }
}

/// Everything that a nonce binds, beside its own expiry.
pub(crate) struct Bound<'a> {
    pub(crate) site: &'a Site,
    pub(crate) audience: &'a str,
    pub(crate) purpose: Purpose,
    pub(crate) network: Network,
    /// In its canonical form.
    pub(crate) address: &'a str,
}

/// A nonce that was found good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonce {
    /// What is stored of it.
    pub(crate) hash: Sha256Digest,
    pub(crate) expires: Timestamp,
}

/// Makes nonces and knows its own.
pub(crate) struct NonceKey(Key256);

impl NonceKey {
    /// From the secret that the processes of an installation share.
    pub(crate) fn of_secret(secret: &[u8]) -> Self {
        Self(Key256::from_bytes(sha256(secret)).derive(&[b"auth.wallet-nonce"]))
    }

    /// A fresh nonce: 64 hex digits, which EIP-4361 takes as they are.
    pub(crate) fn issue(&self, bound: &Bound<'_>, expires: Timestamp) -> String {
        self.write(bound, expires.as_second(), random::bytes())
    }

    /// The key under which NEP-20's own nonces are made.
    pub(crate) fn nep20(&self) -> Key256 {
        self.0.derive(&[b"nep-20"])
    }

    /// Whether the nonce is ours, for exactly this, and not over.
    pub(crate) fn check(&self, nonce: &str, bound: &Bound<'_>, now: Timestamp) -> Result<Nonce, Refusal> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(nonce, &mut bytes).map_err(|_| Refusal::Nonce)?;
        let random = bytes.first_chunk().ok_or(Refusal::Nonce)?;
        let expires = i64::from_be_bytes(*bytes[RANDOM..].first_chunk().ok_or(Refusal::Nonce)?);
        // As it is written, so that upper case is not a second nonce.
        if !constant_time_eq(self.write(bound, expires, *random).as_bytes(), nonce.as_bytes()) {
            return Err(Refusal::Nonce);
        }
        let expires = Timestamp::from_second(expires).map_err(|_| Refusal::Nonce)?;
        if expires <= now {
            return Err(Refusal::Expired);
        }
        Ok(Nonce { hash: sha256(nonce.as_bytes()), expires })
    }

    fn write(&self, bound: &Bound<'_>, expires: i64, random: [u8; RANDOM]) -> String {
        let Bound { site, audience, purpose, network, address } = bound;
        let (network, expires) = (network.to_string(), expires.to_be_bytes());
        // HKDF-Expand is an HMAC over these parts, whose borders `derive` keeps: its output serves as the MAC.
        let mac = self.0.derive(&[
            site.domain.as_bytes(),
            site.uri.as_bytes(),
            audience.as_bytes(),
            purpose.as_str().as_bytes(),
            network.as_bytes(),
            address.as_bytes(),
            &expires,
            &random,
        ]);
        hex::encode([&random[..], &expires, &mac.expose()[..MAC]].concat())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn site(domain: &str) -> Site {
        let origin = format!("https://{domain}");
        Site { domain: domain.to_owned(), uri: origin.clone(), origin }
    }

    fn bound(site: &Site) -> Bound<'_> {
        Bound { site, audience: "all", purpose: Purpose::LogIn, network: Network::N3_MAINNET, address: "N1" }
    }

    #[test]
    fn a_nonce_is_good_until_it_expires() {
        let (key, site) = (NonceKey::of_secret(b"secret"), site("a.org"));
        let expires = NOW + SignedDuration::from_mins(5);
        let nonce = key.issue(&bound(&site), expires);
        assert!(nonce.len() == 64 && nonce.bytes().all(|b| b.is_ascii_alphanumeric()), "{nonce}");
        let good = key.check(&nonce, &bound(&site), NOW).unwrap();
        assert_eq!((good.expires, good.hash), (expires, sha256(nonce.as_bytes())));
        let late = expires - SignedDuration::from_nanos(1);
        assert!(key.check(&nonce, &bound(&site), late).is_ok());
        assert_eq!(key.check(&nonce, &bound(&site), expires), Err(Refusal::Expired));
        assert_eq!(key.check(&nonce.to_uppercase(), &bound(&site), NOW), Err(Refusal::Nonce));
        assert_ne!(key.issue(&bound(&site), expires), nonce);
    }

    #[test]
    fn a_nonce_is_for_one_site_audience_purpose_network_and_address() {
        let (key, site, other) = (NonceKey::of_secret(b"secret"), site("a.org"), site("b.org"));
        let nonce = key.issue(&bound(&site), NOW + SignedDuration::from_mins(5));
        let elsewhere = Site { uri: "https://a.org/x".to_owned(), ..site.clone() };
        for bound in [
            Bound { site: &other, ..bound(&site) },
            Bound { site: &elsewhere, ..bound(&site) },
            Bound { audience: "some", ..bound(&site) },
            Bound { purpose: Purpose::Link, ..bound(&site) },
            Bound { network: Network::N3_TESTNET, ..bound(&site) },
            Bound { network: Network::Evm { chain_id: 860_833_102 }, ..bound(&site) },
            Bound { address: "N2", ..bound(&site) },
        ] {
            assert_eq!(key.check(&nonce, &bound, NOW), Err(Refusal::Nonce));
        }
        assert_eq!(NonceKey::of_secret(b"other").check(&nonce, &bound(&site), NOW), Err(Refusal::Nonce));
    }

    proptest! {
        #[test]
        fn a_changed_nonce_is_refused(at in 0_usize..64, digit in 0_u8..16) {
            let (key, site) = (NonceKey::of_secret(b"secret"), site("a.org"));
            let nonce = key.issue(&bound(&site), NOW + SignedDuration::from_mins(5));
            let mut changed = nonce.clone();
            changed.replace_range(at..=at, &format!("{digit:x}"));
            prop_assume!(changed != nonce);
            prop_assert_eq!(key.check(&changed, &bound(&site), NOW), Err(Refusal::Nonce));
        }

        #[test]
        fn no_text_is_a_nonce_by_chance(text in ".*|[0-9a-f]{64}") {
            let (key, site) = (NonceKey::of_secret(b"secret"), site("a.org"));
            prop_assert_eq!(key.check(&text, &bound(&site), NOW), Err(Refusal::Nonce));
        }
    }
}
