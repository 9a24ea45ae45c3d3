//! `nsl sgx copy` and `nsl sgx rename`.

use super::{Globals, output, say_done, session};

/// Seal a value anew under another name.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// The key of the copy.
    to_key: String,
    /// The service of the copy, where it is another.
    #[arg(long, value_name = "SERVICE")]
    to_service: Option<String>,
    /// Copy this version, as `nsl sgx history` lists them.
    #[arg(long, value_name = "N")]
    version: Option<i64>,
}

/// Give an item another name.
///
/// Its former versions stay under the old one, deleted; `nsl sgx restore` reaches them there.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RenameArgs {
    service: String,
    key: String,
    /// The key from now on.
    to_key: String,
    /// The service from now on, where it is another.
    #[arg(long, value_name = "SERVICE")]
    to_service: Option<String>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let to = (args.to_service.as_deref().unwrap_or(&args.service), args.to_key.as_str());
    let mut session = session::open(globals).await?;
    let item = session
        .call(async |client| client.sgx().copy(&args.service, &args.key, args.version, to).await)
        .await?;
    if globals.json {
        return output::json(&item);
    }
    say_done(&format!("Copied {}/{} to", args.service, args.key), &item)
}

pub(super) async fn run_rename(args: RenameArgs, globals: &Globals) -> anyhow::Result<()> {
    let to = (args.to_service.as_deref().unwrap_or(&args.service), args.to_key.as_str());
    let mut session = session::open(globals).await?;
    let item = session.call(async |client| client.sgx().rename(&args.service, &args.key, to).await).await?;
    if globals.json {
        return output::json(&item);
    }
    say_done(&format!("Renamed {}/{} to", args.service, args.key), &item)
}
