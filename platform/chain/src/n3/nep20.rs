//! NEP-20: the challenge that a server hands out and the response of a wallet's `authenticate` (NEP-21).
//! Which nonces are outstanding does not belong here.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use nsl_crypto::key::Key256;
use serde::{Deserialize, Serialize};

use super::message::put_var_bytes;
use super::{Address, PublicKey, Signature};
use crate::Network;

const ACTION: &str = "Authentication";
const GRANT_TYPE: &str = "Signature";
const ALGORITHM: &str = "ECDSA-P256";

/// The clocks of the wallet and the server may be so far apart.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// What the server asks a wallet to sign. Unlike in the sign-in texts, times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nep20Challenge {
    action: String,
    grant_type: String,
    allowed_algorithms: Vec<String>,
    domain: String,
    networks: Vec<u32>,
    #[serde(with = "decimal_text")]
    nonce: u64,
    timestamp: u32,
    /// Where a wallet that scanned a QR code posts the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback: Option<String>,
}

impl Nep20Challenge {
    /// A challenge for the domain (a host, without scheme and path) and the magics of the networks that a
    /// wallet may be on.
    pub fn new(domain: &str, networks: &[u32], nonce: u64, now: Timestamp) -> Self {
        Self {
            action: ACTION.to_owned(),
            grant_type: GRANT_TYPE.to_owned(),
            allowed_algorithms: vec![ALGORITHM.to_owned()],
            domain: domain.to_owned(),
            networks: networks.to_vec(),
            nonce,
            // Seconds end in 2106 here: the NEP signs 32 bits of them.
            timestamp: u32::try_from(now.as_second()).unwrap_or(u32::MAX),
            callback: None,
        }
    }

    /// With an address for wallets that are on another device.
    #[must_use]
    pub fn with_callback(mut self, url: &str) -> Self {
        self.callback = Some(url.to_owned());
        self
    }

    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub fn networks(&self) -> &[u32] {
        &self.networks
    }
}

/// What a wallet answers. Wallets that follow the draft of 2021 leave `network` out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nep20Response {
    algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<u32>,
    pubkey: String,
    address: String,
    #[serde(with = "decimal_text")]
    nonce: u64,
    timestamp: u32,
    signature: String,
}

/// The order of the signed fields. Integers are little-endian, text follows its length, and the script hash
/// is in the order of the wire but for NeoLine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nep20Layout {
    /// nonce, timestamp, network, hash, action, domain: the accepted text of the NEP.
    Accepted,
    /// network, nonce, timestamp, hash, action, domain: what OneGate signs, the wallet of the NEP's author.
    OneGate,
    /// network, nonce, timestamp, hash: the draft of 2021, and the example that the accepted text still
    /// shows.
    Draft,
    /// The draft with the hash in the order of its text: what NeoLine signs.
    NeoLine,
}

impl Nep20Layout {
    const ALL: [Self; 4] = [Self::Accepted, Self::OneGate, Self::Draft, Self::NeoLine];

    /// Whether the signature names the domain. Where it does not, only the nonce ties it to an origin, and a
    /// person can be led to sign in for another site than the one that they look at.
    pub fn binds_domain(self) -> bool {
        matches!(self, Self::Accepted | Self::OneGate)
    }

    fn bytes(self, network: u32, nonce: u64, timestamp: u32, address: &Address, domain: &str) -> Vec<u8> {
        let (network, nonce, timestamp) =
            (network.to_le_bytes(), nonce.to_le_bytes(), timestamp.to_le_bytes());
        let mut bytes = match self {
            Self::Accepted => [&nonce[..], &timestamp, &network].concat(),
            Self::OneGate | Self::Draft | Self::NeoLine => [&network[..], &nonce, &timestamp].concat(),
        };
        let mut hash = *address.script_hash().as_le_bytes();
        if self == Self::NeoLine {
            hash.reverse();
        }
        bytes.extend_from_slice(&hash);
        if self.binds_domain() {
            put_var_bytes(&mut bytes, ACTION.as_bytes());
            put_var_bytes(&mut bytes, domain.as_bytes());
        }
        bytes
    }
}

/// Who answered a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nep20Authenticated {
    pub address: Address,
    pub network: Network,
    pub layout: Nep20Layout,
}

