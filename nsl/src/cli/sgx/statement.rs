//! `nsl sgx statement …`: what a rotation ended in, signed, so that anyone can check it without the service.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nsl_crypto::note::VerifierKey;
use serde_json::json;

use super::{Globals, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Get(GetArgs),
    Verify(VerifyArgs),
}

/// Print the statement of a rotation as it was signed, and verify its signature.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct GetArgs {
    /// The rotation's id, as `nsl sgx rotate list` shows it.
    id: String,
    #[command(flatten)]
    signer: Signer,
}

/// Verify a statement, without a service.
///
/// A statement is a C2SP signed note; exits with 1 where its key did not sign it as it is.
#[derive(clap::Args)]
pub(super) struct VerifyArgs {
    /// The statement, as `nsl sgx statement get` prints it; `-` for stdin.
    file: PathBuf,
    /// The key that has to have signed it, as `nsl sgx keys` shows it.
    #[arg(long, value_name = "VKEY", value_parser = key)]
    key: VerifierKey,
}

/// Whose signature counts.
#[derive(clap::Args)]
pub(super) struct Signer {
    /// The key that has to have signed the statement. Without it the one that the service names now is taken, which a
    /// service that is not what it should be can choose: keep it from before.
    #[arg(long, value_name = "VKEY", value_parser = key)]
    key: Option<VerifierKey>,
}

/// A statement whose signature is good.
pub(super) struct Proven {
    /// With its signature.
    pub(super) note: String,
    pub(super) key: VerifierKey,
}

impl Proven {
    fn new(note: String, key: VerifierKey) -> anyhow::Result<Self> {
        key.open(&note).context("the statement is not to be trusted")?;
        Ok(Self { note, key })
    }

    /// On stderr, beside the statement.
    pub(super) fn say(&self) {
        output::note(&format!("The signature is good, of {}", self.key));
    }
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    let (proven, printed) = match command {
        Command::Get(args) => {
            let mut session = session::open(globals).await?;
            (proven(&mut session, &args.id, &args.signer).await?, true)
        }
        Command::Verify(args) => (Proven::new(read(&args.file)?, args.key)?, false),
    };
    if globals.json {
        return output::json(&json!({ "statement": proven.note, "verifiedBy": proven.key.to_string() }));
    }
    // Byte for byte: it is what was signed. One that lies here already is shown without its signature.
    let text = if printed { &proven.note } else { proven.key.open(&proven.note)? };
    output::bytes(text.as_bytes())?;
    proven.say();
    Ok(())
}

/// The statement of a rotation, verified.
pub(super) async fn proven(
    session: &mut session::Session,
    id: &str,
    signer: &Signer,
) -> anyhow::Result<Proven> {
    let note = session.call(async |client| client.sgx().statement(id).await).await?;
    let key = match &signer.key {
        Some(key) => key.clone(),
        None => {
            let keys = session.call(async |client| client.sgx().sealing_keys().await).await?;
            VerifierKey::parse(&keys.statement_key).context("the service names no key of its statements")?
        }
    };
    Proven::new(note, key)
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read the statement from stdin")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read the statement from {}", path.display()))
}

/// `--key`.
fn key(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text.trim()).map_err(|error| error.to_string())
}
