//! Section `Auth`: who may register, who needs a second factor, and when guessing is stopped.

use jiff::SignedDuration;
use nsl_core::config::ConfigError;
use serde::{Deserialize, Serialize};

const MAX_FAILED_ATTEMPTS: u32 = 100;
const MAX_LOCKOUT_MINUTES: u32 = 24 * 60;

/// The rules of accounts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct AuthConfig {
    /// Whether anyone may make an account by `auth/register`.
    pub allow_registration: bool,
    /// The roles whose holders need a second factor: without one their tokens reach their own account only.
    pub require_mfa_for_roles: Vec<String>,
    /// Wrong passwords of one account from one block of addresses, until that block is locked out of it.
    pub max_failed_attempts: u32,
    /// How long the first lockout lasts; each further one lasts twice as long, up to a day.
    pub lockout_minutes: u32,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            allow_registration: false,
            require_mfa_for_roles: Vec::new(),
            max_failed_attempts: 5,
            lockout_minutes: 30,
        }
    }
}

impl AuthConfig {
    pub(crate) fn lockout(&self) -> SignedDuration {
        SignedDuration::from_mins(self.lockout_minutes.into())
    }

    /// Refuses what would let anyone guess for ever, or lock people out for ever.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, value, most) in [
            ("MaxFailedAttempts", self.max_failed_attempts, MAX_FAILED_ATTEMPTS),
            ("LockoutMinutes", self.lockout_minutes, MAX_LOCKOUT_MINUTES),
        ] {
            if !(1..=most).contains(&value) {
                return Err(refuse(key, format!("expected a number from 1 to {most}")));
            }
        }
        if self.require_mfa_for_roles.iter().any(|role| role.trim().is_empty()) {
            return Err(refuse("RequireMfaForRoles", "expected names of roles".to_owned()));
        }
        Ok(())
    }
}

fn refuse(key: &str, reason: String) -> ConfigError {
    ConfigError::Value { key: format!("Auth:{key}"), origin: "section Auth".to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds() {
        assert!(AuthConfig::default().validate().is_ok());
        for (config, at_fault) in [
            (AuthConfig { max_failed_attempts: 0, ..AuthConfig::default() }, "MaxFailedAttempts"),
            (AuthConfig { max_failed_attempts: 101, ..AuthConfig::default() }, "MaxFailedAttempts"),
            (AuthConfig { lockout_minutes: 0, ..AuthConfig::default() }, "LockoutMinutes"),
            (AuthConfig { lockout_minutes: 1441, ..AuthConfig::default() }, "LockoutMinutes"),
            (
                AuthConfig { require_mfa_for_roles: vec![" ".to_owned()], ..AuthConfig::default() },
                "RequireMfaForRoles",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(at_fault), "{error}");
        }
    }
}
