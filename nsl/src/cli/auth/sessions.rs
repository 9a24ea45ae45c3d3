//! `nsl auth sessions` and `nsl auth session …`.

use nsl_client::SessionsOf;
use serde_json::json;

use super::{Globals, output, session, users};

/// List the logins that go on: one's own, or those of others.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct ListArgs {
    /// Those of a user of the tenant, by name or id.
    #[arg(long, value_name = "USER", conflicts_with = "all")]
    user: Option<String>,
    /// Those of everybody in the tenant.
    #[arg(long)]
    all: bool,
}

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Revoke(RevokeArgs),
}

/// End sessions; their tokens end within a second.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
#[group(required = true, multiple = false)]
pub(super) struct RevokeArgs {
    /// The session's id, as `nsl auth sessions` shows it.
    id: Option<String>,
    /// All of one's own.
    #[arg(long)]
    all: bool,
    /// All of one's own but that of this command.
    #[arg(long)]
    others: bool,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Revoke(args) => revoke(args, globals).await,
    }
}

pub(super) async fn list(args: ListArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let user = match &args.user {
        Some(user) => Some(users::find(&mut session, user).await?.id),
        None => None,
    };
    let of = match &user {
        Some(id) => SessionsOf::User(id),
        None if args.all => SessionsOf::Tenant,
        None => SessionsOf::Me,
    };
    let sessions = session.call(async |client| client.auth().sessions(of).await).await?;
    if globals.json {
        return output::json(&sessions);
    }
    let rows: Vec<Vec<String>> = sessions
        .into_iter()
        .map(|session| {
            vec![
                if session.current { "*".to_owned() } else { String::new() },
                session.username,
                output::time(Some(session.last_used_at)),
                output::time(Some(session.expires_at)),
                session.ip_address.unwrap_or_else(|| "-".to_owned()),
                session.id,
            ]
        })
        .collect();
    output::table(&["", "USERNAME", "LAST USED", "EXPIRES", "FROM", "ID"], &rows)
}

async fn revoke(args: RevokeArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let done = if let Some(id) = &args.id {
        session.call(async |client| client.auth().revoke_session(id).await).await?;
        format!("Ended the session {id}.")
    } else {
        session.call(async |client| client.auth().revoke_sessions(args.others).await).await?;
        if args.others { "Ended all other sessions." } else { "Ended all sessions, this one too." }.to_owned()
    };
    if globals.json {
        return output::json(&json!({ "id": args.id, "revoked": true }));
    }
    output::line(&done)
}
