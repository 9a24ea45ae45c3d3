//! Names and keys as parts of a path.
//!
//! Every byte but the unreserved ones (RFC 3986 §2.3) is percent-encoded. A `/` in a key stays what it is: the
//! routes take the rest of the path as the key. The segments `.` and `..` cannot be sent at all, since every URL
//! parser resolves them, encoded as `%2E` too (WHATWG URL, "double-dot URL path segment"); the service refuses
//! such keys as well, so that no key exists that only some clients can reach.

use std::fmt::Write as _;

use crate::error::Error;

/// One path segment; a `/` in it is encoded.
pub(crate) fn segment(what: &'static str, value: &str) -> Result<String, Error> {
    check(what, value, value)?;
    if value.is_empty() {
        return Err(refused(what, value, "it is empty"));
    }
    let mut text = String::with_capacity(value.len());
    encode(value, &mut text);
    Ok(text)
}

/// The rest of a path: segments with `/` between them, any of which may be empty.
pub(crate) fn rest(what: &'static str, value: &str) -> Result<String, Error> {
    if value.is_empty() {
        return Err(refused(what, value, "it is empty"));
    }
    let mut text = String::with_capacity(value.len());
    for (index, part) in value.split('/').enumerate() {
        check(what, value, part)?;
        if index > 0 {
            text.push('/');
        }
        encode(part, &mut text);
    }
    Ok(text)
}

fn check(what: &'static str, value: &str, part: &str) -> Result<(), Error> {
    if matches!(part, "." | "..") {
        return Err(refused(
            what,
            value,
            "a part that is `.` or `..` does not survive in an address; name it otherwise",
        ));
    }
    Ok(())
}

fn refused(what: &'static str, value: &str, reason: &'static str) -> Error {
    Error::Name { what, value: value.to_owned(), reason }
}

fn encode(part: &str, into: &mut String) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    /// What a server sees as the key once the address went through a URL parser.
    fn arrives(key: &str) -> Option<String> {
        let url = Url::parse(&format!("http://h/items/s/{}", rest("key", key).ok()?)).unwrap();
        let path = url.path().strip_prefix("/items/s/").expect("stays below its prefix").to_owned();
        assert!(url.query().is_none() && url.fragment().is_none());
        let mut bytes = Vec::new();
        let mut raw = path.bytes();
        while let Some(byte) = raw.next() {
            if byte == b'%' {
                let hex: String = [raw.next().unwrap(), raw.next().unwrap()].map(char::from).iter().collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn keys_arrive_as_they_are() {
        for key in [
            "a/b/c",
            "/a",
            "a/",
            "a//b",
            "//",
            "a b",
            "a?b#c",
            "50%",
            "%2e%2e",
            "%2E",
            "a\\b",
            "ключ/值",
            "...",
            ".a",
            "a..b",
            "a+b",
            "a;b",
            "a:b",
            "\t",
            "a\nb",
        ] {
            assert_eq!(arrives(key).as_deref(), Some(key));
        }
    }

    #[test]
    fn what_a_parser_would_resolve_is_refused() {
        for key in [".", "..", "a/../b", "../a", "a/.", "/..", ""] {
            let error = rest("key", key).unwrap_err();
            assert!(matches!(error, Error::Name { what: "key", .. }), "{key}: {error}");
        }
        assert!(segment("service", "..").is_err() && segment("service", "").is_err());
        assert_eq!(segment("service", "a/..").unwrap(), "a%2F..");
    }

    proptest! {
        #[test]
        fn any_key_arrives_whole_or_is_refused(key in "(\\PC|[./%?#\\\\]){0,24}") {
            let dots = key.split('/').any(|part| part == "." || part == "..");
            match arrives(&key) {
                Some(arrived) => prop_assert_eq!(arrived, key),
                None => prop_assert!(dots || key.is_empty()),
            }
        }
    }
}
