//! Sealed values and wrapped keys: AES-256-GCM (NIST SP 800-38D) in one format.
//!
//! The hierarchy: a root key derives a wrapping key per purpose ([`Key256::derive`]); it wraps tenant keys,
//! which are random and versioned; a tenant key wraps the data keys; a data key, random for each value, seals
//! that value once. Which key serves whom, and when it rotates, belongs to the caller.
//!
//! ```text
//! sealed = 0x01 ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//! A wrapped key is a sealed value of 32 bytes. The associated data is not stored; the opener builds it
//! again.

use std::ops::Deref;

use aws_lc_rs::aead::{AES_256_GCM, Aad as AeadAad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::aad::Aad;
use crate::key::{KEY_LEN, Key256};
use crate::{fault, random};

/// The first byte of everything sealed, and the only format so far.
const FORMAT: u8 = 0x01;
const TAG_LEN: usize = 16;

/// By how much a sealed value is longer than its plaintext.
pub const OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

/// The length of a wrapped key.
pub const WRAPPED_KEY_LEN: usize = OVERHEAD + KEY_LEN;

/// How often one key may wrap. Nonces are random, and NIST SP 800-38D section 8.3 allows 2^32 of them under
/// one key (the chance that two are equal is then 2^-33). The caller counts and rotates the key before.
pub const MAX_WRAPS: u64 = 1 << 32;

/// A data key as it is stored beside its value.
pub type WrappedKey = [u8; WRAPPED_KEY_LEN];

/// Something does not open. More would help an attacker only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Too short, of a wrong length, or in an unknown format.
    #[error(
        "not a sealed value of a known format: cut off, or written by a newer version; restore or upgrade"
    )]
    Malformed,
    /// The wrong key, the wrong place, or changed bytes.
    #[error("the sealed value does not authenticate; check that its key is the one in use, or restore it")]
    Authentication,
}

/// An opened value, wiped when dropped.
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A value and the data key that opens it, both safe to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The data key, wrapped.
    pub wrapped_data_key: WrappedKey,
    /// The value, sealed under the data key.
    pub ciphertext: Vec<u8>,
}

/// A key-encryption key with its schedule computed once: a tenant key wraps many data keys.
pub struct Kek(LessSafeKey);

impl Kek {
    /// Prepares a key for wrapping.
    pub fn new(key: &Key256) -> Self {
        Self(prepare(key))
    }

    /// Wraps a key, bound to `aad`. See [`MAX_WRAPS`].
    pub fn wrap_key(&self, key: &Key256, aad: &Aad) -> WrappedKey {
        let mut wrapped = [0; WRAPPED_KEY_LEN];
        seal_into(&self.0, key.expose(), aad.encoded(), &mut wrapped);
        wrapped
    }

    /// Unwraps what [`Kek::wrap_key`] gave for the same `aad`.
    pub fn unwrap_key(&self, wrapped: &[u8], aad: &Aad) -> Result<Key256, OpenError> {
        let wrapped = Sealed::parse(wrapped)?;
        if wrapped.ciphertext.len() != KEY_LEN {
            return Err(OpenError::Malformed);
        }
        let mut opened = Ok(());
        let key = Key256::filled(|out| opened = wrapped.open_into(&self.0, aad.encoded(), out));
        opened.map(|()| key)
    }

    /// Seals a value under a fresh data key and wraps that. Counts as one wrap.
    pub fn seal_value(&self, plaintext: &[u8], key_aad: &Aad, value_aad: &Aad) -> SealedValue {
        let data_key = Key256::generate();
        SealedValue {
            wrapped_data_key: self.wrap_key(&data_key, key_aad),
            ciphertext: seal(&data_key, plaintext, value_aad),
        }
    }

    /// Opens the two stored parts of a [`SealedValue`].
    pub fn open_value(
        &self,
        wrapped_data_key: &[u8],
        ciphertext: &[u8],
        key_aad: &Aad,
        value_aad: &Aad,
    ) -> Result<Plaintext, OpenError> {
        open(&self.unwrap_key(wrapped_data_key, key_aad)?, ciphertext, value_aad)
    }
}

/// Seals one value, bound to `aad`. A data key is random and seals one value only, so no nonce can come
/// twice.
pub fn seal(data_key: &Key256, plaintext: &[u8], aad: &Aad) -> Vec<u8> {
    let mut sealed = vec![0; OVERHEAD + plaintext.len()];
    seal_into(&prepare(data_key), plaintext, aad.encoded(), &mut sealed);
    sealed
}

/// Opens what [`seal`] gave for the same key and `aad`.
pub fn open(data_key: &Key256, sealed: &[u8], aad: &Aad) -> Result<Plaintext, OpenError> {
    let sealed = Sealed::parse(sealed)?;
    let mut plaintext = Zeroizing::new(vec![0; sealed.ciphertext.len()]);
    sealed.open_into(&prepare(data_key), aad.encoded(), &mut plaintext)?;
    Ok(Plaintext(plaintext))
}

