//! `nsl sgx attest …`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_client::{Attestation, AttestationPolicy, VerifyQuote};
use nsl_core::config::fresh;
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
    /// For a quote of a service such as this: the nonce that it was asked with.
    #[arg(long, value_name = "BASE64", conflicts_with = "report_data")]
    nonce: Option<String>,
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
    /// A weakness that is not good enough, such as INTEL-SA-00289; can be given again.
    #[arg(long = "reject-advisory", value_name = "ID")]
    rejected_advisories: Vec<String>,
}

/// Ask the service for a quote of its own enclave. In simulation there is none.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct QuoteArgs {
    /// What the quote answers to: 16 to 64 bytes that nobody could know before [default: made here].
    #[arg(long, value_name = "BASE64")]
    nonce: Option<String>,
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
        rejected_advisories: args.rejected_advisories,
        ..AttestationPolicy::default()
    };
    let asked = VerifyQuote {
        quote: base64(&args.quote)?,
        collateral,
        report_data: args.report_data,
        nonce: args.nonce,
        policy,
    };
    let mut session = session::open(globals).await?;
    let verdict = session.call(async |client| client.sgx().verify_quote(&asked).await).await?;
    tell(&verdict, globals)?;
    if !verdict.accepted {
        let reasons: Vec<&str> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
        bail!("the quote is not accepted: {}", reasons.join(", "));
    }
    Ok(())
}

async fn show(args: &ShowArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let verdict = session.call(async |client| client.sgx().attestation(&args.id).await).await?;
    tell(&verdict, globals)
}

async fn quote(args: QuoteArgs, globals: &Globals) -> anyhow::Result<()> {
    let nonce = match args.nonce {
        Some(nonce) => nonce,
        None => fresh()?.expose().to_owned(),
    };
    let mut session = session::open(globals).await?;
    let own = session.call(async |client| client.sgx().own_quote(&nonce).await).await?;
    if let (Some(path), Some(quote)) = (&args.output, &own.quote) {
        let bytes = STANDARD.decode(quote).context("the service answered a quote that is not base64")?;
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if globals.json {
        let mut shown = serde_json::to_value(&own)?;
        shown["nonce"] = Value::String(nonce);
        return output::json(&shown);
    }
    let Some(quote) = own.quote else { bail!("there is no quote in {} mode. {}", own.mode, own.statement) };
    if args.output.is_none() {
        output::line(&quote)?;
    }
    output::note(&own.statement);
    output::note(&format!("Verify it with `nsl sgx attest verify FILE --nonce {nonce} --mr-enclave …`."));
    Ok(())
}

fn tell(verdict: &Attestation, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(verdict);
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut fields = vec![
        ("attestation", verdict.id.clone()),
        ("verdict", if verdict.accepted { "accepted" } else { "not accepted" }.to_owned()),
        ("kind", verdict.tee.clone()),
        ("platform", or_dash(&verdict.tcb_status)),
        ("advisories", verdict.advisory_ids.join(" ")),
        ("collateral", verdict.collateral.clone()),
        ("verified", output::time(Some(verdict.verified_at))),
        ("expires", output::time(Some(verdict.expires_at))),
        ("report data", or_dash(&verdict.report_data)),
    ];
    for (name, value) in verdict.measurements.iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        fields.push((name, text));
    }
    for reason in &verdict.reasons {
        fields.push(("reason", format!("{}: {}", reason.code, reason.detail)));
    }
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
