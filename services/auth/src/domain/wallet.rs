//! What a wallet shows to sign in, and why that may not do.

use jiff::Timestamp;

use super::nonce::Nonce;

/// Where a wallet is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Neo N3.
    N3,
    /// Ethereum and its kin.
    Evm,
}

impl Chain {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::N3 => "n3",
            Self::Evm => "evm",
        }
    }
}

/// What a wallet is asked to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text: EIP-4361 and its like on Neo N3 (CAIP-122).
    Text,
    /// A payload of NEP-20, for the method `authenticate` of NEP-21.
    Nep20,
}

/// Something to sign.
#[derive(Debug)]
pub(crate) struct Challenge {
    /// The text, or the payload as JSON.
    pub(crate) text: String,
    pub(crate) nonce: String,
    pub(crate) expires: Timestamp,
}

/// A challenge and what a wallet answered, as they came.
pub(crate) struct Proof {
    pub(crate) chain: Chain,
    pub(crate) address: String,
    /// The text that was signed, or the answer of NEP-20 as JSON.
    pub(crate) message: String,
    pub(crate) signature: Option<String>,
    pub(crate) public_key: Option<String>,
    pub(crate) salt: Option<String>,
    /// The challenge's nonce, where the message has no room for it (NEP-20).
    pub(crate) nonce: Option<String>,
}

/// A wallet whose holder has just signed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) chain: Chain,
    /// In its canonical form.
    pub(crate) address: String,
    pub(crate) nonce: Nonce,
}

/// Why a wallet does not let anybody in. Whoever signs has nothing to guess, so each is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a text or payload of a challenge; with what is wrong.
    Malformed(String),
    /// The signature is none, or not this wallet's over this message.
    Signature,
    /// The message is for another site.
    Site,
    /// The message is for another network.
    Network,
    /// Signed by another address, or naming one.
    Address,
    /// Not a nonce of ours, or one for something else.
    Nonce,
    Expired,
    NotYet,
    NonceUsed,
    /// No account has the wallet, and none is made.
    Unknown,
    /// The account is disabled or locked by an administrator, or in no tenant.
    Closed,
    /// Two first logins at the same time.
    Taken,
}

impl Refusal {
    /// What is recorded.
    pub(crate) fn reason(&self) -> &'static str {
        self.code().strip_prefix("auth.").unwrap_or_default()
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "auth.wallet_message_invalid",
            Self::Signature => "auth.wallet_signature_invalid",
            Self::Site => "auth.wallet_origin_mismatch",
            Self::Network => "auth.wallet_network_mismatch",
            Self::Address => "auth.wallet_address_mismatch",
            Self::Nonce => "auth.wallet_nonce_invalid",
            Self::Expired => "auth.wallet_challenge_expired",
            Self::NotYet => "auth.wallet_challenge_not_yet_valid",
            Self::NonceUsed => "auth.wallet_nonce_used",
            Self::Unknown => "auth.wallet_unknown",
            Self::Closed => "auth.wallet_account_closed",
            Self::Taken => "auth.wallet_taken",
        }
    }

    /// What to do next.
    pub(crate) fn advice(&self) -> String {
        let text = match self {
            Self::Malformed(what) => {
                return format!(
                    "The message is not that of a challenge: {what}. Send what was signed, byte for byte, as \
                     POST /api/v1/auth/wallet/challenge gave it."
                );
            }
            Self::Signature => {
                "The signature is not this wallet's over this message. Sign the challenge as it is, and send its \
                 publicKey too on Neo N3, with the salt where the wallet gives one."
            }
            Self::Site => {
                "The message is for another site. Ask this service for a challenge, and do not sign those of others."
            }
            Self::Network => {
                "The message is for another network than the challenge, or for one that is not served here. Ask for a \
                 challenge for the network that the wallet is on."
            }
            Self::Address => {
                "The address of the request, that of the message and that of the signature are not the same. Ask for \
                 a challenge for the account that the wallet signs with."
            }
            Self::Nonce => {
                "The nonce was not given by this service for this wallet, network and purpose. \
                 POST /api/v1/auth/wallet/challenge gives one."
            }
            Self::Expired => {
                "The challenge has expired. POST /api/v1/auth/wallet/challenge gives the next one, good for five minutes."
            }
            Self::NotYet => {
                "The message is not valid yet. Compare the wallet's clock, or sign the challenge as it is."
            }
            Self::NonceUsed => {
                "This challenge was answered before. POST /api/v1/auth/wallet/challenge gives the next one."
            }
            Self::Unknown => {
                "No account has this wallet, and none is made here. Log in otherwise and link it by \
                 POST /api/v1/auth/wallets."
            }
            Self::Closed => {
                "The account of this wallet cannot log in at the moment; an administrator can look at it."
            }
            Self::Taken => "The account of this wallet was made just now by another request. Sign in again.",
        };
        text.to_owned()
    }
}
