//! `nsl auth api-keys …`.

use jiff::Timestamp;
use nsl_client::NewApiKey;
use serde_json::json;

use super::{Globals, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    List(ListArgs),
    Create(CreateArgs),
    Rotate(KeyArgs),
    Revoke(KeyArgs),
}

/// List API keys: one's own, or those of everybody in the tenant.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct ListArgs {
    #[arg(long)]
    all: bool,
}

/// Make an API key, and print it this once.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct CreateArgs {
    name: String,
    /// What it permits, of what one may oneself; can be given again.
    #[arg(long = "permission", value_name = "PERMISSION", required = true)]
    permissions: Vec<String>,
    /// Until when it is good, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// Replace (`rotate`) or end (`revoke`) an API key.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct KeyArgs {
    /// Its id, as `nsl auth api-keys list` shows it.
    id: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(&args, globals).await,
        Command::Create(args) => create(args, globals).await,
        Command::Rotate(args) => rotate(args, globals).await,
        Command::Revoke(args) => revoke(args, globals).await,
    }
}

async fn list(args: &ListArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let keys = session.call(async |client| client.auth().api_keys(args.all).await).await?;
    if globals.json {
        return output::json(&keys);
    }
    let rows: Vec<Vec<String>> = keys
        .into_iter()
        .map(|key| {
            let state = if key.revoked_at.is_some() { "revoked" } else { "good" };
            vec![
                key.name,
                key.prefix,
                state.to_owned(),
                key.permissions.join(" "),
                output::time(key.expires_at),
                output::time(key.last_used_at),
                key.id,
            ]
        })
        .collect();
    output::table(&["NAME", "BEGINS", "STATE", "PERMISSIONS", "EXPIRES", "LAST USED", "ID"], &rows)
}

async fn create(args: CreateArgs, globals: &Globals) -> anyhow::Result<()> {
    let CreateArgs { name, permissions, expires_at } = args;
    let mut session = session::open(globals).await?;
    let made = session
        .call(async |client| client.auth().create_api_key(&name, &permissions, expires_at).await)
        .await?;
    show(&made, globals)
}

async fn rotate(args: KeyArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let made = session.call(async |client| client.auth().rotate_api_key(&args.id).await).await?;
    show(&made, globals)
}

/// The key alone goes to stdout, so that a pipe gets just that.
fn show(made: &NewApiKey, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        let mut shown = serde_json::to_value(&made.info)?;
        shown["key"] = json!(made.key.expose());
        return output::json(&shown);
    }
    output::note(&format!("The API key {}, which is not shown again:", made.info.name));
    output::line(made.key.expose())
}

async fn revoke(args: KeyArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.auth().revoke_api_key(&args.id).await).await?;
    if globals.json {
        return output::json(&json!({ "id": args.id, "revoked": true }));
    }
    output::line(&format!("Revoked the API key {}.", args.id))
}
