//! Neo N3: keys, script hashes, addresses, and what wallets sign outside of transactions. Transactions and
//! the node's RPC do not belong here.

mod address;
mod key;
mod message;
mod nep20;

pub use address::{Address, AddressError, ScriptHash};
pub use key::{KeyError, PublicKey, Signature, SignatureError};
pub use message::{Form, MessageError, Verified, verify};
pub use nep20::{
    Nep20Authenticated, Nep20Challenge, Nep20Error, Nep20Layout, Nep20NonceBinding, Nep20Response,
    nep20_nonce,
};
