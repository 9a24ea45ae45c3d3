//! Streamed values: what an item's row seals in place of a value that is cut into chunks.

use nsl_core::ids::TenantId;
use nsl_crypto::aad::Aad;
use nsl_crypto::chunks::CHUNK_OVERHEAD;
use nsl_crypto::key::{KEY_LEN, Key256};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Bytes of the value in each chunk but the last: few statements a value, and little memory.
pub(crate) const CHUNK: usize = 512 << 10;

/// The chunks of a streamed value, which are stored already.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub id: Uuid,
    /// Bytes of the value.
    pub size: usize,
    /// Bytes of all sealed chunks.
    pub sealed_size: usize,
}

/// What opens the chunks. It is sealed in the row as a small value would be, bound to the row and to the id of the content.
///
/// The key is random and of this content alone, and a chunk's number and whether it is the last are part of its nonce: so
/// the row's version and fingerprint vouch for every chunk, although these were stored before the version was known, and a
/// digest of them would add nothing.
pub(crate) struct Summary {
    pub key: Key256,
    pub length: u64,
    pub chunk_len: u32,
}

/// The first byte, and the only format so far.
const FORMAT: u8 = 1;
const ENCODED_LEN: usize = 1 + KEY_LEN + 8 + 4;

impl Summary {
    /// What is sealed in the row.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(ENCODED_LEN));
        bytes.push(FORMAT);
        bytes.extend_from_slice(self.key.expose());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(&self.chunk_len.to_be_bytes());
        bytes
    }

    /// None for what [`encode`](Self::encode) cannot have given.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = bytes.split_first()? else { return None };
        let (key, rest) = rest.split_first_chunk::<KEY_LEN>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (length, chunk_len) = (u64::from_be_bytes(*length), u32::from_be_bytes(*rest.first_chunk()?));
        let whole = bytes.len() == ENCODED_LEN && length > 0 && chunk_len > 0;
        whole.then(|| Self { key: Key256::from_bytes(*key), length, chunk_len })
    }

    /// How many chunks there are; the last one has number `chunks() - 1`.
    pub(crate) fn chunks(&self) -> u64 {
        self.length.div_ceil(u64::from(self.chunk_len))
    }

    /// Bytes of all sealed chunks.
    pub(crate) fn sealed_len(&self) -> u64 {
        self.length.saturating_add(self.chunks().saturating_mul(CHUNK_OVERHEAD as u64))
    }
}

/// What all chunks of a content are bound to.
pub(crate) fn place(tenant: TenantId, content: Uuid) -> Aad {
    Aad::new("nsl.sgx.chunk.v1").bytes(tenant.0.as_bytes()).bytes(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(length: u64, chunk_len: u32) -> Summary {
        Summary { key: Key256::from_bytes([7; KEY_LEN]), length, chunk_len }
    }

    #[test]
    fn a_summary_comes_back() {
        let read = Summary::decode(&summary(1 << 40, 12).encode()).unwrap();
        assert_eq!((read.key.expose(), read.length, read.chunk_len), (&[7; KEY_LEN], 1 << 40, 12));
    }

    #[test]
    fn what_is_no_summary_is_refused() {
        let good = summary(5, 4).encode();
        assert!(Summary::decode(&good[..ENCODED_LEN - 1]).is_none());
        assert!(Summary::decode(&[&good[..], &[0]].concat()).is_none());
        assert!(Summary::decode(&[&[2], &good[1..]].concat()).is_none());
        assert!(Summary::decode(b"").is_none());
        assert!(Summary::decode(&summary(0, 4).encode()).is_none());
        assert!(Summary::decode(&summary(5, 0).encode()).is_none());
    }

    #[test]
    fn sizes_count_the_tags() {
        assert_eq!((summary(8, 4).chunks(), summary(8, 4).sealed_len()), (2, 8 + 2 * 16));
        assert_eq!((summary(9, 4).chunks(), summary(9, 4).sealed_len()), (3, 9 + 3 * 16));
        assert_eq!(summary(u64::MAX, 1).sealed_len(), u64::MAX);
    }
}
