//! Load on the product beside its peers, in one run on one machine: the figures that README and CHANGELOG may quote.
//! Here: the command line. Not here: what a run does (`auth`, `sgx`, `start`).

/// How each side is asked for the same thing.
mod api;
/// `nsl-bench auth`: the cost of a credential, logins beside raw Argon2id.
mod auth;
/// The databases of the run: what the product recorded, and pgbench's own tables.
mod db;
/// HTTP/1.1 on one connection, as little as the load needs.
mod http;
/// The product under test: started, logged into, stopped.
mod instance;
/// Requests on many connections.
mod load;
/// The peer: OpenBao on the same server.
mod openbao;
/// `nsl-bench path`: the commit path alone.
mod path;
/// pgbench on the same server.
mod pgbench;
/// The table and its JSON.
mod report;
/// What one measurement gave, and what several give together.
mod sample;
/// `nsl-bench scale`: few items and many.
mod scale;
/// `nsl-bench sgx`: sealed storage beside OpenBao and pgbench.
mod sgx;
/// `nsl-bench start`: time to healthy, memory when idle.
mod start;

/// `nsl-bench stream`: large values beside COPY.
mod stream;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure nsl beside its peers, in one run on one machine.
#[derive(Parser)]
#[command(name = "nsl-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a credential adds to a request, and logins by password beside raw Argon2id.
    Auth(auth::Args),
    /// The commit path in process, without HTTP, beside pgbench on the same tables.
    Path(path::Args),
    /// The same with few and with many items: latencies, lists, memory, start.
    Scale(scale::Args),
    /// Sealed puts and gets over HTTP beside OpenBao and pgbench on the same PostgreSQL.
    Sgx(sgx::Args),
    /// Start on an existing directory to healthy, and resident memory when idle.
    Start(start::Args),
    /// Large values in and out over HTTP beside COPY of the same chunks.
    Stream(stream::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Auth(args) => auth::run(args).await,
        Command::Path(args) => path::run(args).await,
        Command::Scale(args) => scale::run(args).await,
        Command::Sgx(args) => sgx::run(args).await,
        Command::Start(args) => start::run(args).await,
        Command::Stream(args) => stream::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
