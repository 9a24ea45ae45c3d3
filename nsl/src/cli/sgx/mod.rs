//! `nsl sgx …`: sealed storage.

/// Quotes of enclaves.
mod attest;
/// Another name for a value.
mod copy;
mod delete;
mod destroy;
/// A value in an editor.
mod edit;
mod get;
mod history;
mod list;
mod policies;
mod put;
mod quota;
mod restore;
mod rotate;
mod scan;
/// Where a value lies while it is edited.
mod scratch;
mod slots;
mod stat;
/// The statement at the end of a rotation.
mod statement;
/// Jobs that go on at the service.
mod wait;

use std::fs;
use std::io::{self, BufRead as _, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use nsl_client::{ItemInfo, Secret};
use serde_json::Value;

use super::{Globals, output, session};

/// Keep values sealed, and look after what keeps them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Put(Box<put::Args>),
    Get(get::Args),
    Edit(edit::Args),
    List(list::Args),
    History(history::Args),
    Restore(restore::Args),
    Destroy(destroy::Args),
    Copy(copy::Args),
    Rename(copy::RenameArgs),
    Delete(delete::Args),
    Stat(stat::Args),
    Scan(scan::Args),
    Rotate(rotate::Args),
    Keys(rotate::KeysArgs),
    /// The signed statement at the end of a rotation: print and verify it.
    #[command(subcommand)]
    Statement(statement::Command),
    /// The keys that open the root key: list, add, test and retire them.
    #[command(subcommand)]
    Slots(slots::Command),
    /// Named rules of reads: list, make, change and delete them.
    #[command(subcommand)]
    Policies(policies::Command),
    /// Limits on what is kept: list, set and remove them.
    #[command(subcommand)]
    Quota(quota::Command),
    /// Quotes of enclaves: verify one, ask the service for its own.
    #[command(subcommand)]
    Attest(Box<attest::Command>),
}

pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    match args.command {
        Command::Put(args) => put::run(*args, globals).await,
        Command::Get(args) => get::run(args, globals).await,
        Command::Edit(args) => edit::run(args, globals).await,
        Command::List(args) => list::run(args, globals).await,
        Command::History(args) => history::run(args, globals).await,
        Command::Restore(args) => restore::run(args, globals).await,
        Command::Destroy(args) => destroy::run(args, globals).await,
        Command::Copy(args) => copy::run(args, globals).await,
        Command::Rename(args) => copy::run_rename(args, globals).await,
        Command::Delete(args) => delete::run(args, globals).await,
        Command::Stat(args) => stat::run(args, globals).await,
        Command::Scan(args) => scan::run(args, globals).await,
        Command::Rotate(args) => rotate::run(args, globals).await,
        Command::Keys(args) => rotate::run_keys(args, globals).await,
        Command::Statement(command) => statement::run(command, globals).await,
        Command::Slots(command) => slots::run(command, globals).await,
        Command::Policies(command) => policies::run(command, globals).await,
        Command::Quota(command) => quota::run(command, globals).await,
        Command::Attest(command) => attest::run(*command, globals).await,
    }
}

/// Names and values, one pair on a line.
fn describe(fields: &[(&str, String)]) -> anyhow::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    output::line(&lines.join("\n"))
}

fn describe_item(item: &ItemInfo) -> anyhow::Result<()> {
    let mut fields = vec![
        ("service", item.service.clone()),
        ("key", item.key.clone()),
        ("version", item.version.to_string()),
        ("size", format!("{} bytes, {} sealed", item.size, item.sealed_size)),
        ("fingerprint", item.fingerprint.clone()),
        ("policy", item.policy.clone()),
        ("created", output::time(Some(item.created_at))),
        ("updated", output::time(Some(item.updated_at))),
        ("expires", output::time(item.expires_at)),
    ];
    if let Some(metadata) = &item.metadata {
        fields.push(("metadata", metadata.to_string()));
    }
    describe(&fields)
}

/// What was done to an item, in one line.
fn say_done(done: &str, item: &ItemInfo) -> anyhow::Result<()> {
    let expiry =
        item.expires_at.map(|at| format!(", expires {}", output::time(Some(at)))).unwrap_or_default();
    let (version, size) = (item.version, output::size(item.size));
    output::line(&format!("{done} {}/{}: version {version}, {size}{expiry}", item.service, item.key))
}

/// Asks before something that cannot be taken back; `--yes` answers ahead.
fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{what} Nobody is there to be asked: add --yes if that is what you want.");
    }
    eprint!("{what} Go on? [y/N] ");
    ensure!(is_yes(&answer()?), "nothing was done");
    Ok(())
}

fn answer() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text).context("cannot read the answer")?;
    Ok(text)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A text that is a secret: of a file, asked for on a terminal, or of stdin. Never of an argument, which other users see
/// in the list of processes and the shell keeps in its history.
fn secret(what: &str, file: Option<&Path>) -> anyhow::Result<Secret> {
    let text = match file {
        Some(path) => fs::read_to_string(path)
            .map(Secret::new)
            .with_context(|| format!("cannot read the {what} from {}", path.display()))?,
        None if io::stdin().is_terminal() => rpassword::prompt_password(format!("The {what}: "))
            .map(Secret::new)
            .with_context(|| format!("cannot ask for the {what}; hand it over on stdin"))?,
        None => {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            let text = Secret::new(text);
            read.with_context(|| format!("cannot read the {what} from stdin"))?;
            text
        }
    };
    // `echo` and editors end it with a line end that is no part of it.
    let trimmed = Secret::new(text.expose().trim().to_owned());
    ensure!(!trimmed.expose().is_empty(), "the {what} is empty");
    Ok(trimmed)
}

/// `--metadata`.
fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it takes a JSON object, such as {\"owner\":\"ops\"}".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_an_object() {
        assert_eq!(object(r#"{"a":1}"#).unwrap()["a"], 1);
        for text in ["", "[]", "1", "\"a\"", "{", "null"] {
            assert!(object(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_yes_is_one() {
        assert!(["y\n", "Y", "yes\r\n"].iter().all(|text| is_yes(text)));
        assert!(["", "\n", "n", "yep", "no"].iter().all(|text| !is_yes(text)));
    }
}
