//! Which chain a thing belongs to, and its CAIP-2 name. What is at an address of a network does not belong
//! here.

use std::fmt;
use std::str::FromStr;

/// A chain, told apart by what its signatures bind: the magic of a Neo N3 network, the chain id of an EVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// Neo N3; the magic is `Network` in a node's `ProtocolSettings`.
    N3 { magic: u32 },
    /// An EVM chain, by its EIP-155 chain id.
    Evm { chain_id: u64 },
}

impl Network {
    /// Neo N3's main network.
    pub const N3_MAINNET: Self = Self::N3 { magic: 860_833_102 };
    /// Neo N3's test network.
    pub const N3_TESTNET: Self = Self::N3 { magic: 894_710_606 };
    /// Neo X's main network.
    pub const NEO_X_MAINNET: Self = Self::Evm { chain_id: 47_763 };
    /// Neo X's test network.
    pub const NEO_X_TESTNET: Self = Self::Evm { chain_id: 12_227_332 };
}

/// The namespace `neo3` is the one that wallets use over WalletConnect; its reference here is the magic,
/// since a private network has no other name.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N3 { magic } => write!(f, "neo3:{magic}"),
            Self::Evm { chain_id } => write!(f, "eip155:{chain_id}"),
        }
    }
}

/// The text names no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network: write neo3:<magic> for Neo N3 or eip155:<chain id> for an EVM chain")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (namespace, reference) = text.split_once(':').ok_or(NetworkError)?;
        let number = decimal(reference).ok_or(NetworkError)?;
        match namespace {
            "neo3" => Ok(Self::N3 { magic: u32::try_from(number).map_err(|_| NetworkError)? }),
            "eip155" => Ok(Self::Evm { chain_id: number }),
            _ => Err(NetworkError),
        }
    }
}

/// A number written in the one canonical way: digits only, no sign, no leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn caip2_names() {
        assert_eq!(Network::N3_MAINNET.to_string(), "neo3:860833102");
        assert_eq!(Network::NEO_X_MAINNET.to_string(), "eip155:47763");
        for wrong in [
            "",
            "neo3",
            "neo3:",
            "neo3:01",
            "neo3:+1",
            "neo3:4294967296",
            "eip155: 1",
            "cosmos:1",
            "eip155:1:2",
        ] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(magic: u32, chain_id: u64) {
            for network in [Network::N3 { magic }, Network::Evm { chain_id }] {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }

        #[test]
        fn any_text_is_survived(text: String) {
            let _ = text.parse::<Network>();
        }
    }
}
