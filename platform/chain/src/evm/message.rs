//! EIP-191 messages (`personal_sign`) and the account that signed one. What a message says does not belong
//! here.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::{self, RecoveryId, VerifyingKey};

use super::{Address, keccak256};

/// R, S and V, as `personal_sign` returns them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 65]);

impl Signature {
    pub fn from_bytes(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let mut bytes = [0; 65];
        let digits = text.strip_prefix("0x").unwrap_or(text);
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| SignatureError)?;
        Ok(Self(bytes))
    }
}

/// The text is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signature: give the 65 bytes of R, S and V in hex")]
pub struct SignatureError;

/// What `personal_sign` signs of a message (EIP-191, version `E`).
pub fn message_hash(message: &[u8]) -> [u8; 32] {
    let length = message.len().to_string();
    keccak256(&[b"\x19Ethereum Signed Message:\n", length.as_bytes(), message])
}

/// The account that signed the message. Any well-formed signature yields *some* account: compare it with the
/// one that is expected.
pub fn recover(message: &[u8], signature: &Signature) -> Result<Address, MessageError> {
    let [rs @ .., v] = &signature.0;
    let y_is_odd = match v {
        0 | 27 => false,
        1 | 28 => true,
        _ => return Err(MessageError::V(*v)),
    };
    let rs = ecdsa::Signature::from_slice(rs).map_err(|_| MessageError::Unrecoverable)?;
    // EIP-2: with a high S there would be a second signature for each message.
    if rs.normalize_s() != rs {
        return Err(MessageError::HighS);
    }
    let key =
        VerifyingKey::recover_from_prehash(&message_hash(message), &rs, RecoveryId::new(y_is_odd, false));
    key.map(|key| Address::of_key(&key)).map_err(|_| MessageError::Unrecoverable)
}

/// Why no account is behind a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the signature's V is {0}, where it must be 27 or 28 (or 0 or 1)")]
    V(u8),
    #[error(
        "the signature has a high S, which EIP-2 refuses: sign with a wallet that makes canonical signatures"
    )]
    HighS,
    #[error("no key can have made this signature: sign the message again")]
    Unrecoverable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    /// The order of secp256k1 (SEC 2, 2.4.1).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
        0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
    ];

    fn sign(key: [u8; 32], message: &[u8]) -> (Address, Signature) {
        let key = SigningKey::from_slice(&key).unwrap();
        let (rs, id) = key.sign_prehash_recoverable(&message_hash(message));
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&rs.to_bytes());
        bytes[64] = 27 + id.to_byte();
        (Address::of_key(key.verifying_key()), Signature(bytes))
    }

    /// The other signature that the same key could have made: S negated, the other V.
    fn twin(signature: &Signature) -> Signature {
        let mut bytes = signature.0;
        let mut borrow = 0_i16;
        for at in (0..32).rev() {
            let digit = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
            borrow = i16::from(digit < 0);
            bytes[32 + at] = u8::try_from(digit.rem_euclid(256)).unwrap();
        }
        bytes[64] = 55 - bytes[64];
        Signature(bytes)
    }

    /// From the documentation of web3.js (`eth.accounts.hashMessage`, `sign` and `recover`).
    #[test]
    fn the_vector_of_web3() {
        let message = b"Some data";
        assert_eq!(
            hex::encode(message_hash(message)),
            "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655"
        );
        let signature = "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
                         6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c";
        let address = recover(message, &signature.parse().unwrap()).unwrap();
        assert_eq!(address.to_string(), "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23");
    }

    #[test]
    fn both_spellings_of_v_and_no_other() {
        let (address, signature) = sign([3; 32], b"hello");
        for v in 0..=255 {
            let mut bytes = signature.0;
            bytes[64] = v;
            let recovered = recover(b"hello", &Signature(bytes));
            match v {
                0 | 1 | 27 | 28 => assert_eq!(recovered == Ok(address), v % 27 == signature.0[64] % 27),
                _ => assert_eq!(recovered, Err(MessageError::V(v))),
            }
        }
    }

    #[test]
    fn zero_and_the_order_are_no_scalars() {
        let (_, signature) = sign([3; 32], b"hello");
        for part in [0, 32] {
            for value in [[0; 32], ORDER, [0xff; 32]] {
                let mut bytes = signature.0;
                bytes[part..part + 32].copy_from_slice(&value);
                assert_eq!(recover(b"hello", &Signature(bytes)), Err(MessageError::Unrecoverable));
            }
        }
    }

    #[test]
    fn text_of_a_signature() {
        let (_, signature) = sign([3; 32], b"hello");
        let text = format!("{signature:?}");
        assert_eq!(text.parse(), Ok(signature));
        assert_eq!(text[2..].parse(), Ok(signature));
        for wrong in ["", "0x", &text[..130], &format!("{text}00"), &text.replace("0x", "0y")] {
            assert_eq!(wrong.parse::<Signature>(), Err(SignatureError), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_signer_is_recovered_and_the_twin_refused(key in 1_u64.., message: Vec<u8>, bit in 0_usize..512) {
            let mut secret = [0; 32];
            secret[24..].copy_from_slice(&key.to_be_bytes());
            let (address, signature) = sign(secret, &message);
            prop_assert_eq!(recover(&message, &signature), Ok(address));
            prop_assert_eq!(recover(&message, &twin(&signature)), Err(MessageError::HighS));
            let mut changed = signature.0;
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(recover(&message, &Signature(changed)), Ok(address));
            let longer = [&message[..], b"."].concat();
            prop_assert_ne!(recover(&longer, &signature), Ok(address));
        }

        #[test]
        fn any_input_is_survived(rs: [u8; 32], v: u8, message: Vec<u8>, text: String) {
            let mut bytes = [v; 65];
            bytes[..32].copy_from_slice(&rs);
            let _ = (recover(&message, &Signature(bytes)), text.parse::<Signature>());
        }
    }
}
