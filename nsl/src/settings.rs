//! The sections of every service in this build, and where their values come from.

use std::path::PathBuf;

use nsl_core::config::{Config, ConfigError, Registry, Sources, platform_sections};
use serde_json::Value;

fn registry() -> Result<Registry, ConfigError> {
    let mut sections = platform_sections()?;
    sections.extend(nsl_auth::Sections::known()?);
    sections.push(nsl_sgx::section()?);
    sections.push(crate::enclave::section()?);
    Registry::new(sections)
}

/// The configuration of this process: defaults, file, environment, flags.
pub(crate) fn load(file: Option<PathBuf>, flags: Vec<(String, Value)>) -> Result<Config, ConfigError> {
    Config::load(&registry()?, Sources::of_process(file, flags))
}

/// The same, with variables for what the environment leaves open: `nsl up` points at the files of its own secrets.
pub(crate) fn load_with(
    file: Option<PathBuf>,
    flags: Vec<(String, Value)>,
    defaults: Vec<(String, String)>,
) -> Result<Config, ConfigError> {
    let mut sources = Sources::of_process(file, flags);
    for (name, value) in defaults {
        let plain = name.strip_suffix("_FILE").unwrap_or(&name);
        let given = sources.env.iter().any(|(known, value)| {
            !value.is_empty() && (known.eq_ignore_ascii_case(plain) || known.eq_ignore_ascii_case(&name))
        });
        if !given {
            sources.env.push((name, value));
        }
    }
    Config::load(&registry()?, sources)
}
