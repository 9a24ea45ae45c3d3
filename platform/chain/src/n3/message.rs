//! Signatures over messages, in the forms that N3 wallets make them. What a message says does not belong
//! here.

use nsl_crypto::digest::sha256_concat;

use super::{Address, PublicKey, Signature};

/// The envelope begins like a transaction that no node would accept, so that a signed message can never be
/// one; Ledger devices insist on it.
const ENVELOPE_START: [u8; 4] = [0x01, 0x00, 0x01, 0xf0];
const ENVELOPE_END: [u8; 2] = [0x00, 0x00];

/// The fields of an unsigned transaction before its script, all zero but the number of signers, one: version,
/// nonce, two fees, height; the signer and its scopes; the number of attributes.
const TRANSACTION_START: [u8; 48] = {
    let mut fields = [0; 48];
    fields[25] = 1;
    fields
};

/// NeoLine, O3 and others put 16 random bytes before the message, as hex text.
const SALT_CHARACTERS: usize = 32;

/// How a wallet turned a text into the bytes that it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The UTF-8 text itself (NEP-21).
    Plain,
    /// `010001f0`, the text with its length before it, `0000` (`signMessage` of NeoLine and O3).
    Classic,
    /// As the script of an empty transaction for the network 0, which is none (NeoLine's `signMessageV2`,
    /// NEP-21's `isLedgerCompatible`).
    Transaction,
}

/// A message that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The account of the key that signed.
    pub address: Address,
    /// The form in which it did.
    pub form: Form,
}

/// Finds the form in which the key signed the message. Wallets that salt hand the salt back beside the
/// signature; it stands before the message in the bytes that they sign.
pub fn verify(
    message: &str,
    salt: Option<&str>,
    signature: &Signature,
    public_key: &PublicKey,
) -> Result<Verified, MessageError> {
    let salt = salt.unwrap_or_default();
    // Nothing but a salt: otherwise whoever asks for the signature could put words before the message.
    let well_formed = salt.len() == SALT_CHARACTERS && salt.bytes().all(|b| b.is_ascii_hexdigit());
    if !(salt.is_empty() || well_formed) {
        return Err(MessageError::Salt);
    }
    let text = [salt.as_bytes(), message.as_bytes()].concat();
    let form = [Form::Plain, Form::Classic, Form::Transaction]
        .into_iter()
        .find(|form| public_key.verifies(&form.bytes(&text), signature))
        .ok_or(MessageError::Signature)?;
    Ok(Verified { address: public_key.address(), form })
}

impl Form {
    /// The bytes that are signed of a text.
    fn bytes(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => text.to_vec(),
            Self::Classic => {
                let mut bytes = ENVELOPE_START.to_vec();
                put_var_bytes(&mut bytes, text);
                bytes.extend_from_slice(&ENVELOPE_END);
                bytes
            }
            Self::Transaction => {
                let mut script = Vec::new();
                put_var_bytes(&mut script, text);
                // The magic of the network, then the transaction's hash.
                [&[0; 4][..], &sha256_concat(&[&TRANSACTION_START, &script])].concat()
            }
        }
    }
}

/// Bytes after their length, as Neo serialises them.
pub(super) fn put_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = (bytes.len() as u64).to_le_bytes();
    match bytes.len() {
        0..=0xfc => out.push(len[0]),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&len[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&len[..4]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&len);
        }
    }
    out.extend_from_slice(bytes);
}

