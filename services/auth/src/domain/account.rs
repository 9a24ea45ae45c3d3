//! What may change of an account. Names are for ever: audit rows and idempotency keys carry them.

use serde::{Deserialize, Serialize};

use super::user::{Violation, email, full_name};

/// Whether an account can log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = auth::UserStatus)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Active,
    /// By an administrator, for a while.
    Locked,
    /// For good.
    Disabled,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
        }
    }
}

/// What becomes of a value that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Edit<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Edit<T> {
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::Keep)
    }

    /// The new value, where there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

impl Edit<String> {
    pub(crate) fn as_deref(&self) -> Edit<&str> {
        match self {
            Self::Keep => Edit::Keep,
            Self::Clear => Edit::Clear,
            Self::Set(text) => Edit::Set(text),
        }
    }
}

/// A field that is `null` takes the value away; one that is absent (`#[serde(default)]`) keeps it.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Edit<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// What is to change.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    pub(crate) email: Edit<&'a str>,
    pub(crate) full_name: Edit<&'a str>,
    pub(crate) status: Option<Status>,
}

/// Everything that is wrong with the changes.
pub(crate) fn check(changes: &Changes<'_>) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    found.extend(changes.email.value().and_then(|address| email(address).err()));
    found.extend(changes.full_name.value().and_then(|name| full_name(name).err()));
    if found.is_empty() { Ok(()) } else { Err(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let changes = Changes { email: Edit::Set("x"), full_name: Edit::Set("\0"), status: None };
        let pointers: Vec<String> = check(&changes).unwrap_err().into_iter().map(|v| v.pointer).collect();
        assert_eq!(pointers, ["/email", "/fullName"]);
        let taken_away = Changes { email: Edit::Clear, full_name: Edit::Clear, status: Some(Status::Locked) };
        assert!(check(&taken_away).is_ok());
    }
}
