//! `nsl sgx edit`.

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitStatus;

use anyhow::{Context, bail, ensure};
use nsl_client::{Error, GetOptions, ItemInfo, PutOptions};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::scratch::Scratch;
use super::{Globals, answer, is_yes, output, say_done, session};

/// Change a value in an editor ($VISUAL, else $EDITOR, else vi).
///
/// The value lies in a folder for you alone meanwhile, in memory where there is such a place (/dev/shm), and is wiped
/// afterwards. What the editor keeps elsewhere, such as an undo file or its clipboard, is the editor's own. Somebody
/// else's change meanwhile is not overwritten. Metadata, policy and expiry stay as they are.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// An accepted attestation (`nsl sgx attest verify`), where the item's policy asks for one.
    #[arg(long, value_name = "ID")]
    attestation: Option<String>,
}

/// The item as it is; None where it is to be made.
struct Before {
    info: Option<ItemInfo>,
    bytes: Zeroizing<Vec<u8>>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let Args { service, key, attestation } = args;
    let mut session = session::open(globals).await?;
    let options = GetOptions { version: None, attestation };
    let before = match session
        .call(async |client| client.sgx().read_with(&service, &key, &options).await)
        .await
    {
        Ok(record) => Before { info: Some(record.info), bytes: record.bytes },
        Err(error) if code(&error) == Some("sgx.item_not_found") => {
            output::note(&format!("There is no item {service}/{key} yet."));
            Before { info: None, bytes: Zeroizing::default() }
        }
        Err(error) if code(&error) == Some("sgx.value_streamed") => {
            return Err(error.context(
                    "the value is too long for an editor; `nsl sgx get --output` and `nsl sgx put --file` move it",
                ));
        }
        Err(error) => return Err(error),
    };
    let scratch = Scratch::new(&key, &before.bytes)?;
    let mut conditions = conditions(before.info.as_ref());
    loop {
        let ended = edit(&scratch).await?;
        ensure!(ended.success(), "the editor ended with {ended}; nothing was put");
        let value = edited(&before.bytes, scratch.read()?);
        if *value == *before.bytes {
            output::note("Nothing changed.");
            return match before.info {
                Some(info) if globals.json => output::json(&info),
                _ => Ok(()),
            };
        }
        let answer =
            session.call(async |client| client.sgx().put(&service, &key, &value, &conditions).await).await;
        let error = match answer {
            Ok(put) if globals.json => return output::json(&put.item),
            Ok(put) => return say_done(if put.created { "Created" } else { "Replaced" }, &put.item),
            Err(error) => error,
        };
        // What was typed goes with the file: so there is another try, where somebody is there to take it.
        if !io::stdin().is_terminal() {
            return Err(error);
        }
        output::print_error(&error, false);
        ensure!(goes_on()?, "nothing was put");
        if code(&error) == Some("sgx.version_conflict") {
            let now = session.call(async |client| client.sgx().stat(&service, &key).await).await?;
            let place = match &now {
                Some(item) => format!("version {}, which is there now", item.version),
                None => "nothing, since the item is gone".to_owned(),
            };
            output::note(&format!("What you save takes the place of {place}."));
            conditions = self::conditions(now.as_ref());
        }
    }
}

/// Over this state of the item and no other, and with all that it had but its value.
fn conditions(item: Option<&ItemInfo>) -> PutOptions {
    let Some(item) = item else { return PutOptions { if_none_match: true, ..PutOptions::default() } };
    PutOptions {
        if_match: Some(item.version),
        if_none_match: false,
        metadata: item.metadata.clone(),
        policy: Some(item.policy.clone()),
        expires_at: item.expires_at,
    }
}

/// Editors end a text with a line end; a value that had none keeps none.
fn edited(before: &[u8], mut after: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if !before.ends_with(b"\n") && after.ends_with(b"\n") {
        after.pop();
    }
    after
}

fn goes_on() -> anyhow::Result<bool> {
    eprint!("Go on editing? Otherwise what you wrote is lost. [Y/n] ");
    let answer = answer()?;
    Ok(answer.trim().is_empty() || is_yes(&answer))
}

/// Runs the editor, and comes back whatever happens, so that the file can be wiped.
async fn edit(scratch: &Scratch) -> anyhow::Result<ExitStatus> {
    let set = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // Ctrl-C is the editor's; the others end both.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut end = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    // The variable may hold arguments, as in `code --wait`.
    let mut child = Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), &editor])
        .arg(scratch.file())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run the editor; set EDITOR to one that is there")?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended.context("cannot wait for the editor"),
            _ = interrupt.recv() => {}
            _ = end.recv() => bail!("ended by a signal; nothing was put"),
            _ = hang_up.recv() => bail!("the terminal is gone; nothing was put"),
        }
    }
}

fn code(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Error>().and_then(Error::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_end_of_an_editor_is_not_the_values() {
        let after = |before: &[u8], text: &[u8]| edited(before, Zeroizing::new(text.to_vec())).to_vec();
        assert_eq!(after(b"a", b"b\n"), b"b");
        assert_eq!(after(b"a\n", b"b\n"), b"b\n");
        assert_eq!(after(b"a", b"b\n\n"), b"b\n");
        assert_eq!(after(b"", b"b\n"), b"b");
    }
}
