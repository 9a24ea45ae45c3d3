//! What can be wrong with a configuration. Every text names the setting and what to do, and none shows a value,
//! because any value may be a secret that was put in the wrong place.

use super::connection::ConnectionStringError;
use super::secret::SecretError;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}: {source}; check the path and its permissions")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not valid JSON: {source}; correct it there")]
    Json { path: String, source: serde_json::Error },
    #[error("{path} must hold one JSON object whose keys are sections; the sections are {sections}")]
    NotAnObject { path: String, sections: String },
    #[error("{key} is not a {what} ({origin}); {hint}")]
    Unknown { key: String, what: &'static str, origin: String, hint: String },
    #[error("{key} is a group of settings ({origin}); set one of them: {settings}")]
    Group { key: String, origin: String, settings: String },
    #[error("{key} skips an index ({origin}); number the entries from 0 without gaps")]
    Index { key: String, origin: String },
    #[error(
        "{key} refers to ${{{variable}}}, which is not set ({origin}); set the variable, or remove the line if the \
         setting is not needed"
    )]
    Unresolved { key: String, variable: String, origin: String },
    #[error(
        "{key} has a malformed reference ({origin}); write ${{NAME}}, or $${{ for the characters themselves"
    )]
    Reference { key: String, origin: String },
    #[error("cannot read {path}, named by {variable}: {source}; check the path and its permissions")]
    SecretFile { variable: String, path: String, source: std::io::Error },
    #[error("both {variable} and {variable}_FILE are set; keep one of them")]
    SecretTwice { variable: String },
    #[error("{key} is set by both {first} and {second}, and the two differ; keep one of them")]
    TwoValues { key: String, first: String, second: String },
    #[error("{key} has a value that does not fit ({origin}): {reason}; correct it there")]
    Value { key: String, origin: String, reason: String },
    #[error("the section {section} is not registered; register it with Registry::new before it is read")]
    NotRegistered { section: String },
    #[error("the section {section} is registered twice; one owner registers it")]
    RegisteredTwice { section: String },
    #[error(
        "the defaults of the section {section} are not an object of settings; give it a struct: {reason}"
    )]
    Defaults { section: String, reason: String },
    #[error("{key} is not set; give it as `Host=…;Port=5432;Database=…;Username=…` or a postgres:// URL")]
    ConnectionMissing { key: String },
    #[error("{key}: {source}")]
    Connection { key: String, source: ConnectionStringError },
    #[error(transparent)]
    Secret(#[from] SecretError),
}
