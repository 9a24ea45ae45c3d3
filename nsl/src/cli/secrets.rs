//! `nsl secrets`: fresh values for the variables that the configuration takes.

use nsl_core::config::fresh;

use super::{Globals, output};

/// Prints lines for a shell or an env file; each run prints other values, and nothing is stored.
#[derive(clap::Args)]
pub(crate) struct Args {}

const VARIABLES: [&str; 6] = [
    "POSTGRES_PASSWORD",
    "Database__Roles__neo_api__Password",
    "Database__Roles__neo_enclave__Password",
    "Database__Roles__neo_jobs__Password",
    "JWT_SECRET_KEY",
    "SGX_ENCRYPTION_KEY",
];

pub(crate) fn run(_args: &Args, globals: &Globals) -> anyhow::Result<()> {
    let mut values = serde_json::Map::new();
    for name in VARIABLES {
        let secret = fresh()?;
        if globals.json {
            values.insert(name.to_owned(), secret.expose().into());
        } else {
            output::line(&format!("export {name}='{}'", secret.expose()))?;
        }
    }
    if globals.json {
        output::json(&values)?;
    } else {
        eprintln!(
            "Keep SGX_ENCRYPTION_KEY safe and apart from the database: without it nobody can open what is sealed."
        );
    }
    Ok(())
}
