//! `nsl config`: the configuration in effect.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Globals, output};
use crate::local::Local;
use crate::settings;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every value and where it came from, secrets masked.
    Show {
        /// The settings file [default: ./appsettings.json if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(crate) fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let Command::Show { config } = args.command;
    let local = Local::of(globals.data_dir.as_deref());
    // With an installation of `nsl up` at hand, its secrets are what that would use.
    let variables = if local.server()?.is_some() { local.variables()? } else { Vec::new() };
    let rows = settings::load_with(config, Vec::new(), variables)?.rows();
    if globals.json {
        return output::json(&rows);
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| vec![row.key, row.value.unwrap_or_else(|| "-".to_owned()), row.origin])
        .collect();
    output::table(&["SETTING", "VALUE", "FROM"], &rows)
}
