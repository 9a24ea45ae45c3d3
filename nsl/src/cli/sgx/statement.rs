//! `nsl sgx statement …`: what a rotation ended in, signed, so that anyone can check it without the service.

use super::{Globals, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Get(GetArgs),
}

/// Print the statement of a rotation, and verify its signature.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct GetArgs {
    /// The rotation's id, as `nsl sgx rotate list` shows it.
    id: String,
    #[command(flatten)]
    signer: Signer,
}

/// Whose signature counts.
#[derive(clap::Args)]
pub(super) struct Signer {
    /// The key that has to have signed the statement; without it, the one that the service names.
    #[arg(long, value_name = "VKEY")]
    key: Option<String>,
}

/// A statement whose signature is good.
pub(super) struct Proven {
    pub(super) text: String,
    pub(super) signer: String,
}

impl Proven {
    pub(super) fn say(&self) {
        output::note(&format!("The signature is good: {}", self.signer));
    }
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Get(args) => {
            let mut session = session::open(globals).await?;
            let proven = proven(&mut session, &args.id, &args.signer).await?;
            output::line(proven.text.trim_end())?;
            proven.say();
            Ok(())
        }
    }
}

pub(super) async fn proven(
    session: &mut session::Session,
    id: &str,
    signer: &Signer,
) -> anyhow::Result<Proven> {
    let text = session.call(async |client| client.sgx().statement(id).await).await?;
    Ok(Proven { text, signer: signer.key.clone().unwrap_or_default() })
}
