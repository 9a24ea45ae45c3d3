//! The layer of `appsettings.json`: reading it and expanding `${VAR}` in its texts.

use std::path::Path;

use serde_json::Value;
use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::ConfigError;
use super::registry::Registry;
use super::tree::{Kind, Node, Origin, key_of};

pub(super) fn read(path: &Path, registry: &Registry, environment: &Environment) -> Result<Node, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    // Editors on Windows write a byte order mark, which JSON does not allow (RFC 8259, section 8.1).
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|source| ConfigError::Json { path: shown.clone(), source })?;
    let Value::Object(mut sections) = value else {
        return Err(ConfigError::NotAnObject { path: shown, sections: registry.names().join(", ") });
    };
    // Editors put the address of a JSON schema here; it configures nothing.
    sections.remove("$schema");
    let mut layer = Node::from_value(Value::Object(sections), &Origin::File(shown));
    expand(&mut layer, registry, environment, &mut Vec::new())?;
    Ok(layer)
}

fn expand(
    node: &mut Node,
    registry: &Registry,
    environment: &Environment,
    at: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let origin = node.origin().to_string();
    match node.kind_mut() {
        Kind::Object(entries) => {
            for (key, node) in entries {
                at.push(key.clone());
                expand(node, registry, environment, at)?;
                at.pop();
            }
        }
        Kind::List(items) => {
            for (index, node) in items.iter_mut().enumerate() {
                at.push(index.to_string());
                expand(node, registry, environment, at)?;
                at.pop();
            }
        }
        Kind::Text(text) if text.contains("${") => {
            let expanded = expand_text(text, |name| {
                let secret = registry.is_secret(at) || registry.variable(name).is_some();
                environment.lookup(name, secret)
            });
            let kind = match expanded {
                Ok(text) => Kind::Text(text),
                Err(Failure::Unset(variable)) => Kind::Unresolved(variable),
                Err(Failure::Malformed) => return Err(ConfigError::Reference { key: key_of(at), origin }),
                Err(Failure::Lookup(error)) => return Err(error),
            };
            *node.kind_mut() = kind;
        }
        _ => {}
    }
    Ok(())
}

enum Failure {
    Unset(String),
    Malformed,
    Lookup(ConfigError),
}

fn expand_text(
    text: &str,
    lookup: impl Fn(&str) -> Result<Option<Zeroizing<String>>, ConfigError>,
) -> Result<Zeroizing<String>, Failure> {
    let mut result = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        let reference = &reference[2..];
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = reference;
            continue;
        }
        result.push_str(before);
        let (name, after) = reference.split_once('}').ok_or(Failure::Malformed)?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !is_name {
            return Err(Failure::Malformed);
        }
        let value = lookup(name).map_err(Failure::Lookup)?.ok_or_else(|| Failure::Unset(name.to_owned()))?;
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}
