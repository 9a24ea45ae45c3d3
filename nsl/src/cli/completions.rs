//! Shell completions and man pages, made from the command itself.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, output};

/// Print the completions of a shell, such as `nsl completions bash > /etc/bash_completion.d/nsl`.
#[derive(clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

/// Write the man pages, one for each command.
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// Where they go; made when absent.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::bytes(&script)
}

pub(crate) fn run_man(args: &ManArgs) -> anyhow::Result<()> {
    let dir = args.dir.display();
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the folder {dir}"))?;
    clap_mangen::generate_to(Cli::command(), &args.dir)
        .with_context(|| format!("cannot write the man pages to {dir}"))
}
