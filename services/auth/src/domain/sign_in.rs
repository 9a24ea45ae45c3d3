//! Challenges for wallets, and whether an answer signs its wallet in. The forms themselves belong to `nsl-chain`; here
//! is what this service binds them to. That an answer counts once is the database's part.

use jiff::{SignedDuration, Timestamp};
use nsl_chain::n3::{Nep20Challenge, Nep20Error, Nep20NonceBinding, Nep20Response, nep20_nonce};
use nsl_chain::sign_in::{self, Account, Expected};
use nsl_chain::{Network, evm, n3};

use super::nonce::{Bound, NonceKey, Purpose};
use super::user::Violation;
use super::wallet::{Chain, Challenge, Form, Proof, Proven, Refusal};
use crate::config::Site;

/// For which a challenge is good: NEP-20 recommends it too.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// Ours have some 400 bytes.
const MAX_MESSAGE: usize = 8 * 1024;

/// What challenges are bound to.
pub(crate) struct SignIn {
    pub(crate) site: Site,
    pub(crate) audience: String,
    /// Magics of the Neo N3 networks that are served.
    pub(crate) n3: Vec<u32>,
    /// Chain ids of the EVM networks that are served.
    pub(crate) evm: Vec<u64>,
    pub(crate) key: NonceKey,
}

impl SignIn {
    /// Something to sign, by the account of a chain and for a purpose.
    pub(crate) fn challenge(
        &self,
        purpose: Purpose,
        account: (Chain, &str, u64),
        form: Form,
        now: Timestamp,
    ) -> Result<Challenge, Vec<Violation>> {
        let account = self.account(account, form)?;
        let expires = now + LIFETIME;
        let address = account.to_string();
        // Whole seconds: the nonce keeps no more of it.
        let expires = Timestamp::from_second(expires.as_second()).unwrap_or(expires);
        let nonce = self.key.issue(&self.bound(purpose, account.network(), &address), expires);
        let text = match (form, account) {
            (Form::Nep20, Account::N3 { magic, .. }) => {
                serde_json::to_string(&self.nep20(&nonce, magic, expires))
                    .map_err(|error| vec![Violation::new("/form", error.to_string())])?
            }
            _ => self.text(purpose, account, &nonce, now, expires)?,
        };
        Ok(Challenge { text, nonce, expires })
    }

    fn account(
        &self,
        (chain, address, network): (Chain, &str, u64),
        form: Form,
    ) -> Result<Account, Vec<Violation>> {
        let refuse = |pointer: &str, detail: String| Err(vec![Violation::new(pointer, detail)]);
        if form == Form::Nep20 && chain != Chain::N3 {
            return refuse("/form", "NEP-20 is of Neo N3; leave the form out for other chains".to_owned());
        }
        let account = match chain {
            Chain::N3 => match (address.parse(), u32::try_from(network)) {
                (Ok(address), Ok(magic)) => Account::N3 { address, magic },
                (Err(error), _) => return refuse("/address", error.to_string()),
                (_, Err(_)) => return refuse("/network", "the magic of a network has 32 bits".to_owned()),
            },
            Chain::Evm => match address.parse() {
                Ok(address) => Account::Evm { address, chain_id: network },
                Err(error) => return refuse("/address", error.to_string()),
            },
        };
        if !self.serves(account.network()) {
            let served = match chain {
                Chain::N3 => format!("{:?}", self.n3),
                Chain::Evm => format!("{:?}", self.evm),
            };
            return refuse("/network", format!("this network is not served here, but of {served}"));
        }
        Ok(account)
    }

