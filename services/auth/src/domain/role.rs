//! What a role may be named and permit. The bounds are those of the tables' checks, or narrower.

use serde::Serialize;

use super::user::Violation;

/// Every access token carries them.
const MAX_PERMISSIONS: usize = 64;

/// A role to be made.
#[derive(Serialize)]
pub(crate) struct NewRole<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) permissions: &'a [String],
}

/// Everything that is wrong with a new role.
pub(crate) fn check(role: &NewRole<'_>) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let is_slug = |c: char| c.is_alphanumeric() || " -_.".contains(c);
    if !(1..=100).contains(&role.name.chars().count())
        || role.name.trim() != role.name
        || !role.name.chars().all(is_slug)
        || role.name.parse::<uuid::Uuid>().is_ok()
    {
        found.push(Violation::new(
            "/name",
            "a role's name has 1 to 100 letters, digits, spaces, `-`, `_` and `.`, and is no id",
        ));
    }
    found.extend(description(role.description).err());
    found.extend(permissions(role.permissions));
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What a description may be.
pub(crate) fn description(text: &str) -> Result<(), Violation> {
    if text.chars().count() > 500 || text.contains(char::is_control) {
        return Err(Violation::new(
            "/description",
            "a description has at most 500 characters and no control characters",
        ));
    }
    Ok(())
}

/// What is wrong with a list of permissions.
pub(crate) fn permissions(names: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    if names.len() > MAX_PERMISSIONS {
        found.push(Violation::new(
            "/permissions",
            format!("a role has at most {MAX_PERMISSIONS} permissions"),
        ));
    }
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_permission(name)) {
        found.push(Violation::new(
            format!("/permissions/{index}"),
            format!(
                "{name:?} is not of the form service:verb, service:* or *; /docs names that of every route"
            ),
        ));
    }
    found
}

/// `<service>:<verb>`, where the verb may be several words or a star; or a star alone.
fn is_permission(name: &str) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    name == "*"
        || name
            .split_once(':')
            .is_some_and(|(service, verb)| is_word(service) && (verb == "*" || verb.split('-').all(is_word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(name: &str, permissions: &[&str]) -> Vec<String> {
        let permissions: Vec<String> = permissions.iter().map(|name| (*name).to_owned()).collect();
        let role = NewRole { name, description: "", permissions: &permissions };
        check(&role).err().unwrap_or_default().into_iter().map(|found| found.pointer).collect()
    }

    #[test]
    fn names() {
        for good in ["Clerk", "Night shift", "ops-2.b_c", "库存"] {
            assert!(pointers(good, &[]).is_empty(), "{good}");
        }
        let longer = "x".repeat(101);
        for bad in ["", " x", "a/b", "a\0", "a%b", "019a0000-0000-7000-8000-000000000000", longer.as_str()] {
            assert_eq!(pointers(bad, &[]), ["/name"], "{bad}");
        }
    }

    #[test]
    fn permissions_have_the_form_of_the_tables_check() {
        assert!(pointers("Clerk", &["*", "sgx:read", "sgx:*", "auth:api-keys"]).is_empty());
        let bad =
            ["", "sgx", "sgx:", ":read", "Sgx:read", "sgx:read:all", "sgx:-x", "sgx:x-", "s*:read", "sgx:r2"];
        for name in bad {
            assert_eq!(pointers("Clerk", &["sgx:read", name]), ["/permissions/1"], "{name}");
        }
        assert_eq!(pointers("Clerk", &["sgx:read"; MAX_PERMISSIONS + 1]), ["/permissions"]);
    }
}
