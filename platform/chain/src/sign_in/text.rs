//! The sign-in text, by EIP-4361's ABNF. Whether the text is to be believed does not belong here.

use std::fmt::Write as _;
use std::str::FromStr;

use super::grammar::{date_time, is_authority, is_nonce, is_pchars, is_scheme, is_statement, is_uri};
use super::{Account, DateTime, MalformedText, SignIn};
use crate::network::decimal;

/// How the first line ends, with the name of the chain that the account is of.
const EVM: &str = " wants you to sign in with your Ethereum account:";
const N3: &str = " wants you to sign in with your Neo N3 account:";

impl SignIn {
    /// The text to sign. Fails where a field breaks the grammar, so that none can smuggle in a line of its
    /// own.
    pub fn text(&self) -> Result<String, MalformedText> {
        let text = self.render();
        // What a reader would see in the text must be what was meant. A line break in one field can only ever
        // turn into other fields, so that it shows here.
        if text.parse::<Self>()? == *self {
            Ok(text)
        } else {
            Err(MalformedText { line: 1, expected: "fields without line breaks" })
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        if let Some(scheme) = &self.scheme {
            text += scheme;
            text += "://";
        }
        text += &self.domain;
        let chain_id = match self.account {
            Account::N3 { magic, .. } => {
                text += N3;
                u64::from(magic)
            }
            Account::Evm { chain_id, .. } => {
                text += EVM;
                chain_id
            }
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}\n\n", self.account);
        if let Some(statement) = &self.statement {
            text += statement;
            text += "\n";
        }
        let _ = write!(
            text,
            "\nURI: {}\nVersion: 1\nChain ID: {chain_id}\nNonce: {}\nIssued At: {}",
            self.uri, self.nonce, self.issued_at
        );
        let optional = [
            ("Expiration Time", self.expiration_time.as_ref().map(DateTime::to_string)),
            ("Not Before", self.not_before.as_ref().map(DateTime::to_string)),
            ("Request ID", self.request_id.clone()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                let _ = write!(text, "\n{name}: {value}");
            }
        }
        if let Some(resources) = &self.resources {
            text += "\nResources:";
            for resource in resources {
                text += "\n- ";
                text += resource;
            }
        }
        text
    }
}

impl FromStr for SignIn {
    type Err = MalformedText;

