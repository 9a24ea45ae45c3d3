//! The Npgsql form: `Key=value;Key=value` with the quoting of ADO.NET's connection strings. A value that begins
//! with `"` or `'` runs to the same sign, doubled where it is part of the value; any other ends at `;`.

use zeroize::Zeroizing;

use super::settings::{Key, Settings, port};
use super::{Address, ConnectionStringError, Host};

pub(super) fn read(text: &str) -> Result<Settings, ConnectionStringError> {
    let mut settings = Settings::default();
    let mut rest = text;
    for part in 1.. {
        rest = rest.trim_start_matches(|c: char| c == ';' || c.is_whitespace());
        if rest.is_empty() {
            break;
        }
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.strip_prefix('=').ok_or(ConnectionStringError::NoKey { part })?;
        let key = Key::from_npgsql(name.trim()).ok_or_else(|| unknown(name.trim(), part))?;
        let (value, after) = read_value(key, after.trim_start())?;
        rest = after;
        if value.is_empty() {
            continue; // ADO.NET: as if the key were not there
        }
        if key == Key::Host {
            settings.set_hosts(split_hosts(&value)?)?;
        } else {
            settings.set(key, value)?;
        }
    }
    Ok(settings)
}

/// A name is shown only if it looks like one: after a `;` in an unquoted password stands a part of the password.
fn unknown(name: &str, part: usize) -> ConnectionStringError {
    let is_name = (2..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    let known = Key::npgsql_names();
    if is_name {
        ConnectionStringError::UnknownKey { key: name.to_owned(), known }
    } else {
        ConnectionStringError::UnknownPart { part, known }
    }
}

fn read_value(key: Key, text: &str) -> Result<(Zeroizing<String>, &str), ConnectionStringError> {
    let wrong = || ConnectionStringError::Quoting { key: key.name().to_owned() };
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let (value, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        let value = value.trim_end();
        let stray = value.starts_with('=') // would be an escaped sign of the key
            || value.ends_with(['"', '\''])
            || value.contains(|c: char| c.is_control() && !c.is_whitespace());
        return if stray { Err(wrong()) } else { Ok((Zeroizing::new(value.to_owned()), after)) };
    };
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = &text[1..];
    loop {
        let (before, after) = rest.split_once(quote).ok_or_else(wrong)?;
        value.push_str(before);
        let Some(doubled) = after.strip_prefix(quote) else {
            rest = after.trim_start();
            break;
        };
        value.push(quote);
        rest = doubled;
    }
    if (rest.is_empty() || rest.starts_with(';')) && !value.contains('\0') {
        Ok((value, rest))
    } else {
        Err(wrong())
    }
}

/// Hosts separated by commas.
pub(super) fn split_hosts(text: &str) -> Result<Vec<(Address, Option<u16>)>, ConnectionStringError> {
    text.split(',').map(|host| split_host(host.trim())).collect()
}

/// `host`, `host:port`, `[::1]:port`, a bare IPv6 address or a socket's directory.
pub(super) fn split_host(text: &str) -> Result<(Address, Option<u16>), ConnectionStringError> {
    if text.starts_with('/') {
        return Ok((Address::Socket(text.into()), None));
    }
    let (name, after) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']').unwrap_or_default(),
        None => {
            text.split_at(text.find(':').filter(|_| text.matches(':').count() == 1).unwrap_or(text.len()))
        }
    };
    let own_port = match after.strip_prefix(':') {
        Some(digits) => port(digits).map(Some),
        None => after.is_empty().then_some(None),
    };
    let is_name = !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c));
    match own_port {
        Some(own_port) if is_name => Ok((Address::Tcp(name.to_owned()), own_port)),
        _ => Err(ConnectionStringError::Value {
            key: Key::Host.name(),
            expected: "names, host:port, [IPv6]:port or a socket's directory, separated by commas",
        }),
    }
}

