//! The second factor at a login, and what a user may do whose roles need one.

use jiff::Timestamp;
use nsl_core::config::Secret;
use nsl_core::db::DbError;
use nsl_core::db::sql::Conn;
use nsl_core::ids::UserId;
use nsl_core::ports::SealedSecret;

use super::State;
use crate::domain::login::Denial;
use crate::domain::totp::{self, TotpSecret};
use crate::error::Error;
use crate::store::factors;
use crate::store::users::Grants;

/// What the wrapping binds a secret to, with its user.
pub(crate) const PURPOSE: &str = "auth.totp";
/// What is left to a user whose roles need a second factor and who has none: their own account, to enrol one.
const ENROLMENT: &str = "auth:self";

/// A code that is good, and is spent in the transaction of what it allows.
pub(super) enum Code {
    Step(i64),
    Backup(Vec<u8>),
}

impl State {
    /// Judges the code of a login whose password was right; None for an account without a second factor.
    pub(super) async fn second_factor(
        &self,
        user: UserId,
        confirmed: Option<&SealedSecret>,
        code: Option<&Secret>,
    ) -> crate::Result<Result<Option<Code>, Denial>> {
        Ok(match (confirmed, code) {
            (None, None) => Ok(None),
            // Ignoring a code would let its owner believe that it protects something.
            (None, Some(_)) => Err(Denial::TotpNotEnrolled),
            (Some(_), None) => Err(Denial::TotpRequired),
            (Some(totp), Some(code)) => {
                self.code(user, totp, code.expose()).await?.map(Some).ok_or(Denial::WrongCode)
            }
        })
    }

    /// What a text is as a code of the user, if it can be one.
    pub(super) async fn code(
        &self,
        user: UserId,
        totp: &SealedSecret,
        text: &str,
    ) -> crate::Result<Option<Code>> {
        let text = text.trim();
        if totp::is_code(text) {
            let secret = self.totp_secret(user, totp).await?;
            return Ok(secret.step_of(text, self.base.clock.now()).map(Code::Step));
        }
        Ok(self.backup_key.hash(user, text).map(Code::Backup))
    }

    pub(super) async fn totp_secret(&self, user: UserId, sealed: &SealedSecret) -> crate::Result<TotpSecret> {
        let opened = self.sealer.open(PURPOSE, &user.to_string(), sealed).await.map_err(Error::Enclave)?;
        Ok(TotpSecret::from_bytes(opened))
    }
}

/// Spends a code; false if another request was first.
pub(super) async fn spend(
    conn: &impl Conn,
    user: UserId,
    code: &Code,
    now: Timestamp,
) -> Result<bool, DbError> {
    let spent = match code {
        Code::Step(step) => factors::use_step(conn, user, *step).await?,
        Code::Backup(hash) => factors::use_backup_code(conn, user, hash, now).await?,
    };
    Ok(spent == 1)
}

/// The roles whose holders need a second factor.
#[derive(Clone)]
pub(super) struct MfaPolicy(Vec<String>);

impl MfaPolicy {
    pub(super) fn new(roles: &[String]) -> Self {
        Self(roles.iter().map(|role| role.trim().to_lowercase()).collect())
    }

    /// What is left of a member's grants now: all of them, unless a role of theirs needs a second factor and they have
    /// none.
    pub(super) fn apply(&self, grants: &mut Grants) {
        if !grants.has_totp && self.concerns(&grants.roles) {
            grants.permissions = reduced(&grants.permissions);
        }
    }

    pub(super) fn concerns(&self, roles: &[String]) -> bool {
        roles.iter().any(|role| self.0.contains(&role.to_lowercase()))
    }
}

/// What is left of permissions until a second factor is there.
pub(super) fn reduced(permissions: &[String]) -> Vec<String> {
    let has_it = |permission: &String| matches!(permission.as_str(), "*" | "auth:*" | ENROLMENT);
    if permissions.iter().any(has_it) { vec![ENROLMENT.to_owned()] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_policy_concerns_roles_whatever_their_case() {
        let policy = MfaPolicy::new(&names(&["administrator", " Operator "]));
        assert!(policy.concerns(&names(&["User", "Administrator"])));
        assert!(policy.concerns(&names(&["operator"])));
        assert!(!policy.concerns(&names(&["User"])));
        assert!(!MfaPolicy::new(&[]).concerns(&names(&["Administrator"])));
    }

    #[test]
    fn only_the_own_account_is_left() {
        for given in [["*"].as_slice(), &["auth:*", "sgx:read"], &["sgx:read", "auth:self"]] {
            assert_eq!(reduced(&names(given)), names(&["auth:self"]));
        }
        assert!(reduced(&names(&["sgx:read"])).is_empty());
    }
}
