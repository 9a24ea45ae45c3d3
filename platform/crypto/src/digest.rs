//! SHA-256 and comparison in constant time. Keyed hashes belong to `key`, trees to `merkle`.

use aws_lc_rs::{constant_time, digest};

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// SHA-256 (FIPS 180-4) of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    sha256_concat(&[bytes])
}

/// SHA-256 of the parts one after the other. The borders do not count: where they must, encode them.
pub fn sha256_concat(parts: &[&[u8]]) -> Sha256Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The digest as people and the API read it: `sha256:` and 64 hex digits.
pub fn fingerprint(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(bytes)))
}

/// Whether both are equal, in a time that depends on their lengths only.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_vectors() {
        // FIPS 180-4, examples for SHA-256: the empty message, "abc", and the two-block message.
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        for (message, expected) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        ] {
            assert_eq!(hex::encode(sha256(message)), expected);
            assert_eq!(fingerprint(message), format!("sha256:{expected}"));
        }
    }

    #[test]
    fn comparison() {
        assert!(constant_time_eq(b"", b""));
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sane"));
        assert!(!constant_time_eq(b"same", b"sam"));
    }

    proptest! {
        #[test]
        fn parts_hash_as_their_concatenation(parts: Vec<Vec<u8>>) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sha256_concat(&slices), sha256(&parts.concat()));
        }
    }
}