impl Nep20Response {
    /// Whether this answers the challenge, which the caller made itself and which is good until `expires_at`
    /// (the NEP recommends five minutes). That the nonce is used once is the caller's to see to.
    pub fn verify(
        &self,
        challenge: &Nep20Challenge,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Nep20Authenticated, Nep20Error> {
        if now >= expires_at {
            return Err(Nep20Error::Expired);
        }
        if self.algorithm != ALGORITHM {
            return Err(Nep20Error::Algorithm);
        }
        if self.nonce != challenge.nonce {
            return Err(Nep20Error::Nonce);
        }
        let magic = match (self.network, challenge.networks.as_slice()) {
            (Some(magic), asked) if asked.contains(&magic) => magic,
            (None, [only]) => *only,
            _ => return Err(Nep20Error::Network),
        };
        let signed_at = i64::from(self.timestamp);
        let skew = CLOCK_SKEW.as_secs();
        if signed_at < i64::from(challenge.timestamp) - skew || signed_at > now.as_second() + skew {
            return Err(Nep20Error::Timestamp);
        }
        let key: PublicKey = self.pubkey.parse().map_err(|_| Nep20Error::PublicKey)?;
        let address = key.address();
        if self.address.parse() != Ok(address) {
            return Err(Nep20Error::Address);
        }
        // NEP-20 says base64, and `Signature` would read hex as well.
        let signature = STANDARD.decode(&self.signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = Signature::from_bytes(signature.ok_or(Nep20Error::Signature)?);
        let layout = Nep20Layout::ALL
            .into_iter()
            .find(|layout| {
                let bytes = layout.bytes(magic, self.nonce, self.timestamp, &address, &challenge.domain);
                key.verifies(&bytes, &signature)
            })
            .ok_or(Nep20Error::Signature)?;
        Ok(Nep20Authenticated { address, network: Network::N3 { magic }, layout })
    }
}

/// What a nonce stands for.
pub struct Nep20NonceBinding<'a> {
    /// The origin of the page that asked for the challenge, `https://example.com`.
    pub origin: &'a str,
    /// Who will accept the login: the service's own name.
    pub audience: &'a str,
    pub magic: u32,
    pub expires_at: Timestamp,
    /// The challenge's own id, so that no two challenges share a nonce.
    pub challenge_id: &'a [u8],
}

/// The nonce of a challenge: 64 bits of HMAC-SHA256, since the NEP signs no more. Whoever holds the key can
/// tell for which origin, audience, network and expiry a nonce was made, also where the signature names none
/// of them.
pub fn nep20_nonce(key: &Key256, binding: &Nep20NonceBinding<'_>) -> u64 {
    let mut bytes = b"nsl nep-20 nonce v1".to_vec();
    for part in [binding.origin.as_bytes(), binding.audience.as_bytes(), binding.challenge_id] {
        put_var_bytes(&mut bytes, part);
    }
    bytes.extend_from_slice(&binding.magic.to_le_bytes());
    bytes.extend_from_slice(&binding.expires_at.as_nanosecond().to_le_bytes());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), &bytes);
    tag.as_ref().iter().take(8).fold(0, |nonce, byte| nonce << 8 | u64::from(*byte))
}

/// The NEP carries the nonce as text, because JSON's numbers end at 53 bits in JavaScript.
mod decimal_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(nonce: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(nonce)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::network::decimal(&text)
            .ok_or_else(|| D::Error::custom("the nonce is a decimal number of 64 bits, as text"))
    }
}