/// A host for people.
pub(super) fn host_text(host: &Host) -> String {
    match &host.address {
        Address::Socket(path) => path.display().to_string(),
        Address::Tcp(name) if name.contains(':') => format!("[{name}]:{}", host.port),
        Address::Tcp(name) => format!("{name}:{}", host.port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::connection::{ConnectionString, SslMode};

    fn password(value: &str) -> Result<String, ConnectionStringError> {
        let text = format!("Host=a;Database=d;Password={value};Application Name=end");
        let read = ConnectionString::parse(&text)?;
        assert_eq!(read.application_name.as_deref(), Some("end"));
        Ok(read.password.map(|password| password.expose().to_owned()).unwrap_or_default())
    }

    #[test]
    fn values_are_quoted_as_in_ado_net() {
        for (written, meant) in [
            ("plain", "plain"),
            ("  spaced out  ", "spaced out"),
            ("a=b==", "a=b=="),
            ("it's", "it's"),
            ("'a;b'", "a;b"),
            ("\"a;b\"", "a;b"),
            ("'it''s'", "it's"),
            ("\"say \"\"hi\"\"\"", "say \"hi\""),
            ("\"it's\"  ", "it's"),
            ("' kept '", " kept "),
            ("''", ""),
            ("", ""),
        ] {
            assert_eq!(password(written).as_deref(), Ok(meant), "{written}");
        }
        for written in ["'open", "\"a\"b", "'a'b'", "=abc", "tail'", "\"\"\"", "a\u{0}b", "'a\u{0}b'"] {
            assert!(matches!(password(written), Err(ConnectionStringError::Quoting { .. })), "{written}");
        }
    }

    #[test]
    fn keys_match_without_case_and_spaces() {
        let text =
            "SERVER = a ; db=d;;User Id=u; PWD=p;sslmode=verify-full;MinPoolSize=2;maximum pool size=9; ;";
        let read = ConnectionString::parse(text).unwrap();
        assert_eq!((read.database.as_str(), read.username.as_deref()), ("d", Some("u")));
        assert_eq!((read.ssl_mode, read.min_pool_size), (SslMode::VerifyFull, Some(2)));
        assert_eq!(read.max_pool_size.unwrap().get(), 9);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_with_the_known_ones() {
        let refusal =
            ConnectionString::parse("Host=a;Database=d;Multiplexing=true").err().unwrap().to_string();
        assert!(
            refusal.contains("Multiplexing is not a key") && refusal.contains("Command Timeout"),
            "{refusal}"
        );
        let refusal = ConnectionString::parse("Host=a;Password=ab;c3=d").err().unwrap().to_string();
        assert!(refusal.contains("part 3") && !refusal.contains("c3"), "{refusal}");
    }

    #[test]
    fn hosts_are_names_addresses_and_sockets() {
        let read =
            ConnectionString::parse("Host=a, b:6000,[::1]:6001,fe80::1,/run/pg:x;Port=7000;Database=d")
                .unwrap();
        let shown: Vec<String> = read.hosts.iter().map(host_text).collect();
        assert_eq!(shown, ["a:7000", "b:6000", "[::1]:6001", "[fe80::1]:7000", "/run/pg:x"]);
        assert_eq!(read.hosts[4].port, 7000);
        for hosts in ["a,,b", "a:0", "a:70000", "a:", "[::1", "[]:1", "[::1]x", "a b", "u@a"] {
            assert!(ConnectionString::parse(&format!("Host={hosts};Database=d")).is_err(), "{hosts}");
        }
    }

    fn quoted(text: &str, quote: char) -> String {
        let doubled: String = [quote, quote].iter().collect();
        format!("{quote}{}{quote}", text.replace(quote, &doubled))
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(
            password in "[^\u{0}]{1,20}", name in "[^\u{0}]{1,20}", single in any::<bool>(), port in 1..=u16::MAX,
            timeout in 1..100_000_u32,
        ) {
            let quote = if single { '\'' } else { '"' };
            let text = format!(
                "Password={};Port={port};Application Name={};Host=db;Database=d;Timeout={timeout}",
                quoted(&password, quote),
                quoted(&name, quote),
            );
            let read = ConnectionString::parse(&text).unwrap();
            let read_password = read.password.unwrap();
            prop_assert_eq!(read_password.expose(), password);
            prop_assert_eq!(read.application_name.unwrap(), name);
            prop_assert_eq!(read.hosts[0].port, port);
            prop_assert_eq!(read.connect_timeout.unwrap().as_secs(), u64::from(timeout));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>(), tail in "[;='\" a-zé:,\\[\\]/%@?]{0,40}") {
            for text in [&text, &tail, &format!("Host={text}"), &format!("Password={tail};Host={tail};{text}")] {
                let _ = ConnectionString::parse(text);
            }
        }
    }
}
