//! `nsl sgx rotate …` and `nsl sgx keys`.

use anyhow::bail;
use clap::ValueEnum;
use nsl_client::{NewRotation, Rotation};
use serde_json::{Value, json};

use super::{Globals, output, session, statement, wait};

/// Replace the tenant's sealing key, or as the operator the root key.
///
/// Values stay where they are and can be read and written meanwhile: their data keys are wrapped anew. Waits for the end,
/// then prints the signed statement that nothing is left under the old key, and verifies its signature.
#[derive(clap::Args)]
#[command(after_help = session::HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[arg(long, value_enum, default_value_t = Scope::Tenant)]
    scope: Scope,
    /// Seal the values themselves anew too, under data keys of their own.
    #[arg(long)]
    reseal: bool,
    /// Why, for the audit log.
    #[arg(long)]
    reason: Option<String>,
    /// Begin the rotation, and do not wait for its end.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    signer: statement::Signer,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Which key is replaced.
#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    /// The sealing key of the tenant.
    Tenant,
    /// The root key of the installation.
    Root,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Root => "root",
        }
    }
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the rotations.
    List,
    /// Show a rotation, and the statement at its end.
    Show(ShowArgs),
}

#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct ShowArgs {
    /// Its id, as `nsl sgx rotate list` shows it.
    id: String,
    /// Wait for its end first.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    signer: statement::Signer,
}

/// List the tenant's sealing keys.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct KeysArgs {}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let (rotation, waits, signer) = match args.command {
        Some(Command::List) => return list(session, globals).await,
        Some(Command::Show(ShowArgs { id, wait, signer })) => {
            (session.call(async |client| client.sgx().rotation(&id).await).await?, wait, signer)
        }
        None => {
            let new = NewRotation {
                scope: Some(args.scope.word().to_owned()),
                reason: args.reason,
                reseal: args.reseal,
            };
            let begun = session.call(async |client| client.sgx().rotate(&new).await).await?;
            (begun, !args.no_wait, args.signer)
        }
    };
    let rotation = if waits { wait::to_its_end(&mut session, rotation, globals).await? } else { rotation };
    show(&mut session, &rotation, &signer, globals).await
}

async fn show(
    session: &mut session::Session,
    rotation: &Rotation,
    signer: &statement::Signer,
    globals: &Globals,
) -> anyhow::Result<()> {
    let proven = if rotation.state == "completed" {
        Some(statement::proven(session, &rotation.id, signer).await?)
    } else {
        None
    };
    if globals.json {
        let mut shown = serde_json::to_value(rotation)?;
        if let (Some(proven), Value::Object(fields)) = (&proven, &mut shown) {
            fields.insert("statement".to_owned(), json!(proven.note));
            fields.insert("verifiedBy".to_owned(), json!(proven.key.to_string()));
        }
        output::json(&shown)?;
    } else {
        let Rotation { id, kind, from, to, done, total, state, .. } = rotation;
        output::line(&format!("Rotation {id} ({kind}, {from} to {to}): {state}, {done} of {total}"))?;
        if let Some(proven) = &proven {
            output::bytes(format!("\n{}", proven.note).as_bytes())?;
            proven.say();
        }
    }
    if rotation.state == "failed" {
        bail!(
            "the rotation did not come to its end: {}; both keys stay in use until another one does",
            rotation.failure.as_deref().unwrap_or("no reason is known")
        );
    }
    Ok(())
}

async fn list(mut session: session::Session, globals: &Globals) -> anyhow::Result<()> {
    let rotations = session.call(async |client| client.sgx().rotations().await).await?;
    if globals.json {
        return output::json(&rotations);
    }
    let rows: Vec<Vec<String>> = rotations
        .into_iter()
        .map(|rotation| {
            vec![
                rotation.id,
                rotation.kind,
                rotation.state,
                rotation.from,
                rotation.to,
                format!("{} of {}", rotation.done, rotation.total),
                output::time(Some(rotation.started_at)),
                output::time(rotation.finished_at),
            ]
        })
        .collect();
    output::table(&["ID", "KIND", "STATE", "FROM", "TO", "DONE", "STARTED", "ENDED"], &rows)
}

pub(super) async fn run_keys(_args: KeysArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let keys = session.call(async |client| client.sgx().sealing_keys().await).await?;
    if globals.json {
        return output::json(&keys);
    }
    let rows: Vec<Vec<String>> = keys
        .items
        .into_iter()
        .map(|key| {
            vec![
                key.version.to_string(),
                key.state,
                key.rows.to_string(),
                output::time(Some(key.created_at)),
                output::time(key.retired_at),
            ]
        })
        .collect();
    output::table(&["VERSION", "STATE", "VALUES", "CREATED", "RETIRED"], &rows)?;
    output::note(&format!("Statements are signed with {}", keys.statement_key));
    Ok(())
}
