//! `postgres://` URLs as libpq defines them (PostgreSQL manual, 34.1.1.2). They are not RFC 3986 URLs: several
//! hosts may be listed, the host may be empty or a percent-encoded directory, and `+` is no space. Hence no
//! general URL parser.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::npgsql::{split_host, split_hosts};
use super::settings::{Key, PORT, Settings, port};
use super::{Address, ConnectionString, ConnectionStringError};
use crate::config::secret::Secret;

/// The part after `postgres://` or `postgresql://`.
pub(super) fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    (scheme.eq_ignore_ascii_case("postgres") || scheme.eq_ignore_ascii_case("postgresql")).then_some(rest)
}

pub(super) fn read(text: &str) -> Result<Settings, ConnectionStringError> {
    let mut settings = Settings::default();
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, database) = path.split_once('/').unwrap_or((path, ""));
    let (user_info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    for (key, value) in [(Key::Username, user), (Key::Password, password), (Key::Database, database)] {
        set(&mut settings, key, decode(value)?)?;
    }
    if !hosts.is_empty() {
        settings.set_hosts(hosts.split(',').map(authority_host).collect::<Result<_, _>>()?)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(URL_PAIR)?;
        let name = decode(name)?;
        let key = Key::from_libpq(&name).ok_or_else(|| unknown(&name))?;
        let value = decode(value)?;
        if key == Key::Host && !value.is_empty() {
            settings.set_hosts(split_hosts(&value)?)?;
        } else {
            set(&mut settings, key, value)?;
        }
    }
    Ok(settings)
}

const URL_PAIR: ConnectionStringError =
    ConnectionStringError::Url { reason: "a parameter after ? has no value" };
const URL_NAME: ConnectionStringError =
    ConnectionStringError::Url { reason: "a parameter after ? is not known; in a password write ? as %3F" };
const URL_PERCENT: ConnectionStringError =
    ConnectionStringError::Url { reason: "a % is not followed by two hexadecimal digits of UTF-8 text" };

/// A name is shown only if it looks like one: a password that is not encoded may have a `?` in it.
fn unknown(name: &str) -> ConnectionStringError {
    if (2..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
        ConnectionStringError::UnknownKey { key: name.to_owned(), known: Key::libpq_names() }
    } else {
        URL_NAME
    }
}

fn set(settings: &mut Settings, key: Key, value: Zeroizing<String>) -> Result<(), ConnectionStringError> {
    if value.is_empty() { Ok(()) } else { settings.set(key, value) }
}

/// A host of the authority, where a directory is percent-encoded and may have a port too.
fn authority_host(text: &str) -> Result<(Address, Option<u16>), ConnectionStringError> {
    if !text.starts_with("%2F") && !text.starts_with("%2f") {
        return split_host(&decode(text)?);
    }
    let (directory, digits) =
        text.split_once(':').map_or((text, None), |(path, digits)| (path, Some(digits)));
    let wrong = ConnectionStringError::Value { key: Key::Port.name(), expected: PORT };
    let own_port = digits.map(|digits| port(digits).ok_or(wrong)).transpose()?;
    Ok((Address::Socket(decode(directory)?.as_str().into()), own_port))
}

fn decode(text: &str) -> Result<Zeroizing<String>, ConnectionStringError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        // PostgreSQL's protocol ends its texts at a zero byte; libpq forbids it too.
        bytes.push(value.filter(|value| *value != 0).ok_or(URL_PERCENT)?);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| URL_PERCENT)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Appends a text with everything but RFC 3986's unreserved characters percent-encoded.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

