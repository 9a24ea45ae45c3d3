//! What usernames, passwords and profiles may be. The bounds are those of the table's checks, or narrower, so that a
//! refusal names the field and never comes from the database.

use nsl_crypto::password::MAX_PASSWORD_LEN;
use serde::Serialize;
use zxcvbn::{Score, zxcvbn};

/// NIST SP 800-63B asks for 8 as the least; this is a service that guards keys.
pub(crate) const MIN_PASSWORD_CHARS: usize = 12;
/// What a guesser of this service tries first, beside what belongs to the user.
const HOUSE_WORDS: [&str; 5] = ["neo", "nsl", "service", "layer", "neoservicelayer"];
/// `login_attempts` keeps names up to this length, also of users that do not exist.
const MAX_ATTEMPTED_NAME: usize = 255;
/// More roles than that are a mistake, and each is looked up.
const MAX_ROLES: usize = 32;

/// A field that cannot be accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// A JSON Pointer into the body.
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

impl Violation {
    pub(crate) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A user to be made.
#[derive(Serialize)]
pub(crate) struct NewUser<'a> {
    pub(crate) username: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) full_name: Option<&'a str>,
    pub(crate) roles: &'a [String],
}

/// Whose password it is: a guesser tries these words first.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) username: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) full_name: Option<&'a str>,
}

/// Everything that is wrong with a new user, so that one answer names all of it.
pub(crate) fn check(user: &NewUser<'_>, password: &str) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    found.extend(username(user.username).err());
    let owner = Owner { username: user.username, email: user.email, full_name: user.full_name };
    found.extend(self::password("/password", &owner, password).err());
    found.extend(user.email.and_then(|address| email(address).err()));
    found.extend(user.full_name.and_then(|name| full_name(name).err()));
    if user.roles.len() > MAX_ROLES {
        found.push(Violation::new("/roles", format!("a user takes at most {MAX_ROLES} roles")));
    }
    for (index, role) in user.roles.iter().enumerate() {
        if !(1..=100).contains(&role.chars().count()) || role.contains(char::is_control) {
            found.push(Violation::new(format!("/roles/{index}"), "not the name of a role"));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn username(name: &str) -> Result<(), Violation> {
    let refuse = |detail: &str| Err(Violation::new("/username", detail));
    if !(3..=100).contains(&name.chars().count()) {
        return refuse("a username has 3 to 100 characters");
    }
    if name.contains(char::is_control) {
        return refuse("a username has no control characters");
    }
    // "ann" and "ann " would be two users that nobody can tell apart.
    if name.trim() != name {
        return refuse("a username has no space at its ends");
    }
    Ok(())
}

/// Whether a password may be set; the pointer is that of the field that brought it.
pub(crate) fn password(pointer: &str, owner: &Owner<'_>, password: &str) -> Result<(), Violation> {
    let refuse = |detail: String| Err(Violation::new(pointer, detail));
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return refuse(format!("a password has at least {MIN_PASSWORD_CHARS} characters"));
    }
    if password.len() > MAX_PASSWORD_LEN {
        return refuse(format!("a password has at most {MAX_PASSWORD_LEN} bytes"));
    }
    if password.to_lowercase() == owner.username.to_lowercase() {
        return refuse("the password is the username; choose another one".to_owned());
    }
    match weakness(owner, password) {
        Some(reason) => refuse(reason),
        None => Ok(()),
    }
}

/// Why a password can be guessed in less than 10^8 tries, if it can.
fn weakness(owner: &Owner<'_>, password: &str) -> Option<String> {
    let mut inputs = HOUSE_WORDS.to_vec();
    inputs.push(owner.username);
    inputs.extend(owner.email);
    inputs.extend(owner.email.and_then(|address| address.split('@').next()));
    inputs.extend(owner.full_name.iter().flat_map(|name| name.split_whitespace()));
    let found = zxcvbn(password, &inputs);
    if found.score() >= Score::Three {
        return None;
    }
    let mut reason = "the password is too easy to guess".to_owned();
    if let Some(feedback) = found.feedback() {
        if let Some(warning) = feedback.warning() {
            reason = format!("{reason}: {warning}");
        }
        for suggestion in feedback.suggestions() {
            reason = format!("{} {suggestion}", full_stop(reason));
        }
    }
    Some(full_stop(reason))
}

fn full_stop(text: String) -> String {
    if text.ends_with('.') { text } else { format!("{text}.") }
}

pub(super) fn email(address: &str) -> Result<(), Violation> {
    let refuse = |detail: &str| Err(Violation::new("/email", detail));
    if !(3..=255).contains(&address.chars().count()) {
        return refuse("an e-mail address has 3 to 255 characters");
    }
    if address.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return refuse("an e-mail address has no spaces or control characters");
    }
    // Whether it exists only a mail can show.
    match address.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(()),
        _ => refuse("an e-mail address has the form name@domain"),
    }
}