/// `LessSafeKey` leaves the nonce to its user; every nonce here comes from [`seal_into`] or from a stored
/// value, and in `chunks` from the chunk's number.
pub(crate) fn prepare(key: &Key256) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, key.expose()) {
        Ok(key) => LessSafeKey::new(key),
        // The length is right by type: what is left is the allocator.
        Err(_) => fault::abort("AWS-LC cannot prepare an AES-256 key"),
    }
}

/// Fills `out`, which is longer than the plaintext by [`OVERHEAD`]. The plaintext itself never lies in `out`.
fn seal_into(key: &LessSafeKey, plaintext: &[u8], aad: &[u8], out: &mut [u8]) {
    let nonce = random::bytes();
    let (header, rest) = out.split_at_mut(1 + NONCE_LEN);
    let (ciphertext, tag) = rest.split_at_mut(plaintext.len());
    header[0] = FORMAT;
    header[1..].copy_from_slice(&nonce);
    let nonce = Nonce::assume_unique_for_key(nonce);
    if key.seal_out_of_place_scatter(nonce, AeadAad::from(aad), plaintext, ciphertext, &[], tag).is_err() {
        // GCM's own bound is 64 GiB a value; the callers' limits are far below.
        fault::abort("AWS-LC cannot seal a value");
    }
}

