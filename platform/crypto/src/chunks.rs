//! Values too large for one piece: sealed and opened chunk by chunk, in place, in constant memory.
//!
//! The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance", CRYPTO 2015), as in age and Tink: the nonce of a chunk is its number and whether it is the last.
//! A key seals one content only, so that no nonce can come twice; the sealer counts, and ends with the last chunk.
//!
//! ```text
//! nonce  = 0 (7 bytes) ‖ number (32 bits, big-endian) ‖ last (0 or 1)
//! sealed = ciphertext ‖ tag (16)
//! ```
//! A chunk that is out of its order, doubled, of another content or changed does not open; an end that came too early
//! or too late does not either. The associated data bind all chunks to their place. Nothing says which key it was: the
//! key is kept where the content's length is, in a sealed value.

use aws_lc_rs::aead::{Aad as AeadAad, LessSafeKey, NONCE_LEN, Nonce};
use zeroize::Zeroize;

use crate::aad::Aad;
use crate::envelope::{OpenError, prepare};
use crate::fault;
use crate::key::Key256;

/// By how much a sealed chunk is longer than its plaintext.
pub const CHUNK_OVERHEAD: usize = 16;

/// Seals the chunks of one content, in their order.
pub struct ChunkSealer {
    key: LessSafeKey,
    place: Aad,
    next: u32,
}

impl ChunkSealer {
    /// Begins a content under a key that was made for it and seals nothing else.
    pub fn new(key: &Key256, place: Aad) -> Self {
        Self { key: prepare(key), place, next: 0 }
    }

    /// Seals the next chunk in place, and tells its number. More chunks follow.
    pub fn seal(&mut self, chunk: &mut Vec<u8>) -> u32 {
        let number = self.next;
        let Some(next) = number.checked_add(1) else {
            // 2^32 chunks of one byte each would be past every limit of a caller.
            fault::abort("a content has more chunks than nonces");
        };
        self.next = next;
        self.seal_as(chunk, number, false);
        number
    }

    /// Seals the last chunk in place, and tells its number.
    pub fn seal_last(self, chunk: &mut Vec<u8>) -> u32 {
        self.seal_as(chunk, self.next, true);
        self.next
    }

    fn seal_as(&self, chunk: &mut Vec<u8>, number: u32, last: bool) {
        let aad = AeadAad::from(self.place.encoded());
        if self.key.seal_in_place_append_tag(nonce(number, last), aad, chunk).is_err() {
            // GCM's own bound is 64 GiB; the callers' chunks are far below.
            fault::abort("AWS-LC cannot seal a chunk");
        }
    }
}

/// Opens the chunks of one content, in their order. After an error nothing opens any more.
pub struct ChunkOpener {
    key: LessSafeKey,
    place: Aad,
    next: u32,
    /// Bytes that are still to come.
    left: u64,
    chunk_len: usize,
}

impl ChunkOpener {
    /// `length` and `chunk_len` are those of the plaintext; every chunk but the last has `chunk_len` bytes.
    pub fn new(key: &Key256, place: Aad, length: u64, chunk_len: usize) -> Self {
        Self { key: prepare(key), place, next: 0, left: length, chunk_len }
    }

    /// How many bytes are still to be opened.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Opens the next chunk in place; what is left in `chunk` is the plaintext, or nothing if it does not open.
    pub fn open(&mut self, chunk: &mut Vec<u8>) -> Result<(), OpenError> {
        let opened = self.try_open(chunk);
        if opened.is_err() {
            chunk.zeroize();
            self.left = 0;
        }
        opened
    }

    fn try_open(&mut self, chunk: &mut Vec<u8>) -> Result<(), OpenError> {
        let expected = usize::try_from(self.left).map_or(self.chunk_len, |left| left.min(self.chunk_len));
        if expected == 0 || chunk.len() != expected + CHUNK_OVERHEAD {
            return Err(OpenError::Malformed);
        }
        let last = self.left == expected as u64;
        let aad = AeadAad::from(self.place.encoded());
        self.key.open_in_place(nonce(self.next, last), aad, chunk).map_err(|_| OpenError::Authentication)?;
        chunk.truncate(expected);
        self.left -= expected as u64;
        // Past the last number nothing is left: a sealer gives none out.
        self.next = self.next.saturating_add(1);
        Ok(())
    }
}