pub(super) fn full_name(name: &str) -> Result<(), Violation> {
    if name.chars().count() > 255 || name.contains(char::is_control) {
        return Err(Violation::new(
            "/fullName",
            "a name has at most 255 characters and no control characters",
        ));
    }
    Ok(())
}

/// A name that someone tries to log in with: any that could be stored, since a rule would tell which users can exist.
pub(crate) fn attempted_name(name: &str) -> Result<(), Vec<Violation>> {
    if name.is_empty() || name.chars().count() > MAX_ATTEMPTED_NAME || name.contains(char::is_control) {
        return Err(vec![Violation::new(
            "/username",
            format!("send a username of 1 to {MAX_ATTEMPTED_NAME} characters without control characters"),
        )]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "correct horse battery";

    fn pointers(user: &NewUser<'_>, password: &str) -> Vec<String> {
        check(user, password).err().unwrap_or_default().into_iter().map(|found| found.pointer).collect()
    }

    fn named(username: &str) -> NewUser<'_> {
        NewUser { username, email: None, full_name: None, roles: &[] }
    }

    #[test]
    fn every_fault_is_named() {
        let roles = ["User".to_owned(), "\0".to_owned()];
        let user =
            NewUser { username: "a\0", email: Some("nobody"), full_name: Some("x\u{7}"), roles: &roles };
        assert_eq!(pointers(&user, "short"), ["/username", "/password", "/email", "/fullName", "/roles/1"]);
        let many = vec!["User".to_owned(); MAX_ROLES + 1];
        assert_eq!(pointers(&NewUser { roles: &many, ..named("ann") }, PASSWORD), ["/roles"]);
    }

    #[test]
    fn usernames() {
        let longest = "x".repeat(100);
        for good in ["ann", "Ann O'Hara", "ann@example.org", "安娜陈", longest.as_str()] {
            assert!(pointers(&named(good), PASSWORD).is_empty(), "{good}");
        }
        let longer = "x".repeat(101);
        for bad in ["", "an", " ann", "ann ", "an\nn", "an\u{85}n", longer.as_str()] {
            assert_eq!(pointers(&named(bad), PASSWORD), ["/username"], "{bad}");
        }
    }

    #[test]
    fn passwords() {
        let longest = format!("correct horse battery{}", "é".repeat((MAX_PASSWORD_LEN - 21) / 2));
        for good in ["correct horse battery", "вьюга мглою крыла", longest.as_str()] {
            assert!(pointers(&named("ann"), good).is_empty(), "{good}");
        }
        let longer = "x".repeat(MAX_PASSWORD_LEN + 1);
        for bad in ["", "12345678901", "ёлкаёлкаёлк", longer.as_str()] {
            assert_eq!(pointers(&named("ann"), bad), ["/password"], "{bad}");
        }
        assert_eq!(pointers(&named("Administrator"), "administratoR"), ["/password"]);
    }

    #[test]
    fn what_is_easy_to_guess_is_refused_and_says_why() {
        for (bad, why) in [
            ("123456789012", "guess"),
            ("passwordpassword", "guess"),
            ("qwertyuiop12", "guess"),
            ("P@ssw0rd1234", "common"),
            ("aaaaaaaaaaaaaaaa", "Repeats"),
        ] {
            let violations = check(&named("ann"), bad).unwrap_err();
            assert!(violations[0].detail.contains(why), "{bad}: {}", violations[0].detail);
        }
        // Good for anybody else.
        let user = NewUser {
            email: Some("wilhelmina.van.oranje@example.org"),
            full_name: Some("Wilhelmina van Oranje"),
            ..named("wilhelmina82")
        };
        for bad in ["wilhelmina82!", "wilhelmina.van.oranje", "neoservicelayer1"] {
            assert_eq!(pointers(&user, bad), ["/password"], "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let with = |email| NewUser { email: Some(email), ..named("ann") };
        for good in ["a@b", "ann@example.org", "\"odd@name\"@example.org"] {
            assert!(pointers(&with(good), PASSWORD).is_empty(), "{good}");
        }
        for bad in ["", "ann", "@example.org", "ann@", "ann @example.org"] {
            assert_eq!(pointers(&with(bad), PASSWORD), ["/email"], "{bad}");
        }
    }

    proptest! {
        /// PostgreSQL's text takes no NUL: whatever passes can be stored.
        #[test]
        fn what_passes_has_no_control_characters(name in any::<String>()) {
            if attempted_name(&name).is_ok() || username(&name).is_ok() {
                prop_assert!(!name.contains(char::is_control));
            }
        }
    }
}
