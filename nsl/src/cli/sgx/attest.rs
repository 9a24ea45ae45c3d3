//! `nsl sgx attest …`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_client::{Attestation, AttestationPolicy, VerifyQuote};
use serde_json::Value;

use super::{Globals, describe, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Verify(VerifyArgs),
    Quote(QuoteArgs),
    Show(ShowArgs),
}

/// Have a quote judged: signed by Intel's chain, on a platform that is good enough, of the enclave that is meant.
///
/// Exits with 1 where it is not accepted. An accepted one has an id that `nsl sgx get --attestation` takes until it
/// expires.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct VerifyArgs {
    /// The quote, as bytes or as base64; `-` for stdin.
    #[arg(value_name = "FILE")]
    quote: PathBuf,
    /// What Intel says about the platform (JSON); without it the service asks its own source.
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// What the quote has to carry as report data.
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// An enclave that is good; can be given again.
    #[arg(long = "mr-enclave", value_name = "HEX")]
    mr_enclave: Vec<String>,
    /// A signer of enclaves that is good; can be given again.
    #[arg(long = "mr-signer", value_name = "HEX")]
    mr_signer: Vec<String>,
    /// A trust domain (TDX) that is good; can be given again.
    #[arg(long = "mr-td", value_name = "HEX")]
    mr_td: Vec<String>,
    #[arg(long, value_name = "N")]
    isv_prod_id: Option<u16>,
    /// The lowest security version.
    #[arg(long, value_name = "N")]
    min_isv_svn: Option<u16>,
    /// A state of the platform that is good enough [default: UpToDate]; can be given again.
    #[arg(long = "tcb-status", value_name = "STATUS")]
    tcb_status: Vec<String>,
}

/// Ask the service for a quote of its own enclave. In simulation there is none.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct QuoteArgs {
    /// What the quote answers to: bytes that nobody could know before.
    #[arg(long, value_name = "BASE64")]
    nonce: String,
    /// Write the quote to a file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Show a verdict.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct ShowArgs {
    id: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Verify(args) => verify(args, globals).await,
        Command::Quote(args) => quote(args, globals).await,
        Command::Show(args) => show(&args, globals).await,
    }
}

async fn verify(args: VerifyArgs, globals: &Globals) -> anyhow::Result<()> {
    let collateral = args.collateral.as_deref().map(collateral).transpose()?;
    let policy = AttestationPolicy {
        mr_enclave: args.mr_enclave,
        mr_signer: args.mr_signer,
        isv_prod_id: args.isv_prod_id,
        min_isv_svn: args.min_isv_svn,
        mr_td: args.mr_td,
        accepted_tcb_status: args.tcb_status,
    };
    let asked = VerifyQuote {
        quote: base64(&args.quote)?,
        collateral,
        report_data: args.report_data,
        policy: Some(policy).filter(|policy| *policy != AttestationPolicy::default()),
    };
    let mut session = session::open(globals).await?;
    let verdict = session.call(async |client| client.sgx().verify_quote(&asked).await).await?;
    tell(&verdict, globals)?;
    if !verdict.accepted {
        bail!("the quote is not accepted: {}", verdict.reasons.join("; "));
    }
    Ok(())
}

async fn show(args: &ShowArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let verdict = session.call(async |client| client.sgx().attestation(&args.id).await).await?;
    tell(&verdict, globals)
}

async fn quote(args: QuoteArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let own = session.call(async |client| client.sgx().own_quote(&args.nonce).await).await?;
    if let (Some(path), Some(quote)) = (&args.output, &own.quote) {
        let bytes = STANDARD.decode(quote).context("the service answered a quote that is not base64")?;
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if globals.json {
        return output::json(&own);
    }
    match own.quote {
        None => {
            bail!("the service runs in {} mode and has no quote: nothing proves what code it runs", own.mode)
        }
        Some(quote) if args.output.is_none() => output::line(&quote),
        Some(_) => output::line(&format!("A quote of the service, in {} mode", own.mode)),
    }
}

fn tell(verdict: &Attestation, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(verdict);
    }
    let mut fields = vec![
        ("attestation", verdict.id.clone()),
        ("verdict", if verdict.accepted { "accepted" } else { "not accepted" }.to_owned()),
        ("kind", verdict.tee.clone()),
        ("platform", verdict.tcb_status.clone().unwrap_or_else(|| "-".to_owned())),
        ("verified", output::time(Some(verdict.verified_at))),
        ("expires", output::time(Some(verdict.expires_at))),
    ];
    for (name, value) in &verdict.more {
        match value {
            Value::String(text) => fields.push((name, text.clone())),
            Value::Number(number) => fields.push((name, number.to_string())),
            Value::Array(items) if !items.is_empty() => {
                let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                fields.push((name, texts.join(" ")));
            }
            _ => {}
        }
    }
    fields.extend(verdict.reasons.iter().map(|reason| ("reason", reason.clone())));
    describe(&fields)
}

/// A quote of a file: bytes, or base64 of them, which no quote begins as.
fn base64(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the quote from {}", path.display());
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read the quote from stdin")?;
        bytes
    } else {
        fs::read(path).with_context(cannot)?
    };
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if STANDARD.decode(&text).is_ok()
        && let Ok(text) = String::from_utf8(text)
    {
        return Ok(text);
    }
    Ok(STANDARD.encode(bytes))
}

fn collateral(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read(path).with_context(|| format!("cannot read the collateral from {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}