    fn text(
        &self,
        purpose: Purpose,
        account: Account,
        nonce: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<String, Vec<Violation>> {
        let statement = match purpose {
            Purpose::LogIn => "Sign in to the Neo Service Layer.",
            Purpose::Link => "Let this wallet sign in to your account of the Neo Service Layer.",
        };
        let issued = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let message = sign_in::SignIn {
            scheme: None,
            domain: self.site.domain.clone(),
            account,
            statement: Some(statement.to_owned()),
            uri: self.site.uri.clone(),
            nonce: nonce.to_owned(),
            issued_at: issued.into(),
            expiration_time: Some(expires.into()),
            not_before: None,
            request_id: None,
            resources: None,
        };
        message.text().map_err(|error| vec![Violation::new("", error.to_string())])
    }

    /// NEP-20 signs 64 bits of nonce. They are made of ours, which comes back beside the wallet's answer.
    fn nep20(&self, nonce: &str, magic: u32, expires: Timestamp) -> Nep20Challenge {
        let number = nep20_nonce(
            &self.key.nep20(),
            &Nep20NonceBinding {
                origin: &self.site.origin,
                audience: &self.audience,
                magic,
                expires_at: expires,
                challenge_id: nonce.as_bytes(),
            },
        );
        Nep20Challenge::new(&self.site.domain, &[magic], number, expires - LIFETIME)
    }

    fn serves(&self, network: Network) -> bool {
        match network {
            Network::N3 { magic } => self.n3.contains(&magic),
            Network::Evm { chain_id } => self.evm.contains(&chain_id),
        }
    }

    fn bound<'a>(&'a self, purpose: Purpose, network: Network, address: &'a str) -> Bound<'a> {
        Bound { site: &self.site, audience: &self.audience, purpose, network, address }
    }

    /// Whether the answer to a challenge signs its wallet in.
    pub(crate) fn verify(&self, purpose: Purpose, proof: &Proof, now: Timestamp) -> Result<Proven, Refusal> {
        if proof.message.len() > MAX_MESSAGE {
            return Err(Refusal::Malformed("it is longer than any".to_owned()));
        }
        match (&proof.nonce, proof.chain) {
            (Some(nonce), Chain::N3) => self.verify_nep20(purpose, proof, nonce, now),
            (Some(_), Chain::Evm) => {
                Err(Refusal::Malformed("NEP-20 is of Neo N3; leave the nonce out".to_owned()))
            }
            (None, _) => self.verify_text(purpose, proof, now),
        }
    }

    fn verify_text(&self, purpose: Purpose, proof: &Proof, now: Timestamp) -> Result<Proven, Refusal> {
        let message: sign_in::SignIn = proof
            .message
            .parse()
            .map_err(|error: sign_in::MalformedText| Refusal::Malformed(error.to_string()))?;
        let account = message.account;
        if !self.serves(account.network()) {
            return Err(Refusal::Network);
        }
        if !claims(proof, account) {
            return Err(Refusal::Address);
        }
        let shown = Shown::read(proof)?;
        let expected = Expected {
            origin: &self.site.origin,
            network: account.network(),
            // Whichever it is: the MAC tells below whether it was given for this.
            nonce: &message.nonce,
            max_age: LIFETIME,
        };
        sign_in::verify(&proof.message, &shown.proof(proof.salt.as_deref()), &expected, now)?;
        let address = account.to_string();
        let bound = self.bound(purpose, account.network(), &address);
        let nonce = self.key.check(&message.nonce, &bound, now)?;
        Ok(Proven { chain: proof.chain, address, nonce })
    }

    fn verify_nep20(
        &self,
        purpose: Purpose,
        proof: &Proof,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Proven, Refusal> {
        let answer: Nep20Response =
            serde_json::from_str(&proof.message).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let address: n3::Address = proof.address.parse().map_err(|_| Refusal::Address)?;
        let text = address.to_string();
        // Wallets of the draft of 2021 do not tell the network; the nonce is for one of those that are served.
        let mut found = Err(Refusal::Nonce);
        for magic in &self.n3 {
            let network = Network::N3 { magic: *magic };
            match self.key.check(nonce, &self.bound(purpose, network, &text), now) {
                Err(Refusal::Nonce) => {}
                checked => {
                    found = checked.map(|nonce| (nonce, *magic));
                    break;
                }
            }
        }
        let (known, magic) = found?;
        let challenge = self.nep20(nonce, magic, known.expires);
        let signed = answer.verify(&challenge, known.expires, now)?;
        if signed.address != address {
            return Err(Refusal::Address);
        }
        Ok(Proven { chain: Chain::N3, address: text, nonce: known })
    }
}

/// Whether the request names the account of the message.
fn claims(proof: &Proof, account: Account) -> bool {
    match (proof.chain, account) {
        (Chain::N3, Account::N3 { address, .. }) => proof.address.parse() == Ok(address),
        (Chain::Evm, Account::Evm { address, .. }) => proof.address.parse() == Ok(address),
        _ => false,
    }
}

/// What the request shows beside the text.
enum Shown {
    N3 { signature: n3::Signature, public_key: n3::PublicKey },
    Evm { signature: evm::Signature },
}

impl Shown {
    fn read(proof: &Proof) -> Result<Self, Refusal> {
        let signature = proof.signature.as_deref().unwrap_or_default();
        match proof.chain {
            Chain::N3 => {
                let public_key = proof.public_key.as_deref().unwrap_or_default();
                Ok(Self::N3 {
                    signature: signature.parse().map_err(|_| Refusal::Signature)?,
                    public_key: public_key.parse().map_err(|_| Refusal::Signature)?,
                })
            }
            Chain::Evm => Ok(Self::Evm { signature: signature.parse().map_err(|_| Refusal::Signature)? }),
        }
    }

    fn proof<'a>(&'a self, salt: Option<&'a str>) -> sign_in::Proof<'a> {
        match self {
            Self::N3 { signature, public_key } => sign_in::Proof::N3 { signature, public_key, salt },
            Self::Evm { signature } => sign_in::Proof::Evm { signature },
        }
    }
}

impl From<sign_in::Refusal> for Refusal {
    fn from(refusal: sign_in::Refusal) -> Self {
        match refusal {
            sign_in::Refusal::Malformed(error) => Self::Malformed(error.to_string()),
            sign_in::Refusal::ExpectedOrigin | sign_in::Refusal::Domain | sign_in::Refusal::Uri => Self::Site,
            sign_in::Refusal::Network => Self::Network,
            sign_in::Refusal::Nonce => Self::Nonce,
            sign_in::Refusal::NotYetValid => Self::NotYet,
            sign_in::Refusal::Expired => Self::Expired,
            sign_in::Refusal::Signature => Self::Signature,
        }
    }
}

impl From<Nep20Error> for Refusal {
    fn from(error: Nep20Error) -> Self {
        match error {
            Nep20Error::Expired => Self::Expired,
            Nep20Error::Nonce => Self::Nonce,
            Nep20Error::Network => Self::Network,
            Nep20Error::Timestamp => Self::NotYet,
            Nep20Error::Address => Self::Address,
            Nep20Error::PublicKey | Nep20Error::Signature => Self::Signature,
            Nep20Error::Algorithm => Self::Malformed(error.to_string()),
        }
    }
}
