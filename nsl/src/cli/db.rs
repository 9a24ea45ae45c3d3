//! `nsl db`: migrate and reach the database.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use nsl_core::clock::Clock;
use nsl_core::config::{
    Address, ConnectionString, ConnectionStringsConfig, DatabaseConfig, Host, Secret, SslMode, fresh,
};
use nsl_core::context::Base;
use nsl_core::db::migrate::{self, MIGRATIONS, ROLES_SQL};
use nsl_core::db::{Endpoint, Login};
use nsl_core::jobs::Jobs;

use super::{Globals, output};
use crate::local::{DATABASE, Local, LocalServer, OWNER, SUPERUSER};
use crate::{db, settings};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply what is pending, as neo_user.
    Migrate,
    /// Print the level of the database and what is pending.
    Status,
    /// Print the generated docker/postgres/init.sql.
    InitSql,
    /// Make the roles and set the passwords given in Database__Roles__…, as a superuser.
    Roles {
        /// A superuser's URL (postgres://…); without one, the local server of `nsl up`.
        #[arg(long, value_name = "URL", env = "NSL_SUPERUSER_URL", hide_env_values = true)]
        superuser_url: Option<String>,
        /// Only print the SQL.
        #[arg(long)]
        print: bool,
    },
    /// Make the first administrator, where `nsl serve` has nobody who can log in; prints the password once.
    Administrator {
        #[arg(long, value_name = "NAME", default_value = "admin")]
        username: String,
    },
    /// Print a connection URL. It holds the role's password.
    Url {
        #[arg(long)]
        role: Role,
    },
    /// Open psql as a role.
    Psql {
        #[arg(long)]
        role: Role,
        /// Passed on to psql.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Whom to connect as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Role {
    NeoUser,
    NeoApi,
    NeoEnclave,
    NeoJobs,
    /// Cannot log in: the superuser that takes the role.
    NeoReadonly,
    /// Cannot log in: the superuser that takes the role.
    NeoAuditor,
    /// Cannot log in: the superuser that takes the role.
    NeoBackup,
    Superuser,
}

impl Role {
    /// The login, and the role to take after it.
    fn login(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::NeoUser => (OWNER, None),
            Self::NeoApi => (Login::Api.role(), None),
            Self::NeoEnclave => (Login::Enclave.role(), None),
            Self::NeoJobs => (Login::Jobs.role(), None),
            Self::NeoReadonly => (SUPERUSER, Some("-crole=neo_readonly")),
            Self::NeoAuditor => (SUPERUSER, Some("-crole=neo_auditor")),
            Self::NeoBackup => (SUPERUSER, Some("-crole=neo_backup")),
            Self::Superuser => (SUPERUSER, None),
        }
    }
}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let local = Local::of(globals.data_dir.as_deref());
    match args.command {
        Command::Migrate => migrate(&local, globals).await,
        Command::Status => status(&local, globals).await,
        Command::InitSql => output::bytes(migrate::init_sql(MIGRATIONS).as_bytes()),
        Command::Roles { print: true, .. } => output::bytes(ROLES_SQL.as_bytes()),
        Command::Roles { superuser_url, print: false } => roles(&local, superuser_url).await,
        Command::Administrator { username } => administrator(&username, globals).await,
        Command::Url { role } => output::line(url(&local, role)?.expose()),
        Command::Psql { role, args } => psql(&local, role, &args),
    }
}

async fn migrate(local: &Local, globals: &Globals) -> anyhow::Result<()> {
    let config = settings::load(None, Vec::new())?;
    let applied = migrate::migrate(&db::owner(&config, local).await?, MIGRATIONS).await?;
    if globals.json {
        output::json(&serde_json::json!({ "applied": applied }))
    } else if applied.is_empty() {
        output::line("Nothing to do: the database is at this program's level.")
    } else {
        output::line(&format!("Applied {} migrations, to {}.", applied.len(), applied[applied.len() - 1]))
    }
}

async fn status(local: &Local, globals: &Globals) -> anyhow::Result<()> {
    let config = settings::load(None, Vec::new())?;
    let level = migrate::level(&db::owner(&config, local).await?, MIGRATIONS).await?;
    if globals.json {
        return output::json(&level);
    }
    let rows: Vec<Vec<String>> = MIGRATIONS
        .iter()
        .map(|migration| {
            let state = if level.pending.contains(&migration.version) { "pending" } else { "applied" };
            vec![migration.version.to_string(), migration.name.to_owned(), state.to_owned()]
        })
        .collect();
    output::table(&["VERSION", "NAME", "STATE"], &rows)
}

