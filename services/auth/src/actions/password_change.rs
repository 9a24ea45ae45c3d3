//! One's own password: changed with the old one.

use nsl_core::Caller;
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::ids::UserId;

use super::mfa::own_session;
use super::{SERVICE, State};
use crate::domain::lockout::{Door, Standing};
use crate::domain::mail::Purpose;
use crate::domain::user::{self, Violation};
use crate::error::{CredentialError, Error};
use crate::events::credentials::PasswordChanged;
use crate::events::user_stream;
use crate::store::credentials;

const REASON: &str = "password_changed";

impl State {
    /// Sets another password. Every other session ends, since one of them may be why it was changed.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        current: Secret,
        new: Secret,
    ) -> crate::Result<()> {
        let (user, session) = own_session(caller)?;
        let owner = credentials::owner(&self.base.db.global(Login::Api), user).await?;
        let owner = owner.ok_or(Error::UserNotFound)?;
        let about = user::Owner {
            username: &owner.username,
            email: owner.email.as_deref(),
            full_name: owner.full_name.as_deref(),
        };
        let pointer = "/newPassword";
        user::password(pointer, &about, new.expose()).map_err(|found| Error::Invalid(vec![found]))?;
        if new.expose() == current.expose() {
            let violation = Violation::new(pointer, "it is the present password; choose another one");
            return Err(Error::Invalid(vec![violation]));
        }
        self.prove_password(caller, user, current).await?;
        let hash = self.passwords.hash(new).await?;
        let tenants = self.session_tenants(user).await?;
        let mut work = self.base.db.begin_across(Login::Api, caller, &tenants).await?;
        let now = self.base.clock.now();
        if credentials::set_password(&work, user, &hash, now).await? == 0 {
            work.rollback().await?;
            return Err(Error::UserNotFound);
        }
        credentials::drop_tokens(&work, user, Purpose::PasswordReset.as_str()).await?;
        self.end_sessions(&mut work, caller.tenant(), &tenants, user, Some(session), REASON).await?;
        work.event(user_stream(user), &PasswordChanged { user_id: user, by: "change" })?;
        work.audit(Audit::new(SERVICE, "CHANGE_PASSWORD", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }

    /// Compares the password of someone who is logged in; a wrong one counts as a guess, as at a login.
    pub(super) async fn prove_password(
        &self,
        caller: &Caller,
        user: UserId,
        password: Secret,
    ) -> crate::Result<()> {
        let block = caller.origin.address_block();
        let _turn = self.guesses.turn(&user.to_string(), &block).await?;
        let standing = self.standing(user, Door::Password, &block).await?;
        let owner = credentials::owner(&self.base.db.global(Login::Api), user).await?;
        let stored = owner.and_then(|owner| owner.password_hash);
        let work = self.legacy_hashes.work().await?;
        let checked = self.passwords.check(stored.as_deref(), password, work).await?;
        let is_locked = standing.is_locked(self.base.clock.now());
        if is_locked || !checked.matches {
            self.record_wrong_proof(caller, user, !is_locked, standing).await?;
            return Err(CredentialError::PasswordWrong.into());
        }
        Ok(())
    }

    /// Records a wrong password or code of someone who is logged in. With the account locked it is no guess: whether it was
    /// right decided nothing.
    pub(super) async fn record_wrong_proof(
        &self,
        caller: &Caller,
        user: UserId,
        is_guess: bool,
        standing: Standing,
    ) -> crate::Result<()> {
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        self.count_failure(&mut work, caller, Some(user), is_guess, standing).await?;
        work.audit(Audit::new(SERVICE, "PROVE_IDENTITY", "user", user.to_string(), AuditResult::Denied));
        work.commit().await?;
        Ok(())
    }
}
