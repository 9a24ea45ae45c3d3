#![doc = include_str!("../README.md")]

// EVM: addresses and `personal_sign`.
pub mod evm;
// Neo N3: keys, script hashes, addresses, wallet messages, NEP-20.
pub mod n3;
// Sign-in texts of both chains (EIP-4361, CAIP-122).
pub mod sign_in;

mod network;

pub use network::{Network, NetworkError};