async fn roles(local: &Local, superuser_url: Option<String>) -> anyhow::Result<()> {
    let config = settings::load(None, Vec::new())?;
    let roles = config.section::<DatabaseConfig>("Database")?.roles;
    let client = if let Some(url) = superuser_url {
        let text = ConnectionString::parse(&url)?;
        let (Some(user), Some(password)) = (&text.username, &text.password) else {
            bail!("the superuser's URL needs a user and a password: postgres://USER:PASSWORD@HOST/DATABASE");
        };
        db::client(&Endpoint::from(&text), user, password).await?
    } else {
        let server = local_server(local)?;
        let password = local.existing_secret(SUPERUSER)?;
        db::client(&db::local_endpoint(&server, DATABASE), SUPERUSER, &password).await?
    };
    db::make_roles(&client).await?;
    for (role, password) in [
        (OWNER, roles.neo_user.password),
        ("neo_api", roles.neo_api.password),
        ("neo_enclave", roles.neo_enclave.password),
        ("neo_jobs", roles.neo_jobs.password),
    ] {
        if let Some(password) = password {
            db::set_password(&client, role, &password).await?;
            output::line(&format!("{role}: password set"))?;
        }
    }
    output::line("The roles are there.")
}

async fn administrator(username: &str, globals: &Globals) -> anyhow::Result<()> {
    let config = settings::load(None, Vec::new())?;
    let pools = db::remote_pools(&config, &[Login::Api])?;
    db::wait_until_ready(&pools).await?;
    let password = fresh()?;
    let base = Base { db: pools, clock: Clock::system(), jobs: Jobs::new() };
    if !nsl_auth::bootstrap(&base, username, &password).await? {
        bail!("somebody can log in already; an administrator of the tenant makes further ones");
    }
    if globals.json {
        output::json(&serde_json::json!({ "username": username, "password": password.expose() }))
    } else {
        output::line(&format!("Administrator {username} was made. The password is shown this once:"))?;
        output::line(password.expose())
    }
}

fn local_server(local: &Local) -> anyhow::Result<LocalServer> {
    local.server()?.with_context(|| {
        format!(
            "{} holds no installation: run this where `nsl up` runs, or give --data-dir",
            local.dir().display()
        )
    })
}

fn url(local: &Local, role: Role) -> anyhow::Result<Secret> {
    let (user, options) = role.login();
    let config = settings::load(None, Vec::new())?;
    let strings: ConnectionStringsConfig = config.section("ConnectionStrings")?;
    if strings.default_connection.is_some() && local.server()?.is_none() {
        let text = strings.default_connection()?;
        let roles = config.section::<DatabaseConfig>("Database")?.roles;
        let password = match role {
            Role::NeoUser => roles.neo_user.password.or(text.password),
            Role::NeoApi => roles.neo_api.password,
            Role::NeoEnclave => roles.neo_enclave.password,
            Role::NeoJobs => roles.neo_jobs.password,
            _ => bail!("the superuser of a server that `nsl up` did not make is not known here"),
        };
        let text = config.section::<ConnectionStringsConfig>("ConnectionStrings")?.default_connection()?;
        return Ok(text.to_url(user, password.as_ref(), options));
    }
    let server = local_server(local)?;
    let text = local_connection(&server)?;
    Ok(text.to_url(user, Some(&local.existing_secret(user)?), options))
}

/// The local server as others reach it: over TLS on loopback; over the socket where it has no TLS.
fn local_connection(server: &LocalServer) -> anyhow::Result<ConnectionString> {
    let mut text = ConnectionString::parse(&format!("Host=localhost;Database={DATABASE}"))?;
    let address = if server.tcp {
        text.ssl_mode = SslMode::Require;
        Address::Tcp("localhost".to_owned())
    } else {
        Address::Socket(server.socket_dir.clone())
    };
    text.hosts = vec![Host { address, port: server.port }];
    Ok(text)
}

fn psql(local: &Local, role: Role, args: &[String]) -> anyhow::Result<()> {
    let (user, options) = role.login();
    let server = local_server(local)?;
    let program = find_psql(&server.bin_dir);
    let mut command = Process::new(&program);
    // The password goes by the environment: the process list shows arguments.
    command
        .args([
            "-h",
            &server.socket_dir.to_string_lossy(),
            "-p",
            &server.port.to_string(),
            "-U",
            user,
            "-d",
            DATABASE,
        ])
        .args(args)
        .env("PGPASSWORD", local.existing_secret(user)?.expose());
    if let Some(options) = options {
        command.env("PGOPTIONS", options);
    }
    let error = command.exec();
    bail!("{} cannot be started: {error}; install PostgreSQL's client tools", program.display())
}

fn find_psql(bin_dir: &Path) -> PathBuf {
    let beside = bin_dir.join("psql");
    if beside.exists() { beside } else { PathBuf::from("psql") }
}
