//! What a tenant may be named. The bounds are those of the table's checks.

use nsl_core::ids::TenantId;
use serde::{Deserialize, Serialize};

use super::user::Violation;

/// Whether the members of a tenant can do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = core::TenantStatus)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TenantStatus {
    Active,
    Suspended,
}

impl TenantStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// Checks the name by which people log in to a tenant.
pub(crate) fn name(name: &str) -> Result<(), Violation> {
    let is_good = (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    // A login takes a name or an id.
    if !is_good || name.parse::<TenantId>().is_ok() {
        return Err(Violation::new(
            "/name",
            "a tenant's name has 1 to 63 lower-case letters, digits and dashes, begins with none of the latter, and is \
             no id",
        ));
    }
    Ok(())
}

/// Checks the name that people see.
pub(crate) fn display_name(name: &str) -> Result<(), Violation> {
    if !(1..=255).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(Violation::new(
            "/displayName",
            "a display name has 1 to 255 characters and no control characters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(63);
        for good in ["acme", "0", "a-b-", longest.as_str()] {
            assert!(name(good).is_ok(), "{good}");
        }
        let longer = "x".repeat(64);
        for bad in ["", "-a", "Acme", "a b", "ä", "019a0000-0000-7000-8000-000000000000", longer.as_str()] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(display_name("Acme, Inc.").is_ok());
        assert!(display_name("").is_err() && display_name("\n").is_err());
    }
}
