//! `nsl sgx restore`.

use super::{Globals, output, say_done, session};

/// Bring a deleted item back, or a former version of one.
///
/// The value of a former version becomes a new version; nothing of the history is lost.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// The version whose value is to be the current one, as `nsl sgx history` lists them.
    #[arg(long, value_name = "N")]
    version: Option<i64>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let item = session
        .call(async |client| client.sgx().restore(&args.service, &args.key, args.version).await)
        .await?;
    if globals.json {
        return output::json(&item);
    }
    say_done("Restored", &item)
}
