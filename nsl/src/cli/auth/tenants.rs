//! `nsl auth tenants` and `nsl auth tenant …`, for the operator.

use nsl_client::FirstAdministrator;

use super::{Globals, new_password, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Suspend(NameArgs),
    Resume(NameArgs),
}

/// Make a tenant, with its first administrator.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct CreateArgs {
    /// What logins name: lower-case letters, digits and dashes.
    name: String,
    /// For people.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A new user, whose password is asked for.
    #[arg(long, value_name = "USERNAME", conflicts_with = "existing_administrator")]
    administrator: Option<String>,
    /// A user that there is.
    #[arg(long, value_name = "USERNAME")]
    existing_administrator: Option<String>,
    /// Read the new user's password from stdin instead of asking for it.
    #[arg(long, requires = "administrator")]
    password_stdin: bool,
}

/// Suspend a tenant, whose members can do nothing from then on, or let it go on (`resume`).
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct NameArgs {
    /// Its name, or its id.
    tenant: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args, globals).await,
        Command::Suspend(args) => set_status(&args, "suspended", globals).await,
        Command::Resume(args) => set_status(&args, "active", globals).await,
    }
}

pub(super) async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let tenants = session.call(async |client| client.auth().tenants().await).await?;
    if globals.json {
        return output::json(&tenants);
    }
    let rows: Vec<Vec<String>> = tenants
        .into_iter()
        .map(|tenant| vec![tenant.name, tenant.status, tenant.display_name, tenant.id])
        .collect();
    output::table(&["NAME", "STATUS", "DISPLAY NAME", "ID"], &rows)
}

async fn create(args: CreateArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let password = match &args.administrator {
        Some(username) => Some(new_password(username, args.password_stdin)?),
        None => None,
    };
    let username = args.administrator.as_deref().or(args.existing_administrator.as_deref());
    let tenant = session
        .call(async |client| {
            let administrator =
                username.map(|username| FirstAdministrator { username, password: password.as_ref() });
            client.auth().create_tenant(&args.name, args.display_name.as_deref(), administrator).await
        })
        .await?;
    if globals.json {
        return output::json(&tenant);
    }
    output::line(&format!("Made the tenant {}: {}", tenant.name, tenant.id))
}

async fn set_status(args: &NameArgs, status: &str, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let tenants = session.call(async |client| client.auth().tenants().await).await?;
    let is_meant = |name: &str, id: &str| name == args.tenant || id == args.tenant;
    let Some(found) = tenants.iter().find(|tenant| is_meant(&tenant.name, &tenant.id)) else {
        anyhow::bail!("there is no tenant {}; `nsl auth tenants` lists those there are", args.tenant);
    };
    let tenant =
        session.call(async |client| client.auth().set_tenant_status(&found.id, status).await).await?;
    if globals.json {
        return output::json(&tenant);
    }
    output::line(&format!("The tenant {} is {}.", tenant.name, tenant.status))
}