pub(super) fn write(
    connection: &ConnectionString,
    username: &str,
    password: Option<&Secret>,
    options: Option<&str>,
) -> Secret {
    // Long enough for what is usual, since growing leaves a copy of the password behind.
    let mut out = String::with_capacity(1024);
    out.push_str("postgres://");
    encode(&mut out, username);
    if let Some(password) = password {
        out.push(':');
        encode(&mut out, password.expose());
    }
    for (index, host) in connection.hosts.iter().enumerate() {
        out.push(if index == 0 { '@' } else { ',' });
        match &host.address {
            Address::Tcp(name) if name.contains(':') => {
                let _ = write!(out, "[{name}]");
            }
            Address::Tcp(name) => encode(&mut out, name),
            Address::Socket(path) => encode(&mut out, &path.to_string_lossy()),
        }
        let _ = write!(out, ":{}", host.port);
    }
    out.push('/');
    encode(&mut out, &connection.database);
    out.push_str("?sslmode=");
    out.push_str(connection.ssl_mode.libpq_name());
    let root = connection.root_certificate.as_ref().map(|path| path.to_string_lossy());
    for (name, value) in [("sslrootcert", root.as_deref()), ("options", options)] {
        if let Some(value) = value {
            out.push('&');
            out.push_str(name);
            out.push('=');
            encode(&mut out, value);
        }
    }
    Secret::new(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::connection::{Host, SslMode};

    fn tcp(name: &str, port: u16) -> Host {
        Host { address: Address::Tcp(name.into()), port }
    }

    #[test]
    fn urls_are_read() {
        let read = ConnectionString::parse(
            "postgresql://us%65r:p%40ss%2F+w@db.example:6000/neo?sslmode=verify-full&sslrootcert=/etc/ca.pem\
             &application_name=nsl%20api&connect_timeout=3&options=-crole%3Dneo_readonly",
        )
        .unwrap();
        assert_eq!(read.hosts, [tcp("db.example", 6000)]);
        assert_eq!((read.username.as_deref(), read.database.as_str()), (Some("user"), "neo"));
        assert_eq!(read.password.as_ref().unwrap().expose(), "p@ss/+w");
        assert_eq!(read.ssl_mode, SslMode::VerifyFull);
        assert_eq!(read.root_certificate.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        assert_eq!(read.application_name.as_deref(), Some("nsl api"));
        assert_eq!(read.connect_timeout.unwrap().as_secs(), 3);
        assert_eq!(read.options.as_deref(), Some("-crole=neo_readonly"));
    }

    #[test]
    fn hosts_stand_in_the_authority_or_the_query() {
        let hosts = |text: &str| ConnectionString::parse(text).map(|read| read.hosts);
        let socket = |port| Host { address: Address::Socket("/run/pg".into()), port };
        assert_eq!(hosts("postgres:///d?host=/run/pg&port=7000"), Ok(vec![socket(7000)]));
        assert_eq!(hosts("postgres://u:p@/d?host=/run/pg"), Ok(vec![socket(5432)]));
        assert_eq!(hosts("postgres://u@%2Frun%2Fpg:7000/d"), Ok(vec![socket(7000)]));
        assert_eq!(hosts("postgres://u@%2Frun%2Fpg/d"), Ok(vec![socket(5432)]));
        assert_eq!(hosts("POSTGRES://u@a"), Ok(vec![tcp("a", 5432)]));
        let three = vec![tcp("a", 5432), tcp("b", 6000), tcp("::1", 6001)];
        assert_eq!(hosts("postgres://u@a,b:6000,[::1]:6001/d"), Ok(three));
        for text in ["postgres://u@/d", "postgres://u@a/d?host=b", "postgres://u@%2Frun:x/d"] {
            assert!(hosts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_parameter_and_a_bad_escape_are_refused() {
        let refusal = |text: &str| ConnectionString::parse(text).err().unwrap().to_string();
        assert!(refusal("postgres://u@a/d?gssencmode=disable").contains("gssencmode"));
        assert!(refusal("postgres://u@a/d?sslmode").contains("parameter"));
        for text in
            ["postgres://u:1?hunter2@a/d", "postgres://u:1?hunter2=x@a/d", "postgres://u:hunter2?@a/d"]
        {
            assert!(!refusal(text).contains("hunter2"), "{text}");
        }
        for text in
            ["postgres://u:%@a/d", "postgres://u:%4@a/d", "postgres://u:%ff@a/d", "postgres://u:%00@a/d"]
        {
            assert!(refusal(text).contains('%'), "{text}");
        }
    }

    #[test]
    fn a_url_is_written_for_a_role() {
        let read =
            ConnectionString::parse("Host=db;Database=neo;Username=x;Password=y;SSL Mode=Require").unwrap();
        let password = Secret::new("p@ss/w d".to_owned());
        let url = read.to_url("neo_api", Some(&password), None);
        assert_eq!(url.expose(), "postgres://neo_api:p%40ss%2Fw%20d@db:5432/neo?sslmode=require");
        let url = read.to_url("postgres", None, Some("-crole=neo_readonly"));
        assert_eq!(
            url.expose(),
            "postgres://postgres@db:5432/neo?sslmode=require&options=-crole%3Dneo_readonly"
        );
    }

    proptest! {
        #[test]
        fn a_written_url_reads_back(
            user in "[^\u{0}]{1,12}", password in "[^\u{0}]{1,20}", database in "[^\u{0}]{1,12}",
            hosts in prop::collection::vec(
                ("[a-z][a-z0-9.-]{0,9}|::1|fe80::1|/[a-z:,/ é%]{1,12}", 1..=u16::MAX),
                1..4,
            ),
            options in prop::option::of("[^\u{0}]{1,12}"), verify in any::<bool>(),
        ) {
            let hosts: Vec<Host> = hosts
                .into_iter()
                .map(|(name, port)| Host {
                    address: if name.starts_with('/') { Address::Socket(name.into()) } else { Address::Tcp(name) },
                    port,
                })
                .collect();
            let mut given = ConnectionString::parse("Host=a;Database=d").unwrap();
            given.hosts.clone_from(&hosts);
            given.database.clone_from(&database);
            if verify {
                given.ssl_mode = SslMode::VerifyFull;
                given.root_certificate = Some("/etc/ca bundle.pem".into());
            }
            let url = given.to_url(&user, Some(&Secret::new(password.clone())), options.as_deref());
            let read = ConnectionString::parse(url.expose()).unwrap();
            prop_assert_eq!(read.hosts, hosts);
            prop_assert_eq!(read.database, database);
            prop_assert_eq!(read.username, Some(user));
            let read_password = read.password.unwrap();
            prop_assert_eq!(read_password.expose(), password);
            prop_assert_eq!(read.options, options);
            prop_assert_eq!(read.ssl_mode, given.ssl_mode);
            prop_assert_eq!(read.root_certificate, given.root_certificate);
        }

        #[test]
        fn no_url_makes_the_parser_panic(text in any::<String>(), tail in "[a-z%2F:/@?&=,\\[\\]é]{0,40}") {
            for text in [&text, &tail] {
                let _ = ConnectionString::parse(&format!("postgres://{text}"));
            }
        }
    }
}
