//! `nsl sgx destroy`.

use super::{Globals, confirm, output, session};

/// Make an item, or one version of it, unreadable for good: its key goes.
///
/// What a backup of the database holds can be read as long as the keys of that backup are there.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: String,
    key: String,
    /// This version only; without it all of them.
    #[arg(long, value_name = "N")]
    version: Option<i64>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let Args { service, key, version, yes } = args;
    let what = match version {
        Some(version) => format!("version {version} of {service}/{key}"),
        None => format!("all versions of {service}/{key}"),
    };
    confirm(&format!("This destroys {what}; nobody can bring that back."), yes)?;
    let mut session = session::open(globals).await?;
    let gone = session.call(async |client| client.sgx().destroy(&service, &key, version).await).await?;
    if globals.json {
        return output::json(&gone);
    }
    let versions: Vec<String> = gone.versions.iter().map(i64::to_string).collect();
    output::line(&format!("Destroyed {service}/{key}: version {}", versions.join(", ")))
}
