//! The real binary from outside: its arguments and output, its HTTP, the files and the database that it leaves behind.
//!
//! Each test has an installation of its own in a temporary folder, so all of them can run at once. What is about one
//! service stands in that service's own tests.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// The enclave as a process of its own: what each has, says and withstands.
mod apart;
/// Requests through the API's process: the same as if there were one.
mod apart_http;
/// kill -9 of either process under writers.
mod apart_kill;
/// `nsl auth …`.
mod auth_cli;
/// Bodies that are too large.
mod bodies;
/// The command line.
mod cli;
/// Which crate may depend on which.
mod dependencies;
/// Tokens, checked by a verifier of others.
mod foreign_tokens;
/// `nsl up` in a folder of its own, and its end whatever the test did.
mod installation;
/// kill -9 under writers.
mod kill;
/// The OpenAPI document.
mod openapi;
/// The binary as a process: started, signalled, looked at.
mod program;
/// A relay that records what passes.
mod relay;
/// Every route, by the OpenAPI document: who gets in and who does not.
mod routes;
/// What lies on the disk.
mod secrecy;
/// `nsl serve` on a server that is someone else's.
mod serve;
/// `nsl serve` on a test database.
mod served;
/// `nsl sgx …`.
mod sgx_cli;
/// The typed client on sealed storage.
mod sgx_client;
/// The API and the enclave as two processes.
mod split;
/// A command on a terminal.
mod terminal;
/// `nsl up`: start, reattach, refuse, stop.
mod up;

use std::time::Duration;

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

/// Bytes that no compression shortens.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// A number below a bound; the bias of the remainder is of no matter here.
fn random_below(bound: u64) -> u64 {
    u64::from_le_bytes(random()) % bound
}
