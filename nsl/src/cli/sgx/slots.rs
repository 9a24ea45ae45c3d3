//! `nsl sgx slots …`. For the operator of the installation.

use std::path::PathBuf;

use anyhow::ensure;
use clap::ValueEnum;
use nsl_client::Slot;

use super::{Globals, confirm, output, secret, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the keys that open the root key.
    List,
    Add(AddArgs),
    Test(TestArgs),
    Retire(RetireArgs),
}

/// Let a further key open the root key: 32 bytes in base64 or hex, such as `nsl secrets` prints.
///
/// The key is read from stdin or a file, and asked for on a terminal. The service does not keep it: start it with the key
/// as SGX_ENCRYPTION_KEY from then on, test the slot, and retire the one of the old key.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct AddArgs {
    /// Whose key it is.
    #[arg(long, value_enum, default_value_t = Kind::Configured)]
    kind: Kind,
    /// Take the key from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the slot is for, to be shown in lists.
    #[arg(long)]
    label: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A key that an operator keeps.
    Configured,
    /// That of the platform for every enclave of the signer.
    Mrsigner,
    /// That of the platform for this very enclave.
    Mrenclave,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Mrsigner => "mrsigner",
            Self::Mrenclave => "mrenclave",
        }
    }
}

/// Open a slot, to see that it would serve: with the keys that the service has, or with a given one.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct TestArgs {
    /// Its id, as `nsl sgx slots list` shows it.
    id: String,
    /// Try a key that is read from stdin, or asked for on a terminal.
    #[arg(long, conflicts_with = "file")]
    with_key: bool,
    /// Try the key of a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Take the slots of a key away: a service with that key alone does not start any more.
///
/// The last key that opens the root is refused.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RetireArgs {
    /// The slot's id, as `nsl sgx slots list` shows it.
    id: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::List => list(globals).await,
        Command::Add(args) => add(args, globals).await,
        Command::Test(args) => test(args, globals).await,
        Command::Retire(args) => retire(args, globals).await,
    }
}

async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let slots = session.call(async |client| client.sgx().slots().await).await?;
    if globals.json {
        return output::json(&slots);
    }
    let rows: Vec<Vec<String>> = slots
        .into_iter()
        .map(|slot| {
            vec![
                slot.id,
                slot.kind,
                slot.state,
                slot.opener_id,
                if slot.at_hand { "yes" } else { "no" }.to_owned(),
                format!("{} ({})", slot.root_key_id, slot.root_state),
                output::time(Some(slot.created_at)),
                output::time(slot.tested_at),
                slot.label.unwrap_or_default(),
            ]
        })
        .collect();
    output::table(
        &["ID", "KIND", "STATE", "OPENED BY", "AT HAND", "ROOT", "CREATED", "TESTED", "LABEL"],
        &rows,
    )
}

async fn add(args: AddArgs, globals: &Globals) -> anyhow::Result<()> {
    let AddArgs { kind, file, label } = args;
    ensure!(
        kind == Kind::Configured || file.is_none(),
        "the platform gives this key itself; leave out --file"
    );
    let key = match kind {
        Kind::Configured => Some(secret("new key", file.as_deref())?),
        Kind::Mrsigner | Kind::Mrenclave => None,
    };
    let mut session = session::open(globals).await?;
    let slot = session
        .call(async |client| client.sgx().add_slot(kind.word(), key.as_ref(), label.as_deref()).await)
        .await?;
    show("Added", &slot, globals)
}

async fn test(args: TestArgs, globals: &Globals) -> anyhow::Result<()> {
    let given = args.with_key || args.file.is_some();
    let key = given.then(|| secret("key", args.file.as_deref())).transpose()?;
    let mut session = session::open(globals).await?;
    let slot = session.call(async |client| client.sgx().test_slot(&args.id, key.as_ref()).await).await?;
    show("Opened", &slot, globals)
}

async fn retire(args: RetireArgs, globals: &Globals) -> anyhow::Result<()> {
    confirm(
        &format!("This wipes slot {}; a service with its key alone does not start any more.", args.id),
        args.yes,
    )?;
    let mut session = session::open(globals).await?;
    let slot = session.call(async |client| client.sgx().retire_slot(&args.id).await).await?;
    show("Retired", &slot, globals)
}

fn show(done: &str, slot: &Slot, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(slot);
    }
    output::line(&format!("{done} slot {} ({}), opened by key {}", slot.id, slot.kind, slot.opener_id))
}
