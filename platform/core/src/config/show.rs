//! The effective settings as rows, for `nsl config show`: what is set, and which layer set it. No secret is
//! ever in a row.

use std::convert::Infallible;

use serde::Serialize;

use super::connection::ConnectionString;
use super::registry::Mask;
use super::tree::{Kind, Node, key_of};
use super::{Config, secret::MASK};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `SGX:Database:EnableEncryption`
    pub key: String,
    /// `None` where an optional setting is not set.
    pub value: Option<String>,
    /// `default`, `file PATH`, `env NAME` or `flag`.
    pub origin: String,
}

impl Config {
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let Ok(()) = self.root.visit(&mut Vec::new(), &mut |at, node| {
            let secret = self.secrets.iter().find(|secret| secret.covers(at));
            let value = match secret {
                Some(secret) => masked(node, secret.mask),
                None => plain(node),
            };
            rows.push(Row { key: key_of(at), value, origin: node.origin().to_string() });
            Ok::<(), Infallible>(())
        });
        rows
    }
}

fn plain(node: &Node) -> Option<String> {
    match node.kind() {
        Kind::Null | Kind::Unresolved(_) => None,
        Kind::Bool(flag) => Some(flag.to_string()),
        Kind::Number(number) => Some(number.to_string()),
        Kind::Text(text) => Some(text.to_string()),
        Kind::List(_) => Some("[]".to_owned()),
        Kind::Object(_) => Some("{}".to_owned()),
    }
}

fn masked(node: &Node, mask: Mask) -> Option<String> {
    match node.kind() {
        Kind::Null | Kind::Unresolved(_) => None,
        Kind::Text(text) if text.is_empty() => None,
        // What does not parse may have its password anywhere.
        Kind::Text(text) if mask == Mask::Password => {
            Some(ConnectionString::parse(text).map_or_else(|_| MASK.to_owned(), |parsed| parsed.redacted()))
        }
        _ => Some(MASK.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Registry, Sources, platform_sections};

    #[test]
    fn rows_name_the_origin_and_hide_secrets() {
        let registry = Registry::new(platform_sections().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.json");
        std::fs::write(&file, r#"{"Logging": {"Level": "debug"}}"#).unwrap();
        let env = [
            ("POSTGRES_PASSWORD", "hunter2"),
            ("ConnectionStrings__DefaultConnection", "Host=db;Database=d;Username=u;Password=hunter2"),
        ];
        let sources = Sources {
            file: Some(file.clone()),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            flags: vec![("Http:Listen".to_owned(), "127.0.0.1:9000".into())],
        };
        let rows = Config::load(&registry, sources).unwrap().rows();
        let row = |key: &str| {
            let row = rows.iter().find(|row| row.key == key).unwrap();
            (row.value.as_deref(), row.origin.as_str())
        };
        assert_eq!(row("Http:RequestTimeoutSeconds"), (Some("30"), "default"));
        assert_eq!(row("Http:Listen"), (Some("127.0.0.1:9000"), "flag"));
        assert_eq!(row("Http:ScrapeToken"), (None, "default"));
        assert_eq!(row("Logging:Level"), (Some("debug"), format!("file {}", file.display()).as_str()));
        assert_eq!(row("Database:Roles:neo_user:Password"), (Some("••••"), "env POSTGRES_PASSWORD"));
        let (connection, _) = row("ConnectionStrings:DefaultConnection");
        assert!(connection.unwrap().starts_with("Host=db"), "{connection:?}");
        assert!(!serde_json::to_string(&rows).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_connection_string_that_does_not_parse_is_hidden_whole() {
        let registry = Registry::new(platform_sections().unwrap()).unwrap();
        let env = vec![("ConnectionStrings__DefaultConnection".to_owned(), "Pasword=hunter2".to_owned())];
        let rows = Config::load(&registry, Sources { env, ..Sources::default() }).unwrap().rows();
        let row = rows.iter().find(|row| row.key == "ConnectionStrings:DefaultConnection").unwrap();
        assert_eq!(row.value.as_deref(), Some("••••"));
    }
}