/// Why a response does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nep20Error {
    #[error("the challenge has expired: ask for another")]
    Expired,
    #[error("the algorithm is not ECDSA-P256, the only one that the challenge allows")]
    Algorithm,
    #[error("the nonce is not that of the challenge: answer the challenge that was asked for last")]
    Nonce,
    #[error("the network is none of the challenge's: switch the wallet to one of them")]
    Network,
    #[error("the time of the signature is not between the challenge and now: set the clock of the device")]
    Timestamp,
    #[error("pubkey is not a public key of Neo N3: give its 33 bytes in hex")]
    PublicKey,
    #[error("the address is not that of pubkey: NEP-20 is for single-key accounts")]
    Address,
    #[error("the signature does not match the challenge: it may be for another domain, or not base64")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use jiff::ToSpan as _;
    use proptest::prelude::*;

    const MAGIC: u32 = 860_833_102;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn challenge() -> Nep20Challenge {
        Nep20Challenge::new("example.com", &[MAGIC, 42], 13_458_238_842_203_010_919, at(1_616_131_368))
    }

    /// A wallet that signs in the given layout.
    fn respond(challenge: &Nep20Challenge, layout: Nep20Layout) -> Nep20Response {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = PublicKey::from_sec1(pair.public_key().as_ref()).unwrap();
        let timestamp = challenge.timestamp + 2;
        let bytes = layout.bytes(MAGIC, challenge.nonce, timestamp, &key.address(), &challenge.domain);
        let signature = pair.sign(&SystemRandom::new(), &bytes).unwrap();
        Nep20Response {
            algorithm: ALGORITHM.to_owned(),
            network: Some(MAGIC),
            pubkey: key.to_string(),
            address: key.address().to_string(),
            nonce: challenge.nonce,
            timestamp,
            signature: STANDARD.encode(signature),
        }
    }

    fn verify(
        response: &Nep20Response,
        challenge: &Nep20Challenge,
    ) -> Result<Nep20Authenticated, Nep20Error> {
        let made = at(challenge.timestamp.into());
        response.verify(challenge, made + 5.minutes(), made + 3.seconds())
    }

    /// The example that stands in the NEP: its signature is over the draft's bytes and network.
    #[test]
    fn the_example_of_the_nep() {
        let challenge: Nep20Challenge = serde_json::from_str(
            r#"{"action": "Authentication", "grant_type": "Signature", "allowed_algorithms": ["ECDSA-P256"],
                "domain": "example.com", "networks": [5195086], "nonce": "13458238842203010919",
                "timestamp": 1616131368, "callback": "https://someurl.com/callback"}"#,
        )
        .unwrap();
        let response: Nep20Response = serde_json::from_str(
            r#"{"algorithm": "ECDSA-P256",
                "pubkey": "0355912bc4e61c9715c5912397ea53a5ac6c103c4893fbd9c2a9f3be13b7a3e29d",
                "address": "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7", "nonce": "13458238842203010919",
                "timestamp": 1616131369,
                "signature": "BAS7Ljufj3vrhOrTAi21D/5Cf62n4r64Suf/do8dq/OCMHiLJl+hLJeMFZwTajVjhcpFLz6FuSEp13vvEqWf1w=="}"#,
        )
        .unwrap();
        let authenticated = verify(&response, &challenge).unwrap();
        assert_eq!(authenticated.address.to_string(), "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7");
        assert_eq!(authenticated.network, Network::N3 { magic: 5_195_086 });
        assert_eq!(authenticated.layout, Nep20Layout::Draft);
        assert!(!authenticated.layout.binds_domain());
    }

    #[test]
    fn the_bytes_of_the_accepted_layout() {
        let address: Address = "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7".parse().unwrap();
        let bytes = Nep20Layout::Accepted.bytes(MAGIC, 1, 2, &address, "example.com");
        let hash = hex::encode(address.script_hash().as_le_bytes());
        let action = hex::encode(b"\x0eAuthentication");
        let domain = hex::encode(b"\x0bexample.com");
        assert_eq!(
            hex::encode(bytes),
            format!("010000000000000002000000{}{hash}{action}{domain}", "4e454f33")
        );
    }

    /// As NeoLine builds them, from the text of the script hash.
    #[test]
    fn the_bytes_of_neoline() {
        let address: Address = "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7".parse().unwrap();
        let bytes = Nep20Layout::NeoLine.bytes(MAGIC, 1, 2, &address, "example.com");
        let hash = address.script_hash().to_string();
        assert_eq!(hex::encode(bytes), format!("4e454f33{}{}{}", "0100000000000000", "02000000", &hash[2..]));
    }

    #[test]
    fn every_layout_is_found() {
        let challenge = challenge();
        for layout in Nep20Layout::ALL {
            let response = respond(&challenge, layout);
            let authenticated = verify(&response, &challenge).unwrap();
            assert_eq!(authenticated.layout, layout);
            assert_eq!(authenticated.network, Network::N3 { magic: MAGIC });
            assert_eq!(authenticated.address.to_string(), response.address);
        }
    }

    #[test]
    fn a_signature_for_another_domain_is_refused() {
        let mine = challenge();
        let theirs = Nep20Challenge { domain: "example.com.evil.org".to_owned(), ..mine.clone() };
        for layout in [Nep20Layout::Accepted, Nep20Layout::OneGate] {
            assert_eq!(verify(&respond(&theirs, layout), &mine), Err(Nep20Error::Signature));
        }
    }

    #[test]
    fn each_field_is_checked() {
        let challenge = challenge();
        let good = respond(&challenge, Nep20Layout::Accepted);
        let other = respond(&challenge, Nep20Layout::Accepted);
        let changed = |change: fn(&mut Nep20Response, Nep20Response)| {
            let mut response = good.clone();
            change(&mut response, other.clone());
            verify(&response, &challenge).unwrap_err()
        };
        assert_eq!(changed(|r, _| "ECDSA-K256".clone_into(&mut r.algorithm)), Nep20Error::Algorithm);
        assert_eq!(changed(|r, _| r.nonce ^= 1), Nep20Error::Nonce);
        assert_eq!(changed(|r, _| r.network = Some(43)), Nep20Error::Network);
        // Two networks were asked for, so that a response must say which.
        assert_eq!(changed(|r, _| r.network = None), Nep20Error::Network);
        // One of those asked for, but not the one signed.
        assert_eq!(changed(|r, _| r.network = Some(42)), Nep20Error::Signature);
        assert_eq!(changed(|r, _| r.timestamp += 1), Nep20Error::Signature);
        assert_eq!(changed(|r, _| r.timestamp += 1000), Nep20Error::Timestamp);
        assert_eq!(changed(|r, _| r.timestamp -= 1000), Nep20Error::Timestamp);
        assert_eq!(changed(|r, _| r.pubkey.truncate(10)), Nep20Error::PublicKey);
        assert_eq!(changed(|r, other| r.address = other.address), Nep20Error::Address);
        assert_eq!(changed(|r, other| r.pubkey = other.pubkey), Nep20Error::Address);
        assert_eq!(changed(|r, other| r.signature = other.signature), Nep20Error::Signature);
        assert_eq!(changed(|r, _| r.signature = hex::encode([1; 64])), Nep20Error::Signature);

        let made = at(challenge.timestamp.into());
        assert_eq!(good.verify(&challenge, made + 4.seconds(), made + 4.seconds()), Err(Nep20Error::Expired));
        assert!(good.verify(&challenge, made + 5.seconds(), made + 4.seconds()).is_ok());
    }

    #[test]
    fn json_as_wallets_read_it() {
        let json = serde_json::to_value(challenge().with_callback("https://example.com/login")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "action": "Authentication", "grant_type": "Signature", "allowed_algorithms": ["ECDSA-P256"],
                "domain": "example.com", "networks": [860_833_102, 42], "nonce": "13458238842203010919",
                "timestamp": 1_616_131_368, "callback": "https://example.com/login",
            })
        );
        let number =
            r#"{"algorithm":"ECDSA-P256","pubkey":"","address":"","nonce":1,"timestamp":1,"signature":""}"#;
        assert!(serde_json::from_str::<Nep20Response>(number).is_err());
        let unknown = number.replace("\"nonce\":1", "\"nonce\":\"1\",\"more\":1");
        assert!(serde_json::from_str::<Nep20Response>(&unknown).is_err());
    }

    #[test]
    fn a_nonce_stands_for_all_that_it_binds() {
        let key = Key256::from_bytes([7; 32]);
        let make = |origin, audience, magic, second, challenge_id| {
            let binding = Nep20NonceBinding { origin, audience, magic, expires_at: at(second), challenge_id };
            nep20_nonce(&key, &binding)
        };
        let all = [
            make("https://a", "b", 1, 5, b"c"),
            make("https://ab", "", 1, 5, b"c"),
            make("https://a", "", 1, 5, b"bc"),
            make("https://a", "b", 2, 5, b"c"),
            make("https://a", "b", 1, 6, b"c"),
            make("https://a", "b", 1, 5, b"d"),
        ];
        assert_eq!(all[0], make("https://a", "b", 1, 5, b"c"));
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    proptest! {
        #[test]
        fn round_trip_through_json(domain in "[a-z.]{1,40}", networks: Vec<u32>, nonce: u64, second in 0_i64..4_000_000_000) {
            let challenge = Nep20Challenge::new(&domain, &networks, nonce, at(second));
            let json = serde_json::to_string(&challenge).unwrap();
            prop_assert_eq!(serde_json::from_str::<Nep20Challenge>(&json).unwrap(), challenge);
        }

        #[test]
        fn any_response_is_survived(text in proptest::array::uniform3(any::<String>()), nonce: u64, timestamp: u32) {
            let [pubkey, address, signature] = text;
            let algorithm = ALGORITHM.to_owned();
            let response = Nep20Response { algorithm, network: None, pubkey, address, nonce, timestamp, signature };
            let challenge = Nep20Challenge { nonce, timestamp, networks: vec![MAGIC], ..challenge() };
            prop_assert!(verify(&response, &challenge).is_err());
        }
    }
}
