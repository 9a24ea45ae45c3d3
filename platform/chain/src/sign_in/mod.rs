//! Sign-in texts: what a person reads in the wallet and signs (EIP-4361 for EVM, the same text by CAIP-122
//! for Neo N3). Which nonces are outstanding does not belong here.

// The text: written, and read strictly.
mod text;
// Pieces of the grammar: authorities, URIs, times.
mod grammar;
// Whether a signed text signs this person in, here and now.
mod verify;

use std::fmt;

use jiff::Timestamp;

pub use verify::{Expected, Proof, Refusal, verify};

use crate::{Network, evm, n3};

/// The account that signs in, on its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// An account of the Neo N3 network with this magic.
    N3 { address: n3::Address, magic: u32 },
    /// An account of the EVM chain with this id.
    Evm { address: evm::Address, chain_id: u64 },
}

impl Account {
    pub fn network(&self) -> Network {
        match *self {
            Self::N3 { magic, .. } => Network::N3 { magic },
            Self::Evm { chain_id, .. } => Network::Evm { chain_id },
        }
    }
}

/// The address, in its chain's text.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N3 { address, .. } => address.fmt(f),
            Self::Evm { address, .. } => address.fmt(f),
        }
    }
}

/// The fields of a sign-in text, under the names of EIP-4361. Its version is always 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub scheme: Option<String>,
    /// The host, and the port where it is not the scheme's, that asks for the signature.
    pub domain: String,
    pub account: Account,
    pub statement: Option<String>,
    pub uri: String,
    /// At least eight letters and digits.
    pub nonce: String,
    pub issued_at: DateTime,
    pub expiration_time: Option<DateTime>,
    pub not_before: Option<DateTime>,
    pub request_id: Option<String>,
    pub resources: Option<Vec<String>>,
}

/// A time as its text, RFC 3339, has it: the text is signed, so that another spelling of the same time is
/// another message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateTime {
    text: String,
    timestamp: Timestamp,
}

impl DateTime {
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
}

impl From<Timestamp> for DateTime {
    fn from(timestamp: Timestamp) -> Self {
        Self { text: timestamp.to_string(), timestamp }
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no sign-in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the sign-in text is not as EIP-4361 has it: {expected}")]
pub struct MalformedText {
    /// Counted from 1.
    pub line: usize,
    /// What should stand there.
    pub expected: &'static str,
}