fn nonce(number: u32, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 5..NONCE_LEN - 1].copy_from_slice(&number.to_be_bytes());
    nonce[NONCE_LEN - 1] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: usize = 7;

    fn key(first: u8) -> Key256 {
        Key256::from_bytes(std::array::from_fn(|i| first + u8::try_from(i).unwrap()))
    }

    fn place(number: u64) -> Aad {
        Aad::new("nsl.test.v1").number(number)
    }

    fn sealed(value: &[u8]) -> Vec<Vec<u8>> {
        let mut sealer = ChunkSealer::new(&key(0), place(1));
        let mut chunks: Vec<Vec<u8>> = value.chunks(CHUNK).map(<[u8]>::to_vec).collect();
        let last = chunks.len() - 1;
        for (number, chunk) in chunks[..last].iter_mut().enumerate() {
            assert_eq!(sealer.seal(chunk) as usize, number);
        }
        assert_eq!(sealer.seal_last(&mut chunks[last]) as usize, last);
        chunks
    }

    /// What opens of the chunks, before the first that does not.
    fn opened(chunks: &[Vec<u8>], length: usize) -> (Vec<u8>, Option<OpenError>, u64) {
        let mut opener = ChunkOpener::new(&key(0), place(1), length as u64, CHUNK);
        let mut value = Vec::new();
        for chunk in chunks {
            let mut chunk = chunk.clone();
            if let Err(error) = opener.open(&mut chunk) {
                assert!(chunk.is_empty(), "nothing of what does not open is left");
                return (value, Some(error), opener.left());
            }
            value.extend_from_slice(&chunk);
        }
        (value, None, opener.left())
    }

    /// Refused at the chunk with this number, with everything before it as it was.
    #[track_caller]
    fn refused(chunks: &[Vec<u8>], value: &[u8], at: usize) {
        let (prefix, error, _) = opened(chunks, value.len());
        assert!(error.is_some());
        assert_eq!(prefix, value[..at * CHUNK]);
    }

    fn value(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    /// Written by Python's `cryptography` 48: what is stored must open in every later version.
    #[test]
    fn the_format_is_frozen() {
        let stored = FROZEN.map(|chunk| hex::decode(chunk).unwrap());
        assert_eq!(opened(&stored, 14 + 3), (value(17), None, 0));
        assert_eq!(sealed(&value(17)), stored);
    }

    const FROZEN: [&str; 3] = [
        "0ebdb7ddb129854f83e81e2e4f7aaae58d48197efa4da0",
        "27e47c3101b0495cea087bd5988287ae1fcfc325d90dba",
        "463e356bbc93d598800a566e7a31ab70249800",
    ];

    #[test]
    fn another_order_is_refused() {
        let (value, chunks) = (value(30), sealed(&value(30)));
        for (a, b) in [(0, 1), (1, 2), (0, 4), (3, 4)] {
            let mut swapped = chunks.clone();
            swapped.swap(a, b);
            refused(&swapped, &value, a);
        }
    }

    #[test]
    fn a_missing_or_doubled_chunk_is_refused() {
        let (value, chunks) = (value(30), sealed(&value(30)));
        for number in 0..chunks.len() - 1 {
            let mut without = chunks.clone();
            without.remove(number);
            refused(&without, &value, number);
            let mut twice = chunks.clone();
            twice.insert(number, chunks[number].clone());
            refused(&twice, &value, number + 1);
        }
    }

    #[test]
    fn a_cut_off_end_leaves_bytes_to_be_opened() {
        let (value, chunks) = (value(30), sealed(&value(30)));
        let (prefix, error, left) = opened(&chunks[..4], value.len());
        assert_eq!((prefix.as_slice(), error, left), (&value[..28], None, 2));
        // Also where the length that is believed is shorter, as one who cuts would have it: the last one is not the last.
        assert_eq!(opened(&chunks[..4], 28).1, Some(OpenError::Authentication));
        assert_eq!(opened(&chunks[..1], 7).1, Some(OpenError::Authentication));
    }

    #[test]
    fn what_comes_after_the_end_is_refused() {
        let (value, mut chunks) = (value(28), sealed(&value(28)));
        chunks.push(chunks[3].clone());
        assert_eq!(opened(&chunks, value.len()), (value.clone(), Some(OpenError::Malformed), 0));
        // And where the length is believed to be longer.
        assert_eq!(opened(&chunks, 35).1, Some(OpenError::Authentication));
    }

    #[test]
    fn a_chunk_of_another_content_is_refused() {
        let (value, chunks) = (value(30), sealed(&value(30)));
        let others = [(key(1), place(1)), (key(0), place(2))].map(|(key, place)| {
            let mut sealer = ChunkSealer::new(&key, place);
            let mut chunk = value[..CHUNK].to_vec();
            sealer.seal(&mut chunk);
            chunk
        });
        for other in others {
            let mut mixed = chunks.clone();
            mixed[0] = other;
            refused(&mixed, &value, 0);
        }
    }

    #[test]
    fn after_a_refusal_nothing_opens() {
        let chunks = sealed(&value(30));
        let mut opener = ChunkOpener::new(&key(0), place(1), 30, CHUNK);
        assert!(opener.open(&mut chunks[1].clone()).is_err());
        assert!(opener.open(&mut chunks[0].clone()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn round_trip(value in proptest::collection::vec(any::<u8>(), 1..60)) {
            let chunks = sealed(&value);
            prop_assert_eq!(chunks.len(), value.len().div_ceil(CHUNK));
            prop_assert_eq!(opened(&chunks, value.len()), (value, None, 0));
        }

        #[test]
        fn every_flipped_bit_is_noticed(value in proptest::collection::vec(any::<u8>(), 1..30)) {
            let chunks = sealed(&value);
            for number in 0..chunks.len() {
                for bit in 0..chunks[number].len() * 8 {
                    let mut flipped = chunks.clone();
                    flipped[number][bit / 8] ^= 1 << (bit % 8);
                    let (prefix, error, _) = opened(&flipped, value.len());
                    prop_assert_eq!(error, Some(OpenError::Authentication));
                    prop_assert_eq!(&prefix, &value[..number * CHUNK]);
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, length: u64, chunk_len in 0_usize..64) {
            let mut chunk = bytes;
            prop_assert!(ChunkOpener::new(&key(0), place(1), length, chunk_len).open(&mut chunk).is_err());
        }
    }
}
