//! `nsl login` and `nsl logout`: the login that later commands use.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, bail};
use jiff::Timestamp;
use nsl_client::{Client, Secret};
use serde_json::json;

use super::{Globals, output, session};

/// Log in; later commands work as this user.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(crate) struct Args {
    /// Who logs in; asked for when not given.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from stdin instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
    /// The code of the second factor, for an account that has one.
    #[arg(long, value_name = "CODE")]
    totp: Option<String>,
}

/// End the session of the saved login and forget it.
#[derive(clap::Args)]
pub(crate) struct LogoutArgs {}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let client = Client::new(&session::address(globals)?)?;
    let username = match args.username {
        Some(name) => name,
        None => ask_username(args.password_stdin)?,
    };
    let password =
        if args.password_stdin { read_password()? } else { ask_password(&username, client.url())? };
    let tokens = client.login(&username, password.expose(), args.totp.as_deref()).await?;
    let until = session::save_login(client.url(), tokens)?;
    if globals.json {
        return output::json(&json!({ "url": client.url(), "username": username, "expiresAt": until }));
    }
    output::line(&format!(
        "Logged in at {} as {username} until {}; commands renew it as they run.",
        client.url(),
        output::time(Some(until))
    ))
}

pub(crate) async fn run_logout(_args: LogoutArgs, globals: &Globals) -> anyhow::Result<()> {
    let Some(ended) = session::forget_login().await? else {
        bail!("there is no saved login to end; `nsl login` makes one");
    };
    if globals.json {
        return output::json(&json!({ "url": ended, "endedAt": Timestamp::now() }));
    }
    output::line(&format!("Logged out of {ended}."))
}

fn ask_username(stdin_is_taken: bool) -> anyhow::Result<String> {
    if stdin_is_taken || !io::stdin().is_terminal() {
        bail!("nobody is there to be asked for the name; give it as --username NAME");
    }
    eprint!("Username: ");
    let mut name = String::new();
    io::stdin().read_line(&mut name).context("cannot read the name")?;
    Ok(name.trim().to_owned())
}

fn ask_password(username: &str, url: &str) -> anyhow::Result<Secret> {
    rpassword::prompt_password(format!("Password of {username} at {url}: "))
        .map(Secret::new)
        .context("cannot ask for the password without a terminal; hand it over with --password-stdin")
}

fn read_password() -> anyhow::Result<Secret> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read the password from stdin")?;
    // `echo` and editors end it with a line end that is no part of it.
    let end =
        text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    Ok(Secret::new(text))
}
