//! The pieces of RFC 3986 and RFC 3339 that EIP-4361's ABNF names. They are checked by hand, since libraries
//! for URLs and times repair what they read, and here another spelling is another message.

use std::net::Ipv6Addr;

use super::DateTime;

/// scheme (RFC 3986, 3.1).
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// authority (RFC 3986, 3.2), with a host.
pub(super) fn is_authority(text: &str) -> bool {
    let host_and_port = match text.rsplit_once('@') {
        Some((user, rest)) if is_made_of(user, b":") => rest,
        Some(_) => return false,
        None => text,
    };
    let (host_is_good, port) = if let Some(literal) = host_and_port.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let end = host_and_port.find(':').unwrap_or(host_and_port.len());
        let (host, port) = host_and_port.split_at(end);
        (!host.is_empty() && is_made_of(host, b""), port)
    };
    let port_is_good = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    host_is_good && port_is_good
}

/// URI (RFC 3986, 3): absolute, with a fragment where it has one.
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match hierarchy.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            // `file:///` has an empty one.
            if !(authority.is_empty() || is_authority(authority)) {
                return false;
            }
            path
        }
        None => hierarchy,
    };
    is_scheme(scheme)
        && is_made_of(path, b":@/")
        && is_made_of(query, b":@/?")
        && is_made_of(fragment, b":@/?")
}

/// `*pchar` (RFC 3986, 3.3).
pub(super) fn is_pchars(text: &str) -> bool {
    is_made_of(text, b":@")
}

/// `1*( reserved / unreserved / " " )`, EIP-4361's statement: no line break, no percent sign, ASCII only.
pub(super) fn is_statement(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| is_unreserved_or_sub_delim(b) || b":/?#[]@ ".contains(&b))
}

/// `8*( ALPHA / DIGIT )`.
pub(super) fn is_nonce(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// date-time (RFC 3339, 5.6).
pub(super) fn date_time(text: &str) -> Option<DateTime> {
    let (whole, rest) = text.split_at_checked("2006-01-02T15:04:05".len())?;
    let shape = whole.bytes().zip(b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        _ => byte == *form,
    });
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            // jiff's times end at nanoseconds.
            if !(1..=9).contains(&(fraction.len() - offset.len())) {
                return None;
            }
            offset
        }
        None => rest,
    };
    let offset_is_good = match offset.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !(shape && offset_is_good) {
        return None;
    }
    let timestamp = text.parse().ok()?;
    Some(DateTime { text: text.to_owned(), timestamp })
}

/// Unreserved characters, sub-delimiters, escapes, and the ones that are named beside them.
fn is_made_of(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .into_iter()
                .all(|digit| digit.is_some_and(|d| d.is_ascii_hexdigit())),
            _ => is_unreserved_or_sub_delim(byte) || also.contains(&byte),
        };
        if !good {
            return false;
        }
    }
    true
}

fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authorities() {
        for good in [
            "example.com",
            "localhost:8080",
            "127.0.0.1",
            "[::1]:443",
            "[2001:db8::7]",
            "test@127.0.0.1",
            "a:b@c",
            "x%41",
            "h:",
        ] {
            assert!(is_authority(good), "{good}");
        }
        for wrong in [
            "",
            ":80",
            "a b",
            "a/b",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "a:b",
            "a:80:80",
            "x%4",
            "x%zz",
            "ä",
            "a@b@c",
            "u#@c",
        ] {
            assert!(!is_authority(wrong), "{wrong}");
        }
    }

    #[test]
    fn uris() {
        for good in [
            "https://example.com",
            "https://example.com/login?x=a/b?c#d?/e",
            "https://[::1]:8443/",
            "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/",
            "did:key:z6Mk",
            "mailto:a@b.c",
            "file:///etc/hosts",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        ] {
            assert!(is_uri(good), "{good}");
        }
        for wrong in [
            "",
            "example.com",
            "//example.com",
            "1https://a",
            ":a",
            "https://a b",
            "https://a/<b>",
            "https://a/#b#c",
            "https://a/[b]",
            "https://a/%2",
        ] {
            assert!(!is_uri(wrong), "{wrong}");
        }
    }

    #[test]
    fn times() {
        for good in [
            "2021-09-30T16:25:24Z",
            "2021-09-30t16:25:24z",
            "2021-09-30T16:25:24.000Z",
            "2021-09-30T16:25:24.123456789+02:00",
            "2021-09-30T16:25:24-00:00",
        ] {
            assert_eq!(date_time(good).unwrap().to_string(), good);
        }
        for wrong in [
            "",
            "2021-09-30",
            "2021-09-30 16:25:24Z",
            "2021-09-30T16:25:24",
            "2021-09-30T16:25Z",
            "2021-09-30T16:25:24.Z",
            "2021-09-30T16:25:24.1234567890Z",
            "2021-09-30T16:25:24+0200",
            "2021-09-30T16:25:24Z[UTC]",
            "2021-13-30T16:25:24Z",
            "2021-02-29T16:25:24Z",
            "2021-09-30T25:25:24Z",
            "+02021-09-30T16:25:24Z",
            "2021-09-30T16:25:2äZ",
        ] {
            assert_eq!(date_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn statements_and_nonces() {
        assert!(is_statement("I accept the Terms of Service: https://example.com/tos"));
        for wrong in ["", "100%", "\"quoted\"", "a\tb", "naïve", "<b>"] {
            assert!(!is_statement(wrong), "{wrong}");
        }
        assert!(is_nonce("32891757"));
        for wrong in ["", "3289175", "3289175-", "3289175 "] {
            assert!(!is_nonce(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = (is_authority(&text), is_uri(&text), is_pchars(&text), is_statement(&text), date_time(&text));
        }
    }
}
