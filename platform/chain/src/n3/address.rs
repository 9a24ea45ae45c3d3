//! Script hashes and addresses of Neo N3. Which key or contract is behind one does not belong here.

use std::fmt;
use std::str::FromStr;

use nsl_crypto::digest::sha256;
use ripemd::{Digest, Ripemd160};

/// The first byte of every N3 address; with it the text begins with `N`.
const VERSION: u8 = 0x35;
/// Version, script hash, checksum.
const ADDRESS_BYTES: usize = 1 + 20 + 4;

/// The hash that names an account or a contract: RIPEMD-160 of SHA-256 of its script.
///
/// Its bytes stand in the order of the hash function, which is also the order in scripts, on the wire and in
/// an address. Its text, `0x…`, has them **reversed**, because Neo reads the hash as a little-endian number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScriptHash([u8; 20]);

impl ScriptHash {
    /// The hash of a script.
    pub fn of_script(script: &[u8]) -> Self {
        Self(Ripemd160::digest(sha256(script)).into())
    }

    /// From bytes in the order of the wire (little-endian).
    pub fn from_le_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the wire (little-endian).
    pub fn as_le_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

/// `0x` and 40 hex digits, in the order of the text (big-endian).
impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ScriptHash {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 20];
        let digits = text.strip_prefix("0x").unwrap_or(text);
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::ScriptHash)?;
        bytes.reverse();
        Ok(Self(bytes))
    }
}

/// A script hash in the text that people see, `N…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(ScriptHash);

impl Address {
    pub fn script_hash(&self) -> &ScriptHash {
        &self.0
    }
}

impl From<ScriptHash> for Address {
    fn from(hash: ScriptHash) -> Self {
        Self(hash)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes[0] = VERSION;
        bytes[1..21].copy_from_slice(&self.0.0);
        let checksum = checksum(&bytes[..21]);
        bytes[21..].copy_from_slice(&checksum);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // One byte more than an address has, so that a longer one is told from a wrong one.
        let mut bytes = [0; ADDRESS_BYTES + 1];
        let len = match bs58::decode(text).onto(bytes.as_mut_slice()) {
            Ok(len) => len,
            Err(bs58::decode::Error::BufferTooSmall) => return Err(AddressError::Length),
            Err(_) => return Err(AddressError::Base58),
        };
        if len != ADDRESS_BYTES {
            return Err(AddressError::Length);
        }
        // The checksum first: a mistyped character more likely breaks it than makes another version.
        if checksum(&bytes[..21]) != bytes[21..ADDRESS_BYTES] {
            return Err(AddressError::Checksum);
        }
        if bytes[0] != VERSION {
            return Err(AddressError::Version(bytes[0]));
        }
        let mut hash = [0; 20];
        hash.copy_from_slice(&bytes[1..21]);
        Ok(Self(ScriptHash(hash)))
    }
}

/// Base58Check: the first four bytes of the double SHA-256.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&sha256(bytes));
    [a, b, c, d]
}

/// Why a text is no address or script hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "not a Neo N3 address: it has a character that Base58 does not know (0, O, I, l and signs are none)"
    )]
    Base58,
    #[error("not a Neo N3 address: it must be 34 characters that begin with N")]
    Length,
    #[error("the address fails its checksum: a character is wrong, copy it again")]
    Checksum,
    #[error("an address of version {0:#04x}, where Neo N3 has 0x35: addresses of Neo Legacy begin with A")]
    Version(u8),
    #[error("not a script hash: write 0x and 40 hex digits")]
    ScriptHash,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The NEO token, whose script hash every client knows, and its address in the documentation of Neo.
    #[test]
    fn the_text_of_a_hash_is_reversed() {
        let neo: ScriptHash = "0xef4073a0f2b305a38ec4050e4d3d28bc40ea63f5".parse().unwrap();
        assert_eq!(neo.as_le_bytes()[..2], [0xf5, 0x63]);
        assert_eq!(neo.to_string(), "0xef4073a0f2b305a38ec4050e4d3d28bc40ea63f5");
        assert_eq!("ef4073a0f2b305a38ec4050e4d3d28bc40ea63f5".parse(), Ok(neo));
        assert_eq!(Address::from(neo).to_string(), "NiHURyS83nX2mpxtA7xq84cGxVbHojj5Wc");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let parse = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(parse("NiHURyS83nX2mpxtA7xq84cGxVbHojj5W0"), AddressError::Base58);
        assert_eq!(parse("NiHURyS83nX2mpxtA7xq84cGxVbHojj5"), AddressError::Length);
        assert_eq!(parse("NiHURyS83nX2mpxtA7xq84cGxVbHojj5WcNiHURyS83nX2mpxtA7xq"), AddressError::Length);
        assert_eq!(parse(""), AddressError::Length);
        assert_eq!(parse("NiHURyS83nX2mpxtA7xq84cGxVbHojj5Wd"), AddressError::Checksum);
        // An address of Neo Legacy, from its documentation.
        assert_eq!(parse("AK2nJJpJr6o664CWJKi1QRXjqeic2zRp8y"), AddressError::Version(0x17));
        assert_eq!("0x12".parse::<ScriptHash>(), Err(AddressError::ScriptHash));
    }

    proptest! {
        #[test]
        fn round_trips(bytes: [u8; 20]) {
            let hash = ScriptHash::from_le_bytes(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            let address = Address::from(hash);
            let text = address.to_string();
            prop_assert!(text.starts_with('N') && text.len() == 34, "{}", text);
            prop_assert_eq!(text.parse(), Ok(address));
        }

        #[test]
        fn another_character_is_noticed(bytes: [u8; 20], at in 0_usize..34, letter in "[1-9A-HJ-NP-Za-km-z]") {
            let text = Address::from(ScriptHash::from_le_bytes(bytes)).to_string();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assume!(changed != text);
            prop_assert!(changed.parse::<Address>().is_err());
        }

        #[test]
        fn any_text_is_survived(text: String) {
            let _ = (text.parse::<Address>(), text.parse::<ScriptHash>());
        }
    }
}
