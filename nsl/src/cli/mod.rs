//! The command line. Human output by default, `--json` everywhere; exit code 0 only on success; errors go to standard
//! error with the next step.

mod auth;
mod completions;
mod config;
mod db;
mod doctor;
mod login;
mod output;
mod progress;
mod secrets;
mod serve;
mod session;
mod sgx;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The Neo Service Layer: confidential storage and the services around it, on one PostgreSQL.
#[derive(Parser)]
#[command(name = "nsl", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Globals {
    /// Where `nsl up` keeps everything [default: .nsl].
    #[arg(long, global = true, value_name = "DIR", env = "NSL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The service to talk to [default: that of the login or of `nsl up`].
    #[arg(long, global = true, value_name = "URL", env = "NSL_URL")]
    pub url: Option<String>,
    /// Machine-readable output.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start a local PostgreSQL and every service, in one process.
    Up(up::Args),
    /// Start every service on the PostgreSQL that ConnectionStrings__DefaultConnection names.
    Serve(serve::Args),
    /// Print fresh secrets for the environment.
    Secrets(secrets::Args),
    /// Look at the configuration in effect.
    Config(config::Args),
    /// Migrate and reach the database.
    Db(db::Args),
    /// Look for what is wrong with this installation.
    Doctor(doctor::Args),
    /// Log in to a service and remember it.
    Login(login::Args),
    /// Forget the login.
    Logout(login::LogoutArgs),
    /// Accounts: one's own, and those of the tenant.
    Auth(auth::Args),
    /// Confidential sealed storage.
    Sgx(sgx::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Write the man pages.
    Man(completions::ManArgs),
}

/// Parses the command line and runs it.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.globals.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A read of stdin that nobody waits for any more ends only with its input.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error, json);
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let globals = cli.globals;
    match cli.command {
        Command::Up(args) => up::run(args, &globals).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Secrets(args) => secrets::run(&args, &globals),
        Command::Config(args) => config::run(args, &globals),
        Command::Db(args) => db::run(args, &globals).await,
        Command::Doctor(args) => doctor::run(args, &globals).await,
        Command::Login(args) => login::run(args, &globals).await,
        Command::Logout(args) => login::run_logout(args, &globals).await,
        Command::Auth(args) => auth::run(args, &globals).await,
        Command::Sgx(args) => sgx::run(args, &globals).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::run_man(&args),
    }
}