/// The parts of something sealed.
struct Sealed<'a> {
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Sealed<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let (&FORMAT, rest) = bytes.split_first().ok_or(OpenError::Malformed)? else {
            return Err(OpenError::Malformed);
        };
        let (nonce, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(OpenError::Malformed)?;
        Ok(Self { nonce: *nonce, ciphertext, tag })
    }

    /// On an error `out` may hold anything: the caller drops it.
    fn open_into(&self, key: &LessSafeKey, aad: &[u8], out: &mut [u8]) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        key.open_separate_gather(nonce, AeadAad::from(aad), self.ciphertext, self.tag, out)
            .map_err(|_| OpenError::Authentication)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(first: u8) -> Key256 {
        Key256::from_bytes(std::array::from_fn(|i| first + u8::try_from(i).unwrap()))
    }

    fn aad() -> Aad {
        Aad::new("nsl.test.v1").text("tenant").number(7)
    }

    /// The errors without the secrets, which have no `Debug`.
    fn opened(result: Result<Plaintext, OpenError>) -> Result<Vec<u8>, OpenError> {
        result.map(|plaintext| plaintext.to_vec())
    }

    fn unwrapped(result: Result<Key256, OpenError>) -> Result<[u8; KEY_LEN], OpenError> {
        result.map(|key| *key.expose())
    }

    /// Every value that differs from `bytes` in one bit.
    fn single_bit_flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..bytes.len() * 8).map(|bit| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
    }

    /// A flip in the format byte shows as an unknown format, any other as a failed authentication.
    fn expected_error(flipped: &[u8]) -> OpenError {
        if flipped[0] == FORMAT { OpenError::Authentication } else { OpenError::Malformed }
    }

    /// Test case 14 of the GCM specification (McGrew and Viega, 2005): zero key, nonce and block, no
    /// associated data.
    #[test]
    fn gcm_vector() {
        let sealed = "01000000000000000000000000\
                      cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        let sealed = hex::decode(sealed).unwrap();
        let mut plaintext = [1; 16];
        let zero = prepare(&Key256::from_bytes([0; KEY_LEN]));
        Sealed::parse(&sealed).unwrap().open_into(&zero, &[], &mut plaintext).unwrap();
        assert_eq!(plaintext, [0; 16]);
    }

    /// Written by Python's `cryptography` 48: what is stored must open in every later version.
    #[test]
    fn the_format_is_frozen() {
        let wrapped = "01404142434445464748494a4b\
                       c2988c000219a124e5ed3d1db7493d7449f7606f830039144f7e74deab2ed3e4\
                       799a8e3fc547073f4c8e42df378eed5b";
        let value = "01505152535455565758595a5b\
                     d080db775043126914796b76186c1b573ff16262722283b7b58db74374e9";
        let (wrapped, value) = (hex::decode(wrapped).unwrap(), hex::decode(value).unwrap());
        let kek = Kek::new(&key(0));
        assert_eq!(unwrapped(kek.unwrap_key(&wrapped, &aad())), Ok(*key(32).expose()));
        assert_eq!(opened(kek.open_value(&wrapped, &value, &aad(), &aad())), Ok(b"a sealed value".to_vec()));
    }

    #[test]
    fn lengths() {
        assert_eq!((OVERHEAD, WRAPPED_KEY_LEN), (29, 61));
        assert_eq!(seal(&key(0), b"", &aad()).len(), OVERHEAD);
        assert_eq!(seal(&key(0), b"abc", &aad()).len(), OVERHEAD + 3);
    }

    #[test]
    fn nothing_repeats() {
        let kek = Kek::new(&key(0));
        let (a, b) = (kek.wrap_key(&key(1), &aad()), kek.wrap_key(&key(1), &aad()));
        assert_ne!(a, b);
        let (a, b) = (kek.seal_value(b"v", &aad(), &aad()), kek.seal_value(b"v", &aad(), &aad()));
        assert_ne!(a.ciphertext, b.ciphertext);
        let data_key =
            |value: &SealedValue| unwrapped(kek.unwrap_key(&value.wrapped_data_key, &aad())).unwrap();
        assert_ne!(data_key(&a), data_key(&b));
    }

    #[test]
    fn another_format_or_length_is_malformed() {
        let sealed = seal(&key(0), b"value", &aad());
        for cut in 0..OVERHEAD {
            assert_eq!(
                opened(open(&key(0), &sealed[..cut], &aad())),
                Err(OpenError::Malformed),
                "{cut} bytes"
            );
        }
        for cut in OVERHEAD..sealed.len() {
            let result = opened(open(&key(0), &sealed[..cut], &aad()));
            assert_eq!(result, Err(OpenError::Authentication), "{cut} bytes");
        }
        // Authentic, but no key.
        let kek = Kek::new(&key(0));
        assert_eq!(unwrapped(kek.unwrap_key(&sealed, &aad())), Err(OpenError::Malformed));
    }

    #[test]
    fn every_flipped_bit_of_a_wrapped_key_is_noticed() {
        let kek = Kek::new(&key(0));
        let wrapped = kek.wrap_key(&key(1), &aad());
        for flipped in single_bit_flips(&wrapped) {
            assert_eq!(unwrapped(kek.unwrap_key(&flipped, &aad())), Err(expected_error(&flipped)));
        }
    }

    /// Associated data with these parts; the domain is fixed by type.
    fn place(text: &[u8], bytes: &[u8], number: u64) -> Aad {
        Aad::new("nsl.test.v1").bytes(text).bytes(bytes).number(number)
    }

    #[test]
    fn another_domain_does_not_open() {
        let sealed = seal(&key(0), b"value", &Aad::new("nsl.test.v1").number(1));
        let other = Aad::new("nsl.test.v2").number(1);
        assert_eq!(opened(open(&key(0), &sealed, &other)), Err(OpenError::Authentication));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn round_trip(key: [u8; KEY_LEN], plaintext: Vec<u8>, text: Vec<u8>, number: u64) {
            let kek = Kek::new(&Key256::from_bytes(key));
            let (key_aad, value_aad) = (place(&text, b"k", number), place(&text, b"v", number));
            let sealed = kek.seal_value(&plaintext, &key_aad, &value_aad);
            let result = kek.open_value(&sealed.wrapped_data_key, &sealed.ciphertext, &key_aad, &value_aad);
            prop_assert_eq!(opened(result), Ok(plaintext));
        }

        #[test]
        fn every_flipped_bit_is_noticed(plaintext in proptest::collection::vec(any::<u8>(), 0..60)) {
            let data_key = Key256::generate();
            let sealed = seal(&data_key, &plaintext, &aad());
            for flipped in single_bit_flips(&sealed) {
                prop_assert_eq!(opened(open(&data_key, &flipped, &aad())), Err(expected_error(&flipped)));
            }
        }

        #[test]
        fn every_flipped_bit_of_the_place_is_noticed(
            text in proptest::collection::vec(any::<u8>(), 0..20),
            bytes in proptest::collection::vec(any::<u8>(), 0..20),
            number: u64,
        ) {
            let data_key = Key256::generate();
            let sealed = seal(&data_key, b"value", &place(&text, &bytes, number));
            let flips = single_bit_flips(&text).map(|text| place(&text, &bytes, number))
                .chain(single_bit_flips(&bytes).map(|bytes| place(&text, &bytes, number)))
                .chain((0..64).map(|bit| place(&text, &bytes, number ^ (1 << bit))));
            for other in flips {
                prop_assert_eq!(opened(open(&data_key, &sealed, &other)), Err(OpenError::Authentication));
            }
        }

        #[test]
        fn another_key_does_not_open(key: [u8; KEY_LEN], bit in 0..KEY_LEN * 8) {
            let mut other = key;
            other[bit / 8] ^= 1 << (bit % 8);
            let (key, other) = (Key256::from_bytes(key), Key256::from_bytes(other));
            let sealed = seal(&key, b"value", &aad());
            prop_assert_eq!(opened(open(&other, &sealed, &aad())), Err(OpenError::Authentication));
            let wrapped = Kek::new(&key).wrap_key(&key, &aad());
            let result = unwrapped(Kek::new(&other).unwrap_key(&wrapped, &aad()));
            prop_assert_eq!(result, Err(OpenError::Authentication));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(open(&key(0), &bytes, &aad()).is_err());
            prop_assert!(Kek::new(&key(0)).unwrap_key(&bytes, &aad()).is_err());
        }
    }
}
