//! EVM: addresses, and signatures over messages. Transactions, ABI encoding and the node's RPC do not belong
//! here.

mod address;
mod message;

pub use address::{Address, AddressError};
pub use message::{MessageError, Signature, SignatureError, message_hash, recover};

use sha3::{Digest, Keccak256};

/// Keccak-256 as Ethereum uses it, which differs from SHA3-256 in its padding.
fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
