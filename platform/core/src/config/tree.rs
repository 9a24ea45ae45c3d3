//! The settings as a tree whose every node remembers the layer that it came from, and the two ways to lay
//! something over it: a whole layer, or one value at one path.
//!
//! The shape of the tree is the registered defaults: a filled object is a group with fixed keys, and an empty
//! object, a list or a null is open below (a map, a list, or an optional value whose type only its owner knows).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

use super::error::ConfigError;
use super::registry::hint;

/// The layer that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(String),
    Variable(String),
    SecretFile { variable: String, path: String },
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => write!(f, "env {name}"),
            Self::SecretFile { variable, path } => write!(f, "env {variable}, file {path}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

pub(super) struct Node {
    kind: Kind,
    origin: Origin,
}

pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(Zeroizing<String>),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
    /// A text of the file that refers to this variable, which is not set. An error only if no later layer
    /// decides the setting.
    Unresolved(String),
}

/// How messages write a path.
pub(super) fn key_of(at: &[String]) -> String {
    at.join(":")
}

/// The fixed keys of a group; `None` where the shape is open.
fn group(shape: &Value) -> Option<&Map<String, Value>> {
    shape.as_object().filter(|keys| !keys.is_empty())
}

fn find<'a>(keys: &'a Map<String, Value>, given: &str) -> Option<(&'a String, &'a Value)> {
    keys.iter().find(|(known, _)| known.eq_ignore_ascii_case(given))
}

impl Node {
    pub(super) fn new(kind: Kind, origin: Origin) -> Self {
        Self { kind, origin }
    }

    pub(super) fn from_value(value: Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(flag) => Kind::Bool(flag),
            Value::Number(number) => Kind::Number(number),
            Value::String(text) => Kind::Text(Zeroizing::new(text)),
            Value::Array(items) => {
                Kind::List(items.into_iter().map(|item| Self::from_value(item, origin)).collect())
            }
            Value::Object(entries) => Kind::Object(
                entries.into_iter().map(|(key, value)| (key, Self::from_value(value, origin))).collect(),
            ),
        };
        Self { kind, origin: origin.clone() }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn kind_mut(&mut self) -> &mut Kind {
        &mut self.kind
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The node at a path, keys matched without regard to case.
    pub(super) fn get(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let child = match &self.kind {
            Kind::Object(entries) => {
                entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(first)).map(|(_, node)| node)
            }
            Kind::List(items) => items.get(first.parse::<usize>().ok()?),
            _ => None,
        };
        child?.get(rest)
    }

    /// Calls `each` with the path and the node of every leaf; an empty list or object is a leaf too.
    pub(super) fn visit<E>(
        &self,
        at: &mut Vec<String>,
        each: &mut impl FnMut(&[String], &Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let children: Vec<(String, &Self)> = match &self.kind {
            Kind::Object(entries) => entries.iter().map(|(key, node)| (key.clone(), node)).collect(),
            Kind::List(items) => items.iter().enumerate().map(|(i, node)| (i.to_string(), node)).collect(),
            _ => Vec::new(),
        };
        if children.is_empty() {
            return each(at, self);
        }
        for (key, node) in children {
            at.push(key);
            node.visit(at, each)?;
            at.pop();
        }
        Ok(())
    }

    /// Lays a whole layer over this one. A null of the layer says nothing and leaves what is there.
    pub(super) fn overlay(
        &mut self,
        shape: &Value,
        layer: Self,
        at: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        if matches!(layer.kind, Kind::Null) {
            return Ok(());
        }
        let Some(keys) = group(shape) else {
            *self = layer;
            return Ok(());
        };
        match (&mut self.kind, layer.kind) {
            (Kind::Object(entries), Kind::Object(given)) => {
                for (key, node) in given {
                    let (known, inner) =
                        find(keys, &key).ok_or_else(|| unknown(at, &key, keys, &layer.origin))?;
                    at.push(known.clone());
                    entries
                        .entry(known.clone())
                        .or_insert_with(|| Self::absent(&layer.origin))
                        .overlay(inner, node, at)?;
                    at.pop();
                }
                Ok(())
            }
            _ => Err(group_error(at, keys, &layer.origin)),
        }
    }

    /// Puts one value at one path.
    pub(super) fn place(
        &mut self,
        shape: &Value,
        path: &[String],
        value: Self,
        at: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let keys = group(shape);
        let Some((first, rest)) = path.split_first() else {
            if let Some(keys) = keys {
                return Err(group_error(at, keys, &value.origin));
            }
            *self = value;
            return Ok(());
        };
        if let (Some(keys), Kind::Object(entries)) = (keys, &mut self.kind) {
            let (known, inner) = find(keys, first).ok_or_else(|| unknown(at, first, keys, &value.origin))?;
            at.push(known.clone());
            return entries
                .entry(known.clone())
                .or_insert_with(|| Self::absent(&value.origin))
                .place(inner, rest, value, at);
        }
        self.place_open(first, rest, value, at)
    }

    /// Below an open shape the path itself says what is there: an index is a list's, any other key a map's.
    fn place_open(
        &mut self,
        first: &str,
        rest: &[String],
        value: Self,
        at: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let index = first.parse::<usize>().ok();
        // A list of the defaults is replaced as a whole, or its tail would survive the operator's shorter list.
        let begins_list = index.is_some()
            && match &self.kind {
                Kind::List(items) => self.origin == Origin::Default && !items.is_empty(),
                Kind::Object(_) => false,
                _ => true,
            };
        if begins_list {
            *self = Self::new(Kind::List(Vec::new()), value.origin.clone());
        } else if !matches!(self.kind, Kind::List(_) | Kind::Object(_)) {
            *self = Self::new(Kind::Object(BTreeMap::new()), value.origin.clone());
        }
        at.push(first.to_owned());
        let origin = value.origin.clone();
        let child = match (&mut self.kind, index) {
            (Kind::List(items), Some(index)) if index <= items.len() => {
                if index == items.len() {
                    items.push(Self::absent(&origin));
                }
                items.get_mut(index)
            }
            (Kind::Object(entries), _) => {
                let known = entries.keys().find(|key| key.eq_ignore_ascii_case(first)).cloned();
                Some(
                    entries
                        .entry(known.unwrap_or_else(|| first.to_owned()))
                        .or_insert_with(|| Self::absent(&origin)),
                )
            }
            _ => None,
        };
        match child {
            Some(child) => child.place(&Value::Null, rest, value, at),
            None => Err(ConfigError::Index { key: key_of(at), origin: origin.to_string() }),
        }
    }

    fn absent(origin: &Origin) -> Self {
        Self::new(Kind::Null, origin.clone())
    }
}

fn unknown(at: &[String], given: &str, keys: &Map<String, Value>, origin: &Origin) -> ConfigError {
    let mut path = at.to_vec();
    path.push(given.to_owned());
    ConfigError::Unknown {
        key: key_of(&path),
        what: if at.is_empty() { "section" } else { "setting" },
        origin: origin.to_string(),
        hint: hint(given, keys.keys()),
    }
}

fn group_error(at: &[String], keys: &Map<String, Value>, origin: &Origin) -> ConfigError {
    let settings: Vec<&str> = keys.keys().map(String::as_str).collect();
    ConfigError::Group { key: key_of(at), origin: origin.to_string(), settings: settings.join(", ") }
}
