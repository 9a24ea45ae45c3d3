//! The roof: the binary. One file per subcommand in `cli`, the composition of services into a process in `process`,
//! what `nsl up` keeps on disk in `local`. Nothing of any domain.

/// One file per subcommand.
mod cli;
/// The database before it can serve: roles, passwords, migrations, and what a server that is away or not ready means.
mod db;
/// The enclave as a process of its own.
mod enclave;
/// What the system does for a process that holds keys.
mod hardening;
/// What `nsl up` keeps below its data directory.
mod local;
/// The services put together into one process.
mod process;
/// What a process does.
mod roles;
/// Which services a process has.
mod services;
/// The sections of every service, and where their values come from.
mod settings;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Both rustls users (the HTTP client, the database) name this provider; a second one in the tree must not decide.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run()
}
