//! Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 s, since that is what authenticator apps know.
//! When a code counts as used belongs to the store.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use nsl_crypto::digest::constant_time_eq;
use nsl_crypto::random;
use zeroize::Zeroizing;

const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// RFC 6238 section 5.2: one step of delay, and one for a clock that is ahead.
const WINDOW: i64 = 1;
/// RFC 4226 section 4: 160 bits are recommended.
const SECRET_LEN: usize = 20;
const ISSUER: &str = "Neo Service Layer";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The secret that a user's device and this service share.
pub(crate) struct TotpSecret(Zeroizing<Vec<u8>>);

impl TotpSecret {
    pub(crate) fn generate() -> Self {
        Self(Zeroizing::new(random::bytes::<SECRET_LEN>().to_vec()))
    }

    pub(crate) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an app (RFC 4648 section 6, without padding).
    pub(crate) fn base32(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().div_ceil(5) * 8));
        for chunk in self.0.chunks(5) {
            let mut group = [0; 8];
            group[3..3 + chunk.len()].copy_from_slice(chunk);
            let bits = u64::from_be_bytes(group);
            for index in 0..(chunk.len() * 8).div_ceil(5) {
                let five = (bits >> (35 - 5 * index)) & 31;
                text.push(char::from(BASE32[usize::try_from(five).unwrap_or_default()]));
            }
        }
        text
    }

    /// The URL that apps read from a picture (Google Authenticator's Key URI Format).
    pub(crate) fn otpauth_url(&self, account: &str) -> Zeroizing<String> {
        let issuer = percent_encoded(ISSUER);
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            percent_encoded(account),
            *self.base32(),
        ))
    }

    /// The time step that the code is of, if it is of one in the window around now.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        let present = now.as_second().div_euclid(STEP_SECONDS);
        let mut found = None;
        // All of them, so that the time does not tell how far off a clock is.
        for step in present - WINDOW..=present + WINDOW {
            if constant_time_eq(self.code(step).as_bytes(), code.as_bytes()) {
                found = Some(step);
            }
        }
        found
    }

    /// HOTP (RFC 4226 section 5.3) over the time step.
    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag[tag.len() - 1] & 0x0f);
        let mut four = [0; 4];
        four.copy_from_slice(&tag[offset..offset + 4]);
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }
}

/// Whether a text has the form of a code.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 3986 section 2.1, everything but the unreserved characters.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> TotpSecret {
        TotpSecret::from_bytes(Zeroizing::new(bytes.to_vec()))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// RFC 6238 appendix B, the last six of the eight digits.
    #[test]
    fn the_vectors_of_the_rfc() {
        let secret = of(b"12345678901234567890");
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret.step_of(code, at(second)), Some(second / 30), "{code}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_one_step_late() {
        let secret = of(b"12345678901234567890");
        let step = 1_111_111_111 / 30;
        for (offset, found) in [(-2, None), (-1, Some(step)), (0, Some(step)), (1, Some(step)), (2, None)] {
            assert_eq!(secret.step_of("050471", at((step + offset) * 30)), found, "{offset}");
        }
        for wrong in ["", "05047", "0504711", "050472", "٠٥٠٤٧١"] {
            assert_eq!(secret.step_of(wrong, at(1_111_111_111)), None);
        }
    }

    /// RFC 4648 section 10.
    #[test]
    fn base32_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
        ] {
            assert_eq!(*of(bytes.as_bytes()).base32(), text);
        }
        assert_eq!(TotpSecret::generate().base32().len(), 32);
    }

    #[test]
    fn the_url_names_account_and_issuer() {
        let url = of(b"foobar").otpauth_url("ann o'hara@example.org");
        assert_eq!(
            *url,
            "otpauth://totp/Neo%20Service%20Layer:ann%20o%27hara%40example.org?secret=MZXW6YTBOI\
             &issuer=Neo%20Service%20Layer&algorithm=SHA1&digits=6&period=30"
        );
    }

    proptest! {
        #[test]
        fn its_own_code_is_found_and_has_the_form(bytes in prop::collection::vec(any::<u8>(), 20), second in 0_i64..10_000_000_000) {
            let secret = of(&bytes);
            let code = secret.code(second / 30);
            prop_assert!(is_code(&code));
            prop_assert!(secret.step_of(&code, at(second)).is_some());
        }
    }
}
