//! `nsl auth roles` and `nsl auth role …`.

use jiff::Timestamp;
use serde_json::json;

use super::{Globals, output, session, users};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
    Give(GiveArgs),
    Take(TakeArgs),
}

/// Make a role of the tenant.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct CreateArgs {
    name: String,
    /// What it permits, such as sgx:read; can be given again.
    #[arg(long = "permission", value_name = "PERMISSION", required = true)]
    permissions: Vec<String>,
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

/// Change a role of the tenant: what is given takes the place of what is there.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct UpdateArgs {
    name: String,
    /// What it permits from now on, all of it; can be given again.
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    #[arg(long)]
    description: Option<String>,
}

/// Delete a role of the tenant that nobody holds.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct DeleteArgs {
    name: String,
}

/// Give a user a role.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct GiveArgs {
    role: String,
    /// The username, or the id.
    user: String,
    /// When the user loses it again, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// Take a role from a user; their sessions end.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct TakeArgs {
    role: String,
    /// The username, or the id.
    user: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args, globals).await,
        Command::Update(args) => update(args, globals).await,
        Command::Delete(args) => delete(args, globals).await,
        Command::Give(args) => give(args, globals).await,
        Command::Take(args) => take(args, globals).await,
    }
}

pub(super) async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let roles = session.call(async |client| client.auth().roles().await).await?;
    if globals.json {
        return output::json(&roles);
    }
    let rows: Vec<Vec<String>> = roles
        .into_iter()
        .map(|role| {
            let kind = if role.builtin { "built-in" } else { "own" };
            vec![role.name, kind.to_owned(), role.permissions.join(" "), role.description]
        })
        .collect();
    output::table(&["NAME", "KIND", "PERMISSIONS", "DESCRIPTION"], &rows)
}

async fn create(args: CreateArgs, globals: &Globals) -> anyhow::Result<()> {
    let CreateArgs { name, permissions, description } = args;
    let mut session = session::open(globals).await?;
    let role = session
        .call(async |client| client.auth().create_role(&name, &description, &permissions).await)
        .await?;
    if globals.json {
        return output::json(&role);
    }
    output::line(&format!("Made the role {}: {}", role.name, role.permissions.join(" ")))
}

async fn update(args: UpdateArgs, globals: &Globals) -> anyhow::Result<()> {
    let UpdateArgs { name, permissions, description } = args;
    let permissions = (!permissions.is_empty()).then_some(permissions);
    anyhow::ensure!(
        permissions.is_some() || description.is_some(),
        "nothing to change: give --permission or --description"
    );
    let mut session = session::open(globals).await?;
    let role = session
        .call(async |client| {
            client.auth().update_role(&name, description.as_deref(), permissions.as_deref()).await
        })
        .await?;
    if globals.json {
        return output::json(&role);
    }
    output::line(&format!("Changed the role {}: {}", role.name, role.permissions.join(" ")))
}

async fn delete(args: DeleteArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.auth().delete_role(&args.name).await).await?;
    if globals.json {
        return output::json(&json!({ "name": args.name, "deleted": true }));
    }
    output::line(&format!("Deleted the role {}.", args.name))
}

async fn give(args: GiveArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let id = users::find(&mut session, &args.user).await?.id;
    let user = session
        .call(async |client| client.auth().assign_role(&id, &args.role, args.expires_at).await)
        .await?;
    if globals.json {
        return output::json(&user);
    }
    output::line(&format!("{} has the roles {}", user.username, user.roles.join(", ")))
}

async fn take(args: TakeArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let user = users::find(&mut session, &args.user).await?;
    session.call(async |client| client.auth().unassign_role(&user.id, &args.role).await).await?;
    if globals.json {
        return output::json(&json!({ "user": user.id, "role": args.role, "taken": true }));
    }
    output::line(&format!("{} has the role {} no more.", user.username, args.role))
}
