//! `nsl sgx delete`.

use serde_json::json;

use super::{Globals, output, session};

/// Delete an item; `nsl sgx restore` brings it back until it is purged.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// Only at this version.
    #[arg(long, value_name = "N")]
    if_version: Option<i64>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.sgx().delete(&args.service, &args.key, args.if_version).await).await?;
    if globals.json {
        return output::json(&json!({ "service": args.service, "key": args.key, "deleted": true }));
    }
    output::line(&format!("Deleted {}/{}", args.service, args.key))
}
