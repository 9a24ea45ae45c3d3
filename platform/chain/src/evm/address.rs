//! Addresses of accounts on EVM chains. Whether an account or a contract is behind one does not belong here.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::VerifyingKey;

use super::keccak256;

/// The last 20 bytes of Keccak-256 of a public key. The same account has the same address on every EVM chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 20]);

impl Address {
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The address of a secp256k1 public key in SEC 1: 33 bytes compressed or 65 uncompressed.
    pub fn from_public_key(sec1: &[u8]) -> Result<Self, AddressError> {
        VerifyingKey::from_sec1_bytes(sec1).map(|key| Self::of_key(&key)).map_err(|_| AddressError::PublicKey)
    }

    pub(super) fn of_key(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        // Without the first byte, 04, that says uncompressed.
        let digest = keccak256(&[&point.as_bytes()[1..]]);
        let mut address = [0; 20];
        address.copy_from_slice(&digest[12..]);
        Self(address)
    }
}

/// The text of EIP-55: a digit that is a letter is upper case where the hash of the lower-case text says so.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let hash = keccak256(&[digits.as_bytes()]);
        f.write_str("0x")?;
        digits.bytes().enumerate().try_for_each(|(at, digit)| {
            let nibble = if at % 2 == 0 { hash[at / 2] >> 4 } else { hash[at / 2] & 0x0f };
            let digit = if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{}", char::from(digit))
        })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text all in lower or all in upper case carries no checksum (EIP-55) and is taken as it is.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let digits = text.strip_prefix("0x").ok_or(AddressError::Form)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Form)?;
        let address = Self(bytes);
        let has = |case: fn(&u8) -> bool| digits.as_bytes().iter().any(case);
        let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        if mixed && address.to_string() != text {
            return Err(AddressError::Checksum);
        }
        Ok(address)
    }
}

/// Why a text or a key has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("not an EVM address: write 0x and 40 hex digits")]
    Form,
    #[error("the address fails its checksum (EIP-55): a digit is wrong, copy it again")]
    Checksum,
    #[error("not a public key on secp256k1: give its 33 or 65 bytes (SEC 1)")]
    PublicKey,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The test cases of EIP-55.
    const EIP_55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn the_cases_of_eip_55() {
        for text in EIP_55 {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(address));
            assert_eq!(format!("0x{}", text[2..].to_uppercase()).parse(), Ok(address));
        }
    }

    #[test]
    fn the_address_of_a_key() {
        // The generator of secp256k1 (SEC 2, 2.4.1), so the public key of the private key 1.
        let x = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
        for key in [format!("02{x}"), format!("04{x}{y}")] {
            let address = Address::from_public_key(&hex::decode(key).unwrap()).unwrap();
            assert_eq!(address.to_string(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        }
        assert_eq!(Address::from_public_key(&[0; 33]), Err(AddressError::PublicKey));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, error) in [
            ("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", AddressError::Form),
            ("0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", AddressError::Form),
            ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", AddressError::Form),
            ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg", AddressError::Form),
            ("0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", AddressError::Checksum),
            ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", AddressError::Checksum),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 20]) {
            let address = Address::from_bytes(bytes);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_input_is_survived(text: String, bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = (text.parse::<Address>(), Address::from_public_key(&bytes));
        }
    }
}
