//! `nsl sgx …`: sealed items.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use nsl_client::{ItemInfo, PutOptions, Record};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Globals, output, session};

/// Keep values sealed: put, get, list, delete.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Put(Box<PutArgs>),
    Get(GetArgs),
    List(ListArgs),
    Delete(DeleteArgs),
}

/// Seal a value, read from stdin unless --file or --value is given.
///
/// Every byte is kept as it comes, a line end too: `printf %s` writes none, `echo` does.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct PutArgs {
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
    /// The sealing policy: MRSIGNER or MRENCLAVE.
    #[arg(long)]
    policy: Option<String>,
    /// How long it is kept, such as 90m, 24h, 7d or 1y.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<Span>,
    /// Until when it is kept, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// Print a value, byte for byte (with --json: the item, its value in base64).
///
/// A line end follows only on a terminal.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct GetArgs {
    service: String,
    key: String,
    /// Write it to a file, made with mode 0600.
    #[arg(long, value_name = "FILE", conflicts_with = "info")]
    output: Option<PathBuf>,
    /// Print what is known about it instead of its value.
    #[arg(long)]
    info: bool,
}

/// List items, of one service or of all.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct ListArgs {
    service: Option<String>,
    /// Only keys that begin with this.
    #[arg(long)]
    prefix: Option<String>,
}

/// Delete an item.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct DeleteArgs {
    service: String,
    key: String,
    /// Only at this version.
    #[arg(long, value_name = "N")]
    if_version: Option<i64>,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    match args.command {
        Command::Put(args) => put(*args, globals).await,
        Command::Get(args) => get(args, globals).await,
        Command::List(args) => list(args, globals).await,
        Command::Delete(args) => delete(args, globals).await,
    }
}

async fn put(args: PutArgs, globals: &Globals) -> anyhow::Result<()> {
    let expires_at = match &args.expires_in {
        Some(span) => Some(after(Timestamp::now(), *span)?),
        None => args.expires_at,
    };
    let bytes = value(args.value, args.file)?;
    let options = PutOptions {
        if_match: args.if_version,
        if_none_match: args.create_only,
        metadata: args.metadata,
        policy: args.policy,
        expires_at,
    };
    let mut session = session::open(globals).await?;
    let put = session
        .call(async |client| client.sgx().put(&args.service, &args.key, &bytes, &options).await)
        .await?;
    if globals.json {
        return output::json(&put.item);
    }
    let item = &put.item;
    let done = if put.created { "Created" } else { "Replaced" };
    let expiry =
        item.expires_at.map(|at| format!(", expires {}", output::time(Some(at)))).unwrap_or_default();
    let (version, size) = (item.version, output::size(item.size));
    output::line(&format!("{done} {}/{}: version {version}, {size}{expiry}", item.service, item.key))
}

async fn get(args: GetArgs, globals: &Globals) -> anyhow::Result<()> {
    if globals.json && args.output.is_some() {
        bail!(
            "--output writes the bytes themselves; leave out --json, or leave out --output and redirect the JSON"
        );
    }
    let mut session = session::open(globals).await?;
    if globals.json || args.info {
        let record = session.call(async |client| client.sgx().read(&args.service, &args.key).await).await?;
        return match (globals.json, args.info) {
            (true, true) => output::json(&record.info),
            (true, false) => output::json(&with_data(&record)?),
            (false, _) => describe(&record.info),
        };
    }
    let item = session.call(async |client| client.sgx().get(&args.service, &args.key).await).await?;
    let Some(path) = args.output else { return print(&item.bytes) };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(&item.bytes));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    let size = output::size(item.bytes.len() as u64);
    output::line(&format!("Wrote {}: version {}, {size}", path.display(), item.version))
}

async fn list(args: ListArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let (service, prefix) = (args.service.as_deref(), args.prefix.as_deref());
    let items = session
        .call(async |client| {
            let mut all = Vec::new();
            let mut items = client.sgx().items(service, prefix);
            while let Some(item) = items.next().await? {
                all.push(item);
            }
            Ok(all)
        })
        .await?;
    if globals.json {
        return output::json(&items);
    }
    if items.is_empty() {
        output::note("No items.");
        return Ok(());
    }
    let mut headings = vec!["KEY", "VERSION", "SIZE", "UPDATED", "EXPIRES", "POLICY"];
    if service.is_none() {
        headings.insert(0, "SERVICE");
    }
    let cells = |item: ItemInfo| {
        let mut cells = vec![
            item.key,
            item.version.to_string(),
            output::size(item.size),
            output::time(Some(item.updated_at)),
            output::time(item.expires_at),
            item.policy,
        ];
        if service.is_none() {
            cells.insert(0, item.service);
        }
        cells
    };
    output::table(&headings, &items.into_iter().map(cells).collect::<Vec<_>>())
}

async fn delete(args: DeleteArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.sgx().delete(&args.service, &args.key, args.if_version).await).await?;
    if globals.json {
        return output::json(&json!({ "service": args.service, "key": args.key, "deleted": true }));
    }
    output::line(&format!("Deleted {}/{}", args.service, args.key))
}

fn value(given: Option<String>, file: Option<PathBuf>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if let Some(text) = given {
        return Ok(Zeroizing::new(text.into_bytes()));
    }
    if let Some(path) = file {
        let read =
            fs::read(&path).with_context(|| format!("cannot read the value from {}", path.display()))?;
        return Ok(Zeroizing::new(read));
    }
    if io::stdin().is_terminal() {
        output::note("Type the value; Ctrl-D on a new line ends it.");
    }
    let mut bytes = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut bytes).context("cannot read the value from stdin")?;
    Ok(bytes)
}

/// Writes the value; on a terminal only text, since other bytes can steer it.
fn print(value: &[u8]) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        return output::bytes(value);
    }
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match std::str::from_utf8(value) {
        Ok(text) if is_text(text) => output::line(text),
        _ => bail!(
            "the value is not plain text ({}) and not for a terminal; --output FILE keeps it, a pipe passes it on",
            output::size(value.len() as u64)
        ),
    }
}

fn with_data(record: &Record) -> anyhow::Result<Value> {
    let mut item = serde_json::to_value(&record.info).context("cannot write the item as JSON")?;
    item["data"] = Value::String(STANDARD.encode(&record.bytes));
    Ok(item)
}

fn describe(item: &ItemInfo) -> anyhow::Result<()> {
    let mut lines = vec![
        ("service", item.service.clone()),
        ("key", item.key.clone()),
        ("version", item.version.to_string()),
        ("size", format!("{} bytes, {} sealed", item.size, item.sealed_size)),
        ("fingerprint", item.fingerprint.clone()),
        ("policy", item.policy.clone()),
        ("created", output::time(Some(item.created_at))),
        ("updated", output::time(Some(item.updated_at))),
        ("expires", output::time(item.expires_at)),
    ];
    if let Some(metadata) = &item.metadata {
        lines.push(("metadata", metadata.to_string()));
    }
    let lines: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    output::line(&lines.join("\n"))
}

/// `--metadata`.
fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it takes a JSON object, such as {\"owner\":\"ops\"}".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
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

    #[test]
    fn metadata_is_an_object() {
        assert_eq!(object(r#"{"a":1}"#).unwrap()["a"], 1);
        for text in ["", "[]", "1", "\"a\"", "{", "null"] {
            assert!(object(text).is_err(), "{text}");
        }
    }
}
