//! The layer of environment variables: `Section__Key__0` as .NET reads them, the plain variables that sections
//! register, and `…_FILE` for secrets.
//!
//! An empty variable counts as not set: compose files write `${VAR:-}` for a variable that is not there.

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

use super::error::ConfigError;
use super::registry::Registry;
use super::tree::{Kind, Node, Origin, key_of};

const FILE_SUFFIX: &str = "_FILE";

pub(super) struct Environment(BTreeMap<String, Zeroizing<String>>);

impl Environment {
    pub(super) fn new(variables: Vec<(String, String)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }

    /// What `${name}` stands for. A secret may also come from the file that `name_FILE` names.
    pub(super) fn lookup(&self, name: &str, secret: bool) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let direct = self.0.get(name);
        let file_variable = format!("{name}{FILE_SUFFIX}");
        let file = self.0.get(&file_variable).filter(|path| secret && !path.is_empty());
        match (direct, file) {
            (Some(value), Some(_)) if !value.is_empty() => {
                Err(ConfigError::SecretTwice { variable: name.to_owned() })
            }
            (_, Some(path)) => read_secret(&file_variable, path).map(Some),
            (direct, None) => Ok(direct.cloned()),
        }
    }
}

struct Assignment<'a> {
    path: Vec<String>,
    variable: &'a str,
    from_file: bool,
    value: Zeroizing<String>,
    origin: Origin,
}

pub(super) fn apply(
    root: &mut Node,
    shape: &Value,
    registry: &Registry,
    environment: &Environment,
) -> Result<(), ConfigError> {
    let mut assignments: Vec<Assignment<'_>> = Vec::new();
    for (name, value) in environment.0.iter().filter(|(_, value)| !value.is_empty()) {
        let Some((path, from_file)) = target(registry, name) else { continue };
        let (value, origin) = if from_file {
            let origin = Origin::SecretFile { variable: name.clone(), path: value.to_string() };
            (read_secret(name, value)?, origin)
        } else {
            (value.clone(), Origin::Variable(name.clone()))
        };
        let next = Assignment { path, variable: name, from_file, value, origin };
        match assignments.iter().find(|earlier| same(&earlier.path, &next.path)) {
            Some(earlier) => agree(earlier, &next)?,
            None => assignments.push(next),
        }
    }
    // By number where a segment is one, so that the entries of a list come in their order.
    assignments.sort_by_cached_key(|assignment| {
        let order =
            |segment: &String| (segment.parse::<usize>().unwrap_or(usize::MAX), segment.to_lowercase());
        assignment.path.iter().map(order).collect::<Vec<_>>()
    });
    for assignment in assignments {
        let leaf = Node::new(Kind::Text(assignment.value), assignment.origin);
        root.place(shape, &assignment.path, leaf, &mut Vec::new())?;
    }
    Ok(())
}

/// The setting that a variable is for, and whether it names a file with the value.
fn target(registry: &Registry, name: &str) -> Option<(Vec<String>, bool)> {
    let base = without_suffix(name);
    if let Some(path) = registry.variable(name) {
        return Some((path.to_vec(), false));
    }
    if let Some(path) = base.and_then(|base| registry.variable(base)) {
        return Some((path.to_vec(), true));
    }
    let segments = |name: &str| name.split("__").map(str::to_owned).collect::<Vec<_>>();
    let path = segments(name);
    if path.len() < 2 || !registry.knows(&path[0]) {
        return None;
    }
    if let Some(path) = base.map(segments).filter(|path| registry.is_secret(path)) {
        return Some((path, true));
    }
    Some((path, false))
}

fn without_suffix(name: &str) -> Option<&str> {
    let (base, suffix) = name.split_at_checked(name.len().checked_sub(FILE_SUFFIX.len())?)?;
    suffix.eq_ignore_ascii_case(FILE_SUFFIX).then_some(base)
}

fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Two variables for one setting may only say the same.
fn agree(earlier: &Assignment<'_>, next: &Assignment<'_>) -> Result<(), ConfigError> {
    let (file, direct) = if earlier.from_file { (earlier, next) } else { (next, earlier) };
    let pair = file.from_file
        && without_suffix(file.variable).is_some_and(|base| base.eq_ignore_ascii_case(direct.variable));
    if pair {
        return Err(ConfigError::SecretTwice { variable: direct.variable.to_owned() });
    }
    if earlier.value == next.value {
        return Ok(());
    }
    Err(ConfigError::TwoValues {
        key: key_of(&next.path),
        first: earlier.variable.to_owned(),
        second: next.variable.to_owned(),
    })
}

/// The content of a secret's file without the newline that editors and `echo` leave at its end.
fn read_secret(variable: &str, path: &str) -> Result<Zeroizing<String>, ConfigError> {
    let mut text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| {
        ConfigError::SecretFile { variable: variable.to_owned(), path: path.to_owned(), source }
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
