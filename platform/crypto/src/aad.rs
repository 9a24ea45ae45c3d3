//! Associated data: what a sealed value is bound to (its tenant, service, key, version), never the value
//! itself.

/// An encoder that keeps the borders of its parts, so that ("ab", "c") and ("a", "bc") give different bytes.
///
/// Each part stands behind its length as 64 bits, big-endian, as in PASETO's pre-authentication encoding: no
/// length can wrap. The parts carry no type, so one domain always takes the same kinds of parts in the same
/// order.
pub struct Aad(Vec<u8>);

impl Aad {
    /// Begins with a domain, the name and version of what is bound: `nsl.sgx.item.v1`.
    pub fn new(domain: &'static str) -> Self {
        Self(Vec::with_capacity(128)).bytes(domain.as_bytes())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, part: &[u8]) -> Self {
        append(&mut self.0, part);
        self
    }

    /// Adds a number, as 64 bits, big-endian.
    #[must_use]
    pub fn number(self, part: u64) -> Self {
        self.bytes(&part.to_be_bytes())
    }

    /// The encoding: also the form in which a record is hashed.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// Appends one part behind its length.
pub(crate) fn append(encoded: &mut Vec<u8>, part: &[u8]) {
    encoded.extend_from_slice(&(part.len() as u64).to_be_bytes());
    encoded.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(parts: &[Vec<u8>]) -> Vec<u8> {
        parts.iter().fold(Aad::new("test"), |aad, part| aad.bytes(part)).0
    }

    #[test]
    fn the_encoding_is_frozen() {
        let aad = Aad::new("d").text("ab").bytes(&[0xff]).number(7);
        let expected = "000000000000000164\
                        00000000000000026162\
                        0000000000000001ff\
                        00000000000000080000000000000007";
        assert_eq!(hex::encode(aad.encoded()), expected);
    }

    #[test]
    fn borders_count() {
        let encode = |a: &str, b: &str| Aad::new("d").text(a).text(b).0;
        assert_ne!(encode("ab", "c"), encode("a", "bc"));
        assert_ne!(encode("abc", ""), encode("", "abc"));
        assert_ne!(Aad::new("d").0, Aad::new("d").text("").0);
        assert_ne!(Aad::new("d").text("x").0, Aad::new("dx").0);
    }

    /// Short parts of few distinct bytes, among them those that look like a length, so that collisions would
    /// be met.
    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![Just(0_u8), Just(1), Just(8), any::<u8>()];
        proptest::collection::vec(proptest::collection::vec(byte, 0..20), 0..5)
    }

    proptest! {
        #[test]
        fn different_parts_never_encode_alike(a in parts(), b in parts()) {
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }

        /// The same bytes cut at other borders: the case that a plain concatenation gets wrong.
        #[test]
        fn other_borders_never_encode_alike(
            whole in proptest::collection::vec(any::<u8>(), 1..40),
            a: usize,
            b: usize,
        ) {
            let cut = |at: usize| {
                let (head, tail) = whole.split_at(at % (whole.len() + 1));
                encode(&[head.to_vec(), tail.to_vec()])
            };
            let same = a % (whole.len() + 1) == b % (whole.len() + 1);
            prop_assert_eq!(same, cut(a) == cut(b));
        }
    }
}