    fn from_str(text: &str) -> Result<Self, MalformedText> {
        let mut lines = Lines { rest: Some(text), number: 0 };

        let first = lines.next("the domain that wants you to sign in")?;
        let (origin, is_n3) = if let Some(origin) = first.strip_suffix(EVM) {
            (origin, false)
        } else if let Some(origin) = first.strip_suffix(N3) {
            (origin, true)
        } else {
            return lines
                .malformed("\"<domain> wants you to sign in with your Ethereum (or Neo N3) account:\"");
        };
        let (scheme, domain) = match origin.split_once("://") {
            Some((scheme, domain)) => (Some(scheme), domain),
            None => (None, origin),
        };
        if !(scheme.is_none_or(is_scheme) && is_authority(domain)) {
            return lines.malformed("a domain, after a scheme and :// or alone");
        }

        let address = lines.next("the address")?;
        let address_line = lines.number;
        lines.empty()?;
        let statement = match lines.next("the statement, or an empty line")? {
            "" => None,
            statement if is_statement(statement) => {
                lines.empty()?;
                Some(statement)
            }
            _ => {
                return lines
                    .malformed("a statement of letters, digits, spaces and the punctuation of a URI");
            }
        };

        let uri = lines.field("URI: ", "a URI (RFC 3986)", |text| is_uri(text).then_some(text))?;
        lines.field("Version: ", "\"Version: 1\"", |text| (text == "1").then_some(()))?;
        let chain_id = lines.field("Chain ID: ", "a chain id, in digits", decimal)?;
        let chain_line = lines.number;
        let nonce = lines.field("Nonce: ", "a nonce of eight letters and digits or more", |text| {
            is_nonce(text).then_some(text)
        })?;
        let time = "a time (RFC 3339)";
        let issued_at = lines.field("Issued At: ", time, date_time)?;
        let expiration_time = lines.optional_field("Expiration Time: ", time, date_time)?;
        let not_before = lines.optional_field("Not Before: ", time, date_time)?;
        let request_id = lines.optional_field("Request ID: ", "a request id of URI characters", |text| {
            is_pchars(text).then(|| text.to_owned())
        })?;
        let mut resources = None;
        if lines
            .optional_field("Resources:", "nothing after the colon", |text| text.is_empty().then_some(()))?
            .is_some()
        {
            let mut list = Vec::new();
            while let Some(resource) = lines
                .optional_field("- ", "a URI (RFC 3986)", |text| is_uri(text).then(|| text.to_owned()))?
            {
                list.push(resource);
            }
            resources = Some(list);
        }
        if lines.rest.is_some() {
            lines.number += 1;
            return lines.malformed("the end, or a field in the order of EIP-4361");
        }

        let malformed = |line, expected| Err(MalformedText { line, expected });
        let account = if is_n3 {
            let Ok(address) = address.parse() else { return malformed(address_line, "an address of Neo N3") };
            let Ok(magic) = chain_id.try_into() else {
                return malformed(chain_line, "the magic of a Neo N3 network");
            };
            Account::N3 { address, magic }
        } else {
            match address.parse::<crate::evm::Address>() {
                // Without a checksum as well: EIP-4361 asks for the text of EIP-55.
                Ok(parsed) if parsed.to_string() == address => Account::Evm { address: parsed, chain_id },
                _ => return malformed(address_line, "an address with its checksum (EIP-55)"),
            }
        };
        Ok(Self {
            scheme: scheme.map(str::to_owned),
            domain: domain.to_owned(),
            account,
            statement: statement.map(str::to_owned),
            uri: uri.to_owned(),
            nonce: nonce.to_owned(),
            issued_at,
            expiration_time,
            not_before,
            request_id,
            resources,
        })
    }
}

/// The lines that are not yet read. Only LF ends a line, so that a CR breaks the grammar of the line it is
/// in.
struct Lines<'a> {
    rest: Option<&'a str>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self, expected: &'static str) -> Result<&'a str, MalformedText> {
        self.number += 1;
        let Some(rest) = self.rest else { return self.malformed(expected) };
        let (line, rest) = match rest.split_once('\n') {
            Some((line, rest)) => (line, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Ok(line)
    }

    fn empty(&mut self) -> Result<(), MalformedText> {
        if self.next("an empty line")?.is_empty() { Ok(()) } else { self.malformed("an empty line") }
    }

    fn field<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, MalformedText> {
        match self.next(expected)?.strip_prefix(name).and_then(read) {
            Some(value) => Ok(value),
            None => self.malformed(expected),
        }
    }

    fn optional_field<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, MalformedText> {
        if self.rest.is_some_and(|rest| rest.starts_with(name)) {
            self.field(name, expected, read).map(Some)
        } else {
            Ok(None)
        }
    }

    fn malformed<T>(&self, expected: &'static str) -> Result<T, MalformedText> {
        Err(MalformedText { line: self.number, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// The examples of EIP-4361, "Informal Message Template".
    const WITH_RESOURCES: &str = "example.com wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json";
    const WITH_PORT: &str = "example.com:3388 wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json";
    const WITH_SCHEME: &str = "https://example.com wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json";
    /// Every field, and the chain of Neo N3.
    const N3_FULL: &str = "https://[::1]:8443 wants you to sign in with your Neo N3 account:
NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7


URI: https://[::1]:8443
Version: 1
Chain ID: 860833102
Nonce: 0123456789abcdefABCDEF
Issued At: 2026-11-24T22:00:00.000Z
Expiration Time: 2026-11-24T22:05:00.000+00:00
Not Before: 2026-11-24T21:59:00Z
Request ID: a%20b:c@d
Resources:";

    #[test]
    fn the_examples_round_trip() {
        for text in [WITH_RESOURCES, WITH_PORT, WITH_SCHEME, N3_FULL] {
            let parsed: SignIn = text.parse().unwrap();
            assert_eq!(parsed.text().unwrap(), text);
        }
        let parsed: SignIn = WITH_SCHEME.parse().unwrap();
        assert_eq!((parsed.scheme.as_deref(), parsed.domain.as_str()), (Some("https"), "example.com"));
        assert_eq!(parsed.account.network(), Network::Evm { chain_id: 1 });
        assert_eq!(parsed.issued_at.timestamp().as_second(), 1_633_019_124);
        assert_eq!(parsed.resources.unwrap().len(), 2);
        let parsed: SignIn = N3_FULL.parse().unwrap();
        assert_eq!(parsed.account.network(), Network::N3_MAINNET);
        assert_eq!(parsed.statement, None);
        assert_eq!(parsed.request_id.as_deref(), Some("a%20b:c@d"));
        assert_eq!(parsed.resources, Some(Vec::new()));
    }

    #[test]
    fn what_breaks_the_grammar_and_where() {
        for (from, to, line) in [
            ("example.com wants", "example com wants", 1),
            ("example.com wants", "example.com  wants", 1),
            ("example.com wants", " wants", 1),
            ("Ethereum account:", "Bitcoin account:", 1),
            ("account:\n", "account:\r\n", 1),
            ("0xC02aaA39", "0xc02aaA39", 2),
            ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", 2),
            ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "NfMFWYxaUUQy9SYo6AhRiGmRxfPxe9Edj7", 2),
            ("Cc2\n\n", "Cc2\n", 3),
            ("I accept", "I äccept", 4),
            ("/tos\n\n", "/tos\n", 5),
            ("URI: https", "URI:https", 6),
            ("URI: https://example.com/login", "URI: /login", 6),
            ("Version: 1", "Version: 2", 7),
            ("Chain ID: 1", "Chain ID: 01", 8),
            ("Chain ID: 1", "Chain ID: 0x1", 8),
            ("Nonce: 32891756", "Nonce: 3289175", 9),
            ("Nonce: 32891756", "Nonce: 3289-756", 9),
            ("24Z", "24", 10),
            ("\nResources:", "\nNot Before: soon\nResources:", 11),
            (
                "\nResources:",
                "\nNot Before: 2021-09-30T16:25:24Z\nExpiration Time: 2021-09-30T16:25:24Z\nResources:",
                12,
            ),
            ("Resources:", "Resources: ", 11),
            ("- ipfs", "* ipfs", 12),
            ("- ipfs", "- ", 12),
            ("claim.json", "claim.json\n", 14),
        ] {
            let text = WITH_RESOURCES.replacen(from, to, 1);
            assert_ne!(text, WITH_RESOURCES, "{from}");
            assert_eq!(text.parse::<SignIn>().map_err(|error| error.line), Err(line), "{text}");
        }
        let magic = N3_FULL.replace("860833102", "4294967296");
        assert_eq!(magic.parse::<SignIn>().map_err(|error| error.line), Err(7));
    }

    #[test]
    fn a_field_cannot_smuggle_in_a_line() {
        let good: SignIn = WITH_RESOURCES.parse().unwrap();
        let smuggle = "x\nIssued At: 2021-09-30T16:25:24Z\nNot Before: 2021-09-30T16:25:24Z";
        let changes: [fn(&mut SignIn, String); 6] = [
            |m, s| m.domain = s,
            |m, s| m.statement = Some(s),
            |m, s| m.uri = s,
            |m, s| m.nonce = s,
            |m, s| m.request_id = Some(s),
            |m, s| m.resources = Some(vec![s]),
        ];
        for change in changes {
            let mut message = good.clone();
            change(&mut message, smuggle.to_owned());
            assert!(message.text().is_err(), "{message:?}");
        }
        // Here the text is well-formed, but says something else than the fields do.
        let mut message = good;
        "https://example.com/\nVersion: 1\nChain ID: 9\nNonce: 99999999\nIssued At: 2021-09-30T16:25:24Z\nResources:"
            .clone_into(&mut message.uri);
        message.resources = None;
        assert!(message.text().is_err());
        let mut message: SignIn = WITH_RESOURCES.parse().unwrap();
        message.resources = None;
        message.request_id = Some("a\nResources:\n- https://evil.example".to_owned());
        assert_eq!(message.text(), Err(MalformedText { line: 1, expected: "fields without line breaks" }));
    }

    prop_compose! {
        fn sign_in()(
            scheme in proptest::option::of("[a-z][a-z0-9+.-]{0,5}"),
            domain in "[a-z0-9.-]{1,20}(:[0-9]{1,5})?",
            account in (any::<[u8; 20]>(), any::<u32>(), any::<u64>(), any::<bool>()),
            statement in proptest::option::of("[ -$&-;=?@A-Z\\[\\]_a-z~]{1,40}"),
            path in "(/[a-z0-9%20]{0,5}){0,3}",
            nonce in "[a-zA-Z0-9]{8,20}",
            seconds in proptest::collection::vec(proptest::option::of(0_i64..4_000_000_000), 3),
            request_id in proptest::option::of("[a-z0-9:@]{0,8}"),
            resources in proptest::option::of(proptest::collection::vec("[a-z]{1,5}:[a-z/]{0,8}", 0..3)),
        ) -> SignIn {
            let (bytes, magic, chain_id, is_n3) = account;
            let time = |second: i64| DateTime::from(Timestamp::from_second(second).unwrap());
            SignIn {
                scheme,
                domain,
                account: if is_n3 {
                    Account::N3 { address: crate::n3::ScriptHash::from_le_bytes(bytes).into(), magic }
                } else {
                    Account::Evm { address: crate::evm::Address::from_bytes(bytes), chain_id }
                },
                statement: statement.filter(|text| is_statement(text)),
                uri: format!("https://example.com{}", path.replace('%', "")),
                nonce,
                issued_at: time(seconds[0].unwrap_or(1)),
                expiration_time: seconds[1].map(time),
                not_before: seconds[2].map(time),
                request_id,
                resources,
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(message in sign_in()) {
            let text = message.text().unwrap();
            prop_assert_eq!(text.parse(), Ok(message));
        }

        /// Whatever is read is written back byte for byte, also after a change somewhere in the text.
        #[test]
        fn a_text_has_one_reading(message in sign_in(), at: proptest::sample::Index, with in "[\\x00-\\x7f]") {
            let mut text = message.text().unwrap();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            if let Ok(parsed) = text.parse::<SignIn>() {
                prop_assert_eq!(parsed.text().unwrap(), text);
            }
        }

        #[test]
        fn any_text_is_survived(text: String) {
            prop_assert!(text.parse::<SignIn>().is_err());
        }
    }
}