/// Why a message counts as not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the salt must be the 32 hex digits that the wallet returned beside the signature")]
    Salt,
    #[error("the signature is not this key's over this message: sign the message exactly as it was given")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use proptest::prelude::*;

    const SALT: &str = "058b9e03e7154e4db1e489c99256b7fa";

    fn key() -> (EcdsaKeyPair, PublicKey) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = PublicKey::from_sec1(pair.public_key().as_ref()).unwrap();
        (pair, public)
    }

    fn sign(pair: &EcdsaKeyPair, bytes: &[u8]) -> Signature {
        let signature = pair.sign(&SystemRandom::new(), bytes).unwrap();
        Signature::from_bytes(signature.as_ref().try_into().unwrap())
    }

    /// The responses in NeoLine's documentation, of `signMessage` and of `signMessageV2`. The page of the
    /// first shows a signature over the plain text; that of the second writes the message with a small w,
    /// which it was not.
    #[test]
    fn the_examples_of_neoline() {
        let verify = |message, salt, signature: &str, public_key: &str| {
            verify(message, salt, &signature.parse().unwrap(), &public_key.parse().unwrap())
                .map(|verified| verified.form)
        };
        let form = verify(
            "Hello world",
            None,
            "be506bf7e6851960bfe45968bf5dbbf79a9dc5dc63ee5b88629acfb288c435649\
             c2766e977d4bc76253d8590bb3ca3d9b70efd71d6f7eebdf060dfa58c6601fd",
            "03ba9524bd7479414be713c3a4f6f3ef35f90bb4b08f0f552211bf734c24415230",
        );
        assert_eq!(form, Ok(Form::Plain));
        let form = verify(
            "Hello World",
            Some("543e66d70a56506f0a69aff35f25f794"),
            "4fef4abd1ced91577c89eac7909b89ec2aa3d073178c51c3074b7bc5551093b0\
             0bf274f35f8166931dc90cbd88346729e86e0bf1c3014fa3587cc167f0cafd4c",
            "023e72b8b5a20c00dac7ac01ecd72354a2d7d64620d6615524bb18b9f5a6ca8ef4",
        );
        assert_eq!(form, Ok(Form::Transaction));
    }

    #[test]
    fn the_envelope_of_a_salted_message() {
        let text = format!("{SALT}Hello, world!");
        let bytes = Form::Classic.bytes(text.as_bytes());
        assert_eq!(bytes[..5], [0x01, 0x00, 0x01, 0xf0, 45]);
        assert_eq!(bytes[5..50], *text.as_bytes());
        assert_eq!(bytes[50..], [0, 0]);
    }

    #[test]
    fn lengths_as_neo_writes_them() {
        for (len, head) in [
            (0, &[0][..]),
            (0xfc, &[0xfc]),
            (0xfd, &[0xfd, 0xfd, 0x00]),
            (0xffff, &[0xfd, 0xff, 0xff]),
            (0x1_0000, &[0xfe, 0x00, 0x00, 0x01, 0x00]),
        ] {
            let mut out = Vec::new();
            put_var_bytes(&mut out, &vec![7; len]);
            assert_eq!(out[..head.len()], *head);
            assert_eq!(out.len(), head.len() + len);
        }
    }

    #[test]
    fn every_form_with_and_without_salt() {
        let (pair, public) = key();
        let message = "grüße\nan alle";
        for salt in [None, Some(SALT)] {
            let text = format!("{}{message}", salt.unwrap_or_default());
            for form in [Form::Plain, Form::Classic, Form::Transaction] {
                let signature = sign(&pair, &form.bytes(text.as_bytes()));
                let verified = verify(message, salt, &signature, &public).unwrap();
                assert_eq!(verified, Verified { address: public.address(), form });
                let other_salt = if salt.is_none() { Some(SALT) } else { None };
                assert_eq!(verify(message, other_salt, &signature, &public), Err(MessageError::Signature));
                assert_eq!(verify(message, salt, &signature, &key().1), Err(MessageError::Signature));
                assert_eq!(verify("grüße", salt, &signature, &public), Err(MessageError::Signature));
            }
        }
    }

    #[test]
    fn words_are_no_salt() {
        let (pair, public) = key();
        let words = "I agree to pay all my GAS to you";
        let signature = sign(&pair, format!("{words}hello").as_bytes());
        for salt in [words, "05", &SALT[1..], &format!("{SALT}00")] {
            assert_eq!(verify("hello", Some(salt), &signature, &public), Err(MessageError::Salt));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_changed_bit_is_noticed(message in ".{0,300}", bit in 0_usize..512, form in 0_usize..3) {
            let (pair, public) = key();
            let form = [Form::Plain, Form::Classic, Form::Transaction][form];
            let signature = sign(&pair, &form.bytes(message.as_bytes()));
            prop_assert!(verify(&message, None, &signature, &public).is_ok());
            let mut changed = *signature.as_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Signature::from_bytes(changed);
            prop_assert_eq!(verify(&message, None, &changed, &public), Err(MessageError::Signature));
        }
    }
}
