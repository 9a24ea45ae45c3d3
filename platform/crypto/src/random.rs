//! Random bytes from AWS-LC's generator, which the system's entropy seeds.
//!
//! There is no error to return. AWS-LC itself aborts when the system gives it no entropy (`rand.c`), and a
//! process without randomness can neither seal nor log anyone in. An error type would stand in every
//! signature above for a case in which nothing useful can be done, so the remaining path aborts as well.

use crate::fault;

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        fault::abort("the system gives no randomness");
    }
}

/// An array of random bytes, for nonces and salts. A secret belongs into a zeroized buffer: use [`fill`].
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_fill_the_whole_array() {
        let (first, second) = (bytes::<64>(), bytes::<64>());
        assert_ne!(first, second);
        // A right generator leaves eight zero bytes in a row at a given place once in 2^64 runs.
        assert!(first.chunks(8).all(|chunk| chunk != [0; 8]));
    }
}
