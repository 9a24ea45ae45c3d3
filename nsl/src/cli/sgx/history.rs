//! `nsl sgx history`.

use nsl_client::VersionInfo;

use super::{Globals, output, session};

/// List the versions of an item that are kept, newest first; of a deleted one too.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let versions = session.call(async |client| client.sgx().versions(&args.service, &args.key).await).await?;
    if globals.json {
        return output::json(&versions);
    }
    let rows: Vec<Vec<String>> = versions
        .into_iter()
        .map(|version| {
            vec![
                version.version.to_string(),
                state(&version).to_owned(),
                output::size(version.size),
                output::time(Some(version.created_at)),
                output::time(version.superseded_at),
                output::time(version.expires_at),
                version.policy,
                version.fingerprint,
            ]
        })
        .collect();
    let headings = ["VERSION", "STATE", "SIZE", "CREATED", "SUPERSEDED", "EXPIRES", "POLICY", "FINGERPRINT"];
    output::table(&headings, &rows)
}

fn state(version: &VersionInfo) -> &'static str {
    match (version.destroyed, version.current) {
        (true, _) => "destroyed",
        (false, true) => "current",
        (false, false) => "kept",
    }
}
