//! What may be configured: each section with its defaults, which of its values are secret, and the plain
//! variables (`JWT_SECRET_KEY`) that stand for one of its settings. Sections are registered by their owners;
//! this file knows none of them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ConfigError;

/// One section: a name and its defaults, which also say which keys exist.
pub struct Section {
    name: String,
    defaults: Value,
    secrets: Vec<SecretPath>,
    variables: Vec<(String, Vec<String>)>,
}

/// Where a secret stands; `*` matches any key of a map or index of a list.
#[derive(Clone)]
pub(super) struct SecretPath {
    pattern: Vec<String>,
    pub(super) mask: Mask,
}

/// How much of a secret is hidden when the settings are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    Whole,
    /// Of a connection string only the password, because the operator wants to see which database it names.
    Password,
}

impl SecretPath {
    /// Whether the path is the secret or lies below it.
    pub(super) fn covers(&self, path: &[String]) -> bool {
        self.pattern.len() <= path.len()
            && self.pattern.iter().zip(path).all(|(want, key)| want == "*" || want.eq_ignore_ascii_case(key))
    }
}

impl Section {
    /// A section with its owner's `Default`, serialised. An optional setting must serialise as null and an empty
    /// map as `{}`, so that the key is known.
    pub fn of<T: Serialize + Default>(name: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: String| ConfigError::Defaults { section: name.to_owned(), reason };
        let defaults = serde_json::to_value(T::default()).map_err(|error| refuse(error.to_string()))?;
        if !defaults.is_object() {
            return Err(refuse("it serialises as a single value".to_owned()));
        }
        Ok(Self { name: name.to_owned(), defaults, secrets: Vec::new(), variables: Vec::new() })
    }

    /// Marks the setting at a path below this section (`Database:EncryptionKey`) as secret: masked when shown,
    /// and accepted as `…_FILE`. A secret is not serialised, so this is also what makes its key known.
    #[must_use]
    pub fn secret(self, path: &str) -> Self {
        self.mark(path, Mask::Whole)
    }

    /// Marks a secret that is a connection string; only its password is masked.
    #[must_use]
    pub fn connection_string(self, path: &str) -> Self {
        self.mark(path, Mask::Password)
    }

    /// Lets a plain variable set the setting at a path below this section.
    #[must_use]
    pub fn variable(mut self, variable: &str, path: &str) -> Self {
        let path = self.absolute(path);
        self.variables.push((variable.to_owned(), path));
        self
    }

    fn mark(mut self, path: &str, mask: Mask) -> Self {
        let mut at = &mut self.defaults;
        for key in path.split(':').take_while(|key| *key != "*") {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let Some(entries) = at.as_object_mut() else { break };
            at = entries.entry(key).or_insert(Value::Null);
        }
        let pattern = self.absolute(path);
        self.secrets.push(SecretPath { pattern, mask });
        self
    }

    fn absolute(&self, path: &str) -> Vec<String> {
        std::iter::once(self.name.as_str()).chain(path.split(':')).map(str::to_owned).collect()
    }
}

/// Every section of this build.
pub struct Registry {
    sections: Vec<Section>,
}

impl Registry {
    pub fn new(sections: impl IntoIterator<Item = Section>) -> Result<Self, ConfigError> {
        let mut registry = Self { sections: Vec::new() };
        for section in sections {
            if registry.knows(&section.name) {
                return Err(ConfigError::RegisteredTwice { section: section.name });
            }
            registry.sections.push(section);
        }
        Ok(registry)
    }

    pub(super) fn defaults(&self) -> Value {
        self.sections.iter().map(|section| (section.name.clone(), section.defaults.clone())).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.sections.iter().map(|section| section.name.as_str()).collect()
    }

    pub(super) fn knows(&self, section: &str) -> bool {
        self.sections.iter().any(|known| known.name.eq_ignore_ascii_case(section))
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretPath> {
        self.sections.iter().flat_map(|section| &section.secrets)
    }

    pub(super) fn is_secret(&self, path: &[String]) -> bool {
        self.secrets().any(|secret| secret.covers(path))
    }

    /// The setting that a plain variable stands for.
    pub(super) fn variable(&self, name: &str) -> Option<&[String]> {
        let mut variables = self.sections.iter().flat_map(|section| &section.variables);
        variables.find(|(variable, _)| variable == name).map(|(_, path)| path.as_slice())
    }
}

/// "did you mean X?" when one known name is near, else the list of all.
pub(super) fn hint<'a>(given: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let lower = given.to_lowercase();
    let nearest = known.clone().map(|name| (distance(&lower, &name.to_lowercase()), name)).min();
    match nearest {
        Some((steps, name)) if steps <= (given.chars().count() / 3).max(1) => format!("did you mean {name}?"),
        _ => format!("known here: {}", known.map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Default)]
    struct Empty {}

    #[test]
    fn distance_counts_edits() {
        for (a, b, steps) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }

    #[test]
    fn a_hint_names_the_near_one_or_all() {
        let known = ["Listen".to_owned(), "MaxBodyBytes".to_owned()];
        assert_eq!(hint("listn", known.iter()), "did you mean Listen?");
        assert_eq!(hint("Colour", known.iter()), "known here: Listen, MaxBodyBytes");
    }

    #[test]
    fn a_secret_makes_its_key_known_and_covers_what_is_below() {
        let section = Section::of::<Empty>("A").unwrap().secret("B:C").secret("Map:*:Key");
        assert_eq!(section.defaults, serde_json::json!({"B": {"C": null}, "Map": null}));
        let registry = Registry::new([section]).unwrap();
        let path = |text: &str| text.split(':').map(str::to_owned).collect::<Vec<_>>();
        for secret in ["A:B:C", "a:b:c:0", "A:Map:any:KEY"] {
            assert!(registry.is_secret(&path(secret)), "{secret}");
        }
        for open in ["A:B", "A:B:D", "A:Map:any", "A:Map:any:Other"] {
            assert!(!registry.is_secret(&path(open)), "{open}");
        }
    }

    #[test]
    fn a_section_has_one_owner() {
        let twice = Registry::new([Section::of::<Empty>("A").unwrap(), Section::of::<Empty>("a").unwrap()]);
        assert!(matches!(twice, Err(ConfigError::RegisteredTwice { .. })));
        assert!(matches!(Section::of::<u32>("A"), Err(ConfigError::Defaults { .. })));
    }
}
