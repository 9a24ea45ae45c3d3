//! `nsl secrets`: fresh values for the variables that the configuration takes.

use std::path::{Path, PathBuf};

use nsl_core::config::fresh;

use super::{Globals, output};
use crate::enclave::certificates;

/// Prints lines for a shell or an env file; each run prints other values, and nothing is stored.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the certificates of the enclave's process and of those that ask it into this directory instead.
    #[arg(long, value_name = "DIR")]
    enclave_certificates: Option<PathBuf>,
    /// A name or address by which the enclave's process is reached; may be given several times
    /// [default: localhost, 127.0.0.1, ::1].
    #[arg(long, value_name = "NAME", requires = "enclave_certificates")]
    enclave_host: Vec<String>,
}

const VARIABLES: [&str; 6] = [
    "POSTGRES_PASSWORD",
    "Database__Roles__neo_api__Password",
    "Database__Roles__neo_enclave__Password",
    "Database__Roles__neo_jobs__Password",
    "JWT_SECRET_KEY",
    "SGX_ENCRYPTION_KEY",
];

pub(crate) fn run(args: &Args, globals: &Globals) -> anyhow::Result<()> {
    if let Some(dir) = &args.enclave_certificates {
        return write_certificates(dir, &args.enclave_host, globals.json);
    }
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

/// Both ends' files, as each end's settings name them.
fn write_certificates(dir: &Path, hosts: &[String], json: bool) -> anyhow::Result<()> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    certificates::write(dir, if hosts.is_empty() { &local } else { hosts })?;
    let dir = std::path::absolute(dir)?;
    let mut ends = serde_json::Map::new();
    for (end, [certificate, key]) in [("enclave", certificates::ENCLAVE), ("api", certificates::API)] {
        let mut values = serde_json::Map::new();
        for (setting, file) in
            [("Certificate", certificate), ("PrivateKey", key), ("CaCertificate", certificates::AUTHORITY)]
        {
            let path = dir.join(file).to_string_lossy().into_owned();
            values.insert(format!("Enclave__{setting}_FILE"), path.into());
        }
        ends.insert(end.to_owned(), values.into());
    }
    if json {
        return output::json(&ends);
    }
    for (end, values) in &ends {
        output::line(&format!("# for `nsl serve --roles {end}`, and for no other process"))?;
        for (name, path) in values.as_object().into_iter().flatten() {
            output::line(&format!("export {name}='{}'", path.as_str().unwrap_or_default()))?;
        }
    }
    eprintln!(
        "The authority's key was thrown away: to change a name or a certificate, make all of them anew."
    );
    Ok(())
}
