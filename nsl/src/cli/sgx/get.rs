//! `nsl sgx get`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nsl_client::{Download, GetOptions, Record};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Globals, output, session, stat};

/// What a terminal is shown at once; more is no text to be read there.
const ON_A_TERMINAL: usize = 1 << 20;

/// Print a value, byte for byte (with --json: the item, its value in base64).
///
/// A line end follows only on a terminal. A long value comes piece by piece, each checked before it is printed; where the
/// command fails, what it printed is not the value.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// A former version, as `nsl sgx history` lists them.
    #[arg(long, value_name = "N", conflicts_with = "info")]
    version: Option<i64>,
    /// An accepted attestation (`nsl sgx attest verify`), where the item's policy asks for one.
    #[arg(long, value_name = "ID", conflicts_with = "info")]
    attestation: Option<String>,
    /// Write it to a file, made with mode 0600.
    #[arg(long, value_name = "FILE", conflicts_with = "info")]
    output: Option<PathBuf>,
    /// Print what is known about it; its value is not read.
    #[arg(long)]
    info: bool,
    /// Print bytes that are no text on a terminal too.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    if globals.json && args.output.is_some() {
        bail!(
            "--output writes the bytes themselves; leave out --json, or leave out --output and redirect the JSON"
        );
    }
    if args.info {
        return stat::of_item(&args.service, &args.key, globals).await;
    }
    let options = GetOptions { version: args.version, attestation: args.attestation };
    let mut session = session::open(globals).await?;
    if globals.json {
        let record = session
            .call(async |client| client.sgx().read_with(&args.service, &args.key, &options).await)
            .await?;
        return output::json(&with_data(&record)?);
    }
    let mut value = session
        .call(async |client| client.sgx().get_stream(&args.service, &args.key, &options).await)
        .await?;
    match args.output {
        Some(path) => to_file(&mut value, &path).await,
        None if io::stdout().is_terminal() && !args.force => to_terminal(&mut value).await,
        None => {
            while let Some(piece) = next(&mut value).await? {
                output::bytes(&piece)?;
            }
            Ok(())
        }
    }
}

async fn next(value: &mut Download) -> anyhow::Result<Option<Bytes>> {
    value.chunk().await.context("the value broke off: what came of it is not the value")
}

/// The file appears when the value is whole: a part of one would be taken for it.
async fn to_file(value: &mut Download, path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    // A pipe or a device has no place beside it, and is to be written to as it is.
    let is_special = fs::metadata(path).is_ok_and(|known| !known.is_file());
    let mut size = 0;
    if is_special {
        let mut file = OpenOptions::new().write(true).open(path).with_context(cannot)?;
        size = write(value, &mut file, path).await?;
    } else {
        let name = path.file_name().with_context(cannot)?.to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.{}.nsl", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&beside).with_context(cannot)?;
        let whole = match write(value, &mut file, path).await {
            Ok(written) => {
                size = written;
                fs::rename(&beside, path).with_context(cannot)
            }
            Err(error) => Err(error),
        };
        if whole.is_err() {
            // Of no use, and what it holds is secret.
            let _gone = fs::remove_file(&beside);
        }
        whole?;
    }
    output::line(&format!("Wrote {}: version {}, {}", path.display(), value.version, output::size(size)))
}

async fn write(value: &mut Download, file: &mut File, path: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    while let Some(piece) = next(value).await? {
        file.write_all(&piece).with_context(|| format!("cannot write {}", path.display()))?;
        size += piece.len() as u64;
    }
    Ok(size)
}

/// Only text: other bytes can steer a terminal.
async fn to_terminal(value: &mut Download) -> anyhow::Result<()> {
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(piece) = next(value).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ON_A_TERMINAL {
            break;
        }
    }
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match std::str::from_utf8(&bytes) {
        Ok(text) if bytes.len() <= ON_A_TERMINAL && is_text(text) => output::line(text),
        _ => {
            let size = value.size.map(|size| format!(" ({})", output::size(size))).unwrap_or_default();
            bail!(
                "the value is no text for a terminal{size}; --output FILE keeps it, a pipe passes it on, --force prints it"
            )
        }
    }
}

fn with_data(record: &Record) -> anyhow::Result<Value> {
    let mut item = serde_json::to_value(&record.info).context("cannot write the item as JSON")?;
    item["data"] = Value::String(STANDARD.encode(&record.bytes));
    Ok(item)
}
