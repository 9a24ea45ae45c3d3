//! `nsl sgx slots …`. For the operator of the installation.

use std::path::PathBuf;

use nsl_client::Slot;

use super::{Globals, confirm, output, secret, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the keys that open the root key.
    List,
    Add(AddArgs),
    Test(SlotArgs),
    Retire(RetireArgs),
}

/// Let another key open the root key: 32 bytes in base64 or hex, such as `nsl secrets` prints.
///
/// The key is read from stdin or a file, and asked for on a terminal. The service does not keep it: start it with the key
/// as SGX_ENCRYPTION_KEY from then on, and retire the slot of the old one.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct AddArgs {
    /// Take the key from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the slot is for, to be shown in lists.
    #[arg(long)]
    label: Option<String>,
}

/// Open a slot with the keys that the service has.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct SlotArgs {
    /// Its id, as `nsl sgx slots list` shows it.
    id: String,
}

/// Wipe a slot: its key opens the root no more. The last one that opens is refused.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RetireArgs {
    /// Its id, as `nsl sgx slots list` shows it.
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
                slot.root_key_id,
                output::time(Some(slot.created_at)),
                output::time(slot.tested_at),
                slot.label.unwrap_or_default(),
            ]
        })
        .collect();
    output::table(&["ID", "KIND", "STATE", "OPENED BY", "ROOT", "CREATED", "TESTED", "LABEL"], &rows)
}

async fn add(args: AddArgs, globals: &Globals) -> anyhow::Result<()> {
    let key = secret("new key", args.file.as_deref())?;
    let mut session = session::open(globals).await?;
    let slot = session.call(async |client| client.sgx().add_slot(&key, args.label.as_deref()).await).await?;
    show("Added", &slot, globals)
}

async fn test(args: SlotArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let slot = session.call(async |client| client.sgx().test_slot(&args.id).await).await?;
    show("Opened", &slot, globals)
}

async fn retire(args: RetireArgs, globals: &Globals) -> anyhow::Result<()> {
    confirm(&format!("This wipes slot {}; its key opens nothing here any more.", args.id), args.yes)?;
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
