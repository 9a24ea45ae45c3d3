//! Whether a signed text signs somebody in: here, now, and as the account that it names. That a nonce is used
//! once is the caller's to see to.

use jiff::{SignedDuration, Timestamp};

use super::grammar::{is_authority, is_scheme};
use super::{Account, MalformedText, SignIn};
use crate::{Network, evm, n3};

/// A text may come from a server whose clock is so far ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// What the text must be bound to.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The origin that people sign in at, as browsers write it: `https://example.com`, with a port where it
    /// is not the scheme's.
    pub origin: &'a str,
    pub network: Network,
    /// The nonce that was handed out for this login.
    pub nonce: &'a str,
    /// The oldest that a text may be, whatever expiry it gives itself.
    pub max_age: SignedDuration,
}

/// What a wallet hands over beside the text.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// Of Neo N3; the salt is the one that some wallets put before the text.
    N3 { signature: &'a n3::Signature, public_key: &'a n3::PublicKey, salt: Option<&'a str> },
    /// Of an EVM: the signature tells the key.
    Evm { signature: &'a evm::Signature },
}

/// Reads the text and checks all that can be checked without a memory of nonces: its binding, its times, and
/// that the account in it made the signature.
pub fn verify(
    text: &str,
    proof: &Proof<'_>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<SignIn, Refusal> {
    let message: SignIn = text.parse()?;
    message.check(expected, now)?;
    let signed = match (message.account, proof) {
        (Account::N3 { address, .. }, Proof::N3 { signature, public_key, salt }) => {
            n3::verify(text, *salt, signature, public_key).is_ok_and(|signed| signed.address == address)
        }
        (Account::Evm { address, .. }, Proof::Evm { signature }) => {
            evm::recover(text.as_bytes(), signature) == Ok(address)
        }
        _ => false,
    };
    if signed { Ok(message) } else { Err(Refusal::Signature) }
}

impl SignIn {
    /// Whether the text is for this origin, network and nonce, and good now. It says nothing of who signed
    /// it: [`verify`] does.
    pub fn check(&self, expected: &Expected<'_>, now: Timestamp) -> Result<(), Refusal> {
        let (scheme, authority) = expected
            .origin
            .split_once("://")
            .filter(|(scheme, authority)| is_scheme(scheme) && is_authority(authority))
            .ok_or(Refusal::ExpectedOrigin)?;
        let scheme_is_ours = self.scheme.as_ref().is_none_or(|ours| ours.eq_ignore_ascii_case(scheme));
        if !(scheme_is_ours && self.domain.eq_ignore_ascii_case(authority)) {
            return Err(Refusal::Domain);
        }
        // The same origin, and a path, query or fragment after it, or nothing.
        let of_ours = self.uri.split_at_checked(expected.origin.len()).is_some_and(|(origin, rest)| {
            origin.eq_ignore_ascii_case(expected.origin)
                && (rest.is_empty() || rest.starts_with(['/', '?', '#']))
        });
        if !of_ours {
            return Err(Refusal::Uri);
        }
        if self.account.network() != expected.network {
            return Err(Refusal::Network);
        }
        if self.nonce != expected.nonce {
            return Err(Refusal::Nonce);
        }
        let issued_at = self.issued_at.timestamp();
        let starts = self.not_before.as_ref().map_or(issued_at, |time| time.timestamp().max(issued_at));
        if starts.duration_since(now) > CLOCK_SKEW {
            return Err(Refusal::NotYetValid);
        }
        let too_old = now.duration_since(issued_at) >= expected.max_age;
        if too_old || self.expiration_time.as_ref().is_some_and(|end| now >= end.timestamp()) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

/// Why a text signs nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] MalformedText),
    #[error(
        "the origin to expect must be a scheme and a host, such as https://example.com: correct the configuration"
    )]
    ExpectedOrigin,
    #[error("the text is for another domain: sign the one that this service gave")]
    Domain,
    #[error("the URI in the text is of another origin: sign the text that this service gave")]
    Uri,
    #[error("the text is for another network: switch the wallet to the one that was asked for")]
    Network,
    #[error("the nonce is not the one that was handed out: ask for another challenge")]
    Nonce,
    #[error("the text is not valid yet: set the clock of the device, or wait")]
    NotYetValid,
    #[error("the text has expired: ask for another challenge")]
    Expired,
    #[error(
        "the account in the text did not sign it: choose that account in the wallet, and sign the text unchanged"
    )]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign_in::DateTime;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use jiff::ToSpan as _;
    use k256::ecdsa::SigningKey;

    const NOW: i64 = 1_764_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn expected(network: Network) -> Expected<'static> {
        Expected {
            origin: "https://app.example.com",
            network,
            nonce: "n0nce123",
            max_age: SignedDuration::from_mins(10),
        }
    }

    fn message(account: Account) -> SignIn {
        SignIn {
            scheme: Some("https".to_owned()),
            domain: "app.example.com".to_owned(),
            account,
            statement: Some("Sign in to the Neo Service Layer.".to_owned()),
            uri: "https://app.example.com/login".to_owned(),
            nonce: "n0nce123".to_owned(),
            issued_at: now().into(),
            expiration_time: Some((now() + 5.minutes()).into()),
            not_before: None,
            request_id: None,
            resources: None,
        }
    }

    fn evm_key(secret: u8) -> (SigningKey, Account) {
        let key = SigningKey::from_slice(&[secret; 32]).unwrap();
        let address =
            evm::Address::from_public_key(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
        (key, Account::Evm { address, chain_id: 47_763 })
    }

    fn personal_sign(key: &SigningKey, text: &str) -> evm::Signature {
        let (rs, id) = key.sign_prehash_recoverable(&evm::message_hash(text.as_bytes()));
        let mut bytes = [id.to_byte(); 65];
        bytes[..64].copy_from_slice(&rs.to_bytes());
        evm::Signature::from_bytes(bytes)
    }

    #[test]
    fn an_evm_account_signs_in_as_itself_only() {
        let (key, account) = evm_key(1);
        let expected = expected(Network::NEO_X_MAINNET);
        let text = message(account).text().unwrap();
        let signature = personal_sign(&key, &text);
        let proof = Proof::Evm { signature: &signature };
        assert_eq!(verify(&text, &proof, &expected, now()).unwrap().account, account);

        let foreign = message(evm_key(2).1).text().unwrap();
        let signature = personal_sign(&key, &foreign);
        assert_eq!(
            verify(&foreign, &Proof::Evm { signature: &signature }, &expected, now()),
            Err(Refusal::Signature)
        );
        // Signed, but not this text.
        assert_eq!(
            verify(&text, &Proof::Evm { signature: &signature }, &expected, now()),
            Err(Refusal::Signature)
        );
    }

    #[test]
    fn an_n3_account_signs_in_as_itself_only() {
        let key = || {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let public = n3::PublicKey::from_sec1(pair.public_key().as_ref()).unwrap();
            (pair, public)
        };
        let (pair, public_key) = key();
        let (_, other_key) = key();
        let expected = expected(Network::N3_MAINNET);
        let account = Account::N3 { address: public_key.address(), magic: 860_833_102 };
        let text = message(account).text().unwrap();
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        let signature = n3::Signature::from_bytes(signature.as_ref().try_into().unwrap());
        let proof = |public_key| Proof::N3 { signature: &signature, public_key, salt: None };
        assert_eq!(verify(&text, &proof(&public_key), &expected, now()).unwrap().account, account);
        assert_eq!(verify(&text, &proof(&other_key), &expected, now()), Err(Refusal::Signature));

        // A good signature by a key whose account the text does not name.
        let foreign = Account::N3 { address: other_key.address(), magic: 860_833_102 };
        let foreign = message(foreign).text().unwrap();
        let signature = pair.sign(&SystemRandom::new(), foreign.as_bytes()).unwrap();
        let signature = n3::Signature::from_bytes(signature.as_ref().try_into().unwrap());
        let proof = Proof::N3 { signature: &signature, public_key: &public_key, salt: None };
        assert_eq!(verify(&foreign, &proof, &expected, now()), Err(Refusal::Signature));
        // A proof of the other chain.
        let (key, evm_account) = evm_key(1);
        let evm_signature = personal_sign(&key, &text);
        assert_eq!(
            verify(&text, &Proof::Evm { signature: &evm_signature }, &expected, now()),
            Err(Refusal::Signature)
        );
        let evm_text = message(evm_account).text().unwrap();
        assert_eq!(
            verify(
                &evm_text,
                &proof,
                &super::Expected { network: Network::NEO_X_MAINNET, ..expected },
                now()
            ),
            Err(Refusal::Signature)
        );
    }

    #[test]
    fn each_binding_is_checked() {
        let (_, account) = evm_key(1);
        let check = |change: fn(&mut SignIn)| {
            let mut message = message(account);
            change(&mut message);
            message.check(&expected(Network::NEO_X_MAINNET), now())
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|m| m.scheme = None), Ok(()));
        assert_eq!(check(|m| "APP.example.com".clone_into(&mut m.domain)), Ok(()));
        assert_eq!(check(|m| "https://APP.example.com#x".clone_into(&mut m.uri)), Ok(()));
        assert_eq!(check(|m| m.scheme = Some("http".to_owned())), Err(Refusal::Domain));
        for domain in ["example.com", "app.example.com.evil.org", "app.example.com:444", "x@app.example.com"]
        {
            let mut message = message(account);
            domain.clone_into(&mut message.domain);
            assert_eq!(
                message.check(&expected(Network::NEO_X_MAINNET), now()),
                Err(Refusal::Domain),
                "{domain}"
            );
        }
        for uri in [
            "https://app.example.com.evil.org/",
            "https://app.example.com:444/",
            "http://app.example.com/",
            "https://app.example.co",
            "https://app.example.com@evil.org/",
        ] {
            let mut message = message(account);
            uri.clone_into(&mut message.uri);
            assert_eq!(message.check(&expected(Network::NEO_X_MAINNET), now()), Err(Refusal::Uri), "{uri}");
        }
        assert_eq!(check(|m| m.nonce.push('4')), Err(Refusal::Nonce));
        assert_eq!(
            check(|m| m.account = Account::Evm { address: evm_key(1).1.evm(), chain_id: 1 }),
            Err(Refusal::Network)
        );
        let n3 = expected(Network::N3 { magic: 47_763 });
        assert_eq!(message(account).check(&n3, now()), Err(Refusal::Network));
        for origin in ["", "app.example.com", "https://", "https://app.example.com/"] {
            let expected = Expected { origin, ..expected(Network::NEO_X_MAINNET) };
            assert_eq!(message(account).check(&expected, now()), Err(Refusal::ExpectedOrigin), "{origin}");
        }
    }

    #[test]
    fn times_are_checked() {
        let (_, account) = evm_key(1);
        let good = message(account);
        let at = |message: &SignIn, second: i64| {
            message.check(&expected(Network::NEO_X_MAINNET), now() + second.seconds())
        };
        assert_eq!(at(&good, -61), Err(Refusal::NotYetValid));
        assert_eq!(at(&good, -60), Ok(()));
        assert_eq!(at(&good, 299), Ok(()));
        assert_eq!(at(&good, 300), Err(Refusal::Expired));
        // Without an expiry of its own, or with a far one, the age counts.
        for expiration_time in [None, Some(DateTime::from(now() + 9000.hours()))] {
            let message = SignIn { expiration_time, ..good.clone() };
            assert_eq!(at(&message, 599), Ok(()));
            assert_eq!(at(&message, 600), Err(Refusal::Expired));
        }
        let later = SignIn { not_before: Some((now() + 2.minutes()).into()), ..good };
        assert_eq!(at(&later, 59), Err(Refusal::NotYetValid));
        assert_eq!(at(&later, 60), Ok(()));
    }

    impl Account {
        fn evm(self) -> evm::Address {
            match self {
                Self::Evm { address, .. } => address,
                Self::N3 { .. } => unreachable!("the test's account is of an EVM"),
            }
        }
    }
}
