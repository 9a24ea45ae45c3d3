//! `nsl sgx put`.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use nsl_client::{Put, PutOptions};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::{Globals, object, output, say_done, session};

/// A value up to this is sent whole; a longer one goes piece by piece.
const WHOLE: u64 = 1 << 20;

/// Seal a value, read from stdin unless --file is given.
///
/// Every byte is kept as it comes, a line end too: `printf %s` writes none, `echo` does. A long value is sent piece by
/// piece, and never held whole.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    /// The service that the value belongs to, such as `billing`.
    service: String,
    /// Its key there; may hold slashes.
    key: String,
    /// The value itself, for trying: other users see it in the list of processes, and the shell keeps it in its history.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "file")]
    value: Option<String>,
    /// Take the value from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only over this version.
    #[arg(long, value_name = "N", conflicts_with = "create_only")]
    if_version: Option<i64>,
    /// Only where there is no such item.
    #[arg(long)]
    create_only: bool,
    /// A JSON object to find it by; not encrypted.
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Value>,
    /// The sealing policy: MRSIGNER, MRENCLAVE or one of `nsl sgx policies list`.
    #[arg(long)]
    policy: Option<String>,
    /// How long it is kept, such as 90m, 24h, 7d or 1y.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<Span>,
    /// Until when it is kept, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// What is to be sealed.
enum Source {
    Whole(Zeroizing<Vec<u8>>),
    /// Goes on after the bytes that were read; the length of all, where it is known.
    Long(Zeroizing<Vec<u8>>, Box<dyn AsyncRead + Send + Unpin>, Option<u64>),
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let expires_at = match &args.expires_in {
        Some(span) => Some(after(Timestamp::now(), *span)?),
        None => args.expires_at,
    };
    let source = source(args.value, args.file, globals.json).await?;
    let options = PutOptions {
        if_match: args.if_version,
        if_none_match: args.create_only,
        metadata: args.metadata,
        policy: args.policy,
        expires_at,
    };
    let mut session = session::open(globals).await?;
    let put = send(&mut session, &args.service, &args.key, source, &options).await?;
    if globals.json {
        return output::json(&put.item);
    }
    say_done(if put.created { "Created" } else { "Replaced" }, &put.item)
}

async fn send(
    session: &mut session::Session,
    service: &str,
    key: &str,
    source: Source,
    options: &PutOptions,
) -> anyhow::Result<Put> {
    ensure!(
        options.metadata.is_none() || matches!(source, Source::Whole(_)),
        "a value of more than {} takes no metadata; leave out --metadata, or keep the value in parts",
        output::size(WHOLE)
    );
    match source {
        Source::Whole(bytes) => {
            session.call(async |client| client.sgx().put(service, key, &bytes, options).await).await
        }
        Source::Long(begun, rest, length) => {
            let reader = io::Cursor::new(begun).chain(rest);
            session
                .once(async |client| client.sgx().put_stream(service, key, reader, length, options).await)
                .await
        }
    }
}

async fn source(value: Option<String>, file: Option<PathBuf>, json: bool) -> anyhow::Result<Source> {
    if let Some(text) = value {
        output::warn(
            "--value shows the value in the list of processes and keeps it in the shell's history; pipe it in instead",
            json,
        );
        return Ok(Source::Whole(Zeroizing::new(text.into_bytes())));
    }
    let Some(path) = file else {
        if io::stdin().is_terminal() {
            output::note("Type the value; Ctrl-D on a new line ends it.");
        }
        let unread = "cannot read the value from stdin";
        let input = io::stdin().as_fd().try_clone_to_owned().context(unread)?;
        return begin(File::from_std(input.into())).await.context(unread);
    };
    let unread = || format!("cannot read the value from {}", path.display());
    let file = File::open(&path).await.with_context(unread)?;
    let known = file.metadata().await.with_context(unread)?;
    if known.is_file() && known.len() > WHOLE {
        return Ok(Source::Long(Zeroizing::default(), Box::new(file), Some(known.len())));
    }
    begin(file).await.with_context(unread)
}

/// Reads on until it is known whether the value is a long one.
async fn begin(mut reader: impl AsyncRead + Send + Unpin + 'static) -> io::Result<Source> {
    let mut bytes = Zeroizing::new(Vec::new());
    (&mut reader).take(WHOLE + 1).read_to_end(&mut bytes).await?;
    Ok(if bytes.len() as u64 > WHOLE {
        Source::Long(bytes, Box::new(reader), None)
    } else {
        Source::Whole(bytes)
    })
}

/// `--expires-in`: the friendly form (`24h`, `1d 12h`) or ISO 8601 (`P1D`).
fn duration(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}; give one such as 24h or 7d"))?;
    if span.is_positive() { Ok(span) } else { Err("it takes a time ahead, such as 24h or 7d".to_owned()) }
}

/// A day has 24 hours here, since the calendar is UTC; months and years have their own lengths.
fn after(now: Timestamp, span: Span) -> anyhow::Result<Timestamp> {
    let then = now.to_zoned(TimeZone::UTC).checked_add(span);
    Ok(then
        .context("--expires-in goes beyond the last time that can be written; give a shorter one")?
        .timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let now: Timestamp = "2027-01-31T12:00:00Z".parse().unwrap();
        for (text, then) in [
            ("90m", "2027-01-31T13:30:00Z"),
            ("24h", "2027-02-01T12:00:00Z"),
            ("1d 12h", "2027-02-02T00:00:00Z"),
            ("2w", "2027-02-14T12:00:00Z"),
            ("1mo", "2027-02-28T12:00:00Z"),
            ("1y", "2028-01-31T12:00:00Z"),
            ("30 days", "2027-03-02T12:00:00Z"),
            ("P1D", "2027-02-01T12:00:00Z"),
        ] {
            let expected: Timestamp = then.parse().unwrap();
            assert_eq!(after(now, duration(text).unwrap()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn durations_that_are_none_are_refused() {
        for text in ["", "24", "h", "-1h", "0h", "1h ago", "soon", "1 fortnight"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(after(Timestamp::MAX, duration("1h").unwrap()).is_err());
    }

    #[tokio::test]
    async fn a_value_is_whole_up_to_the_bound_and_goes_on_after_it() {
        let bound = usize::try_from(WHOLE).unwrap();
        let kind = async |length: usize| begin(io::Cursor::new(vec![7; length])).await.unwrap();
        assert!(matches!(kind(0).await, Source::Whole(bytes) if bytes.is_empty()));
        assert!(matches!(kind(bound).await, Source::Whole(bytes) if bytes.len() == bound));
        let Source::Long(begun, mut rest, None) = kind(bound + 3).await else {
            panic!("taken for a whole one")
        };
        let mut further = Vec::new();
        rest.read_to_end(&mut further).await.unwrap();
        assert_eq!((begun.len(), further.len()), (bound + 1, 2));
    }
}
