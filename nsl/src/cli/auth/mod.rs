//! `nsl auth …`: one's own account, and the accounts of a tenant.

/// API keys.
mod api_keys;
/// One's password and second factor.
mod factors;
/// The keys that verify access tokens.
mod keys;
/// Roles of the tenant.
mod roles;
/// Logins that go on.
mod sessions;
/// Tenants, for the operator.
mod tenants;
/// Users of the tenant.
mod users;
/// One's wallets.
mod wallets;

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::Context;
use nsl_client::Secret;

use super::{Globals, output, session};

/// Accounts: one's own, and those of the tenant.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show who one is, and what that allows.
    Me,
    /// List the users of the tenant.
    Users,
    /// Make, show and change users of the tenant.
    #[command(subcommand)]
    User(users::Command),
    /// List the roles that the tenant can give.
    Roles,
    /// Make, change and delete roles, and give and take them.
    #[command(subcommand)]
    Role(roles::Command),
    Sessions(sessions::ListArgs),
    /// End sessions.
    #[command(subcommand)]
    Session(sessions::Command),
    /// Keys for programs: make, list, replace and end them.
    #[command(subcommand)]
    ApiKeys(api_keys::Command),
    /// One's second factor.
    #[command(subcommand)]
    Mfa(factors::MfaCommand),
    /// One's password.
    #[command(subcommand)]
    Password(factors::PasswordCommand),
    /// List the wallets of one's account.
    Wallets,
    /// Sign in with a wallet, and let one sign in.
    #[command(subcommand)]
    Wallet(wallets::Command),
    /// List the tenants, as their operator.
    Tenants,
    /// Make, suspend and resume tenants, as their operator.
    #[command(subcommand)]
    Tenant(tenants::Command),
    /// List the keys that verify access tokens.
    Keys,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    match args.command {
        Command::Me => me(globals).await,
        Command::Users => users::list(globals).await,
        Command::User(command) => users::run(command, globals).await,
        Command::Roles => roles::list(globals).await,
        Command::Role(command) => roles::run(command, globals).await,
        Command::Sessions(args) => sessions::list(args, globals).await,
        Command::Session(command) => sessions::run(command, globals).await,
        Command::ApiKeys(command) => api_keys::run(command, globals).await,
        Command::Mfa(command) => factors::run(command, globals).await,
        Command::Password(command) => factors::run_password(command, globals).await,
        Command::Wallets => wallets::list(globals).await,
        Command::Wallet(command) => wallets::run(command, globals).await,
        Command::Tenants => tenants::list(globals).await,
        Command::Tenant(command) => tenants::run(command, globals).await,
        Command::Keys => keys::list(globals).await,
    }
}

async fn me(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let me = session.call(async |client| client.me().await).await?;
    if globals.json {
        return output::json(&me);
    }
    let mut fields = vec![("username", me.username.clone())];
    for (name, key) in [
        ("id", "id"),
        ("tenant", "tenantId"),
        ("email", "email"),
        ("roles", "roles"),
        ("permissions", "permissions"),
        ("session", "sessionId"),
    ] {
        match me.more.get(key) {
            Some(serde_json::Value::String(text)) => fields.push((name, text.clone())),
            Some(serde_json::Value::Array(items)) => {
                let texts: Vec<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
                fields.push((name, texts.join(" ")));
            }
            _ => {}
        }
    }
    describe(&fields)
}

/// Names and values, one pair on a line.
fn describe(fields: &[(&str, String)]) -> anyhow::Result<()> {
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    output::line(&lines.join("\n"))
}

/// A password to be set: asked for twice on a terminal, else the first line of stdin.
fn new_password(whose: &str, from_stdin: bool) -> anyhow::Result<Secret> {
    if from_stdin || !io::stdin().is_terminal() {
        return password_from_stdin();
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map(Secret::new)
            .context("cannot ask for the password; hand it over with --password-stdin")
    };
    let (first, second) = (ask(format!("New password of {whose}: "))?, ask("Once more: ".to_owned())?);
    anyhow::ensure!(first.expose() == second.expose(), "the two are not the same; try again");
    Ok(first)
}

fn password_from_stdin() -> anyhow::Result<Secret> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read the password from stdin")?;
    // `echo` and editors end it with a line end that is no part of it.
    let end =
        text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    Ok(Secret::new(text))
}

/// A text that counts byte for byte: of a file, or of stdin for `-`.
fn exact_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read the text from stdin")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read the text from {}", path.display()))
}
