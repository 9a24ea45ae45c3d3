//! The accounts of a tenant's users: changed, locked, removed.
//!
//! Three rules keep one user's power from becoming another's. An account is managed by the tenant that made it: else an
//! administrator of one tenant could take over a login that administers another. Nobody manages an account that may do
//! what they may not. And a tenant keeps an administrator.

use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, Login, UnitOfWork};
use nsl_core::ids::{TenantId, UserId};
use nsl_core::ports::{SecurityEvent, Severity};
use serde_json::json;

use super::mfa::own_session;
use super::users::refusal;
use super::{SERVICE, State};
use crate::domain::account::{Changes, Status, check};
use crate::error::{CredentialError, Error};
use crate::events::credentials::TotpDisabled;
use crate::events::{MembershipEnded, UserUpdated, user_stream};
use crate::store::roles::{self, ADMINISTRATOR};
use crate::store::users::{self, Member};
use crate::store::{credentials, factors};

const LOCKED: &str = "locked";
const DISABLED: &str = "disabled";
const REMOVED: &str = "removed";
const TOTP_REMOVED: &str = "totp_removed";

impl State {
    /// Changes an account.
    pub(crate) async fn update_user(
        &self,
        caller: &Caller,
        user: UserId,
        changes: &Changes<'_>,
    ) -> crate::Result<Member> {
        check(changes).map_err(Error::Invalid)?;
        self.change(caller, user, changes, "UPDATE_USER").await
    }

    /// Keeps a user out until they are let in again; their sessions end at once.
    pub(crate) async fn lock_user(&self, caller: &Caller, user: UserId) -> crate::Result<Member> {
        let changes = Changes { status: Some(Status::Locked), ..Changes::default() };
        self.change(caller, user, &changes, "LOCK_USER").await
    }

    /// Lets a user in again, and forgets their wrong passwords.
    pub(crate) async fn unlock_user(&self, caller: &Caller, user: UserId) -> crate::Result<Member> {
        let changes = Changes { status: Some(Status::Active), ..Changes::default() };
        self.change(caller, user, &changes, "UNLOCK_USER").await
    }

    async fn change(
        &self,
        caller: &Caller,
        user: UserId,
        changes: &Changes<'_>,
        action: &'static str,
    ) -> crate::Result<Member> {
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        // 404 for who is no member, before anything is told of them.
        let before = self.user(caller, user).await?;
        self.covers(caller, user, None).await?;
        let tenants = self.session_tenants(user).await?;
        let verification = match changes.email.value().filter(|_| self.outbox.has_server()) {
            Some(email) => Some(self.verification(&before.username, email, now).await?),
            None => None,
        };
        let mut work = self.base.db.begin_across(Login::Api, caller, &tenants).await?;
        let decided = async {
            let account = users::hold(&work, user).await?.ok_or(Error::UserNotFound)?;
            if account.home_tenant_id != Some(tenant) {
                return Err(Error::UserElsewhere);
            }
            if changes.status.is_some_and(|status| status != Status::Active) {
                keeps_an_administrator(&work, tenant, user).await?;
            }
            let (email, full_name) = (changes.email, changes.full_name);
            let status = changes.status.map(Status::as_str);
            users::update(
                &work,
                user,
                email.is_change(),
                email.value(),
                full_name.is_change(),
                full_name.value(),
                status,
                now,
            )
            .await
            .map_err(refusal)?;
            let is_other =
                account.email.map(|email| email.to_lowercase()) != email.value().map(str::to_lowercase);
            if email.is_change() && is_other {
                // Whoever reads the mailbox of before has no part in the account any more.
                credentials::drop_tokens_elsewhere(&work, user, email.value()).await?;
                if let Some(verification) = verification {
                    verification.post(&work, user, now).await?;
                }
            }
            Ok(())
        };
        if let Err(error) = decided.await {
            work.rollback().await?;
            return Err(error);
        }
        match changes.status {
            Some(Status::Active) => {
                users::forgive(&work, user).await?;
            }
            Some(status) => {
                let reason = if status == Status::Locked { LOCKED } else { DISABLED };
                self.end_sessions(&mut work, tenant, &tenants, user, None, reason).await?;
            }
            None => {}
        }
        let event = UserUpdated {
            user_id: user,
            email: changes.email.is_change(),
            full_name: changes.full_name.is_change(),
            status: changes.status.map(Status::as_str),
        };
        work.event(user_stream(user), &event)?;
        work.audit(Audit::new(SERVICE, action, "user", user.to_string(), AuditResult::Success));
        let viewer = caller.principal.user;
        let member =
            users::member(&work, tenant, user, viewer, now).await?.ok_or(DbError::NoRow("member"))?;
        work.commit().await?;
        self.revoked().await;
        Ok(member)
    }

    /// Ends the membership of a user in the caller's tenant, and their sessions there.
    pub(crate) async fn remove_user(&self, caller: &Caller, user: UserId) -> crate::Result<()> {
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        self.user(caller, user).await?;
        self.covers(caller, user, Some(tenant)).await?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let decided = async {
            users::hold(&work, user).await?.ok_or(Error::UserNotFound)?;
            keeps_an_administrator(&work, tenant, user).await?;
            match users::leave(&work, tenant, user, now).await? {
                0 => Err(Error::UserNotFound),
                _ => Ok(()),
            }
        };
        if let Err(error) = decided.await {
            work.rollback().await?;
            return Err(error);
        }
        self.end_sessions(&mut work, tenant, &[tenant], user, None, REMOVED).await?;
        work.event(user_stream(user), &MembershipEnded { user_id: user })?;
        work.audit(Audit::new(SERVICE, "REMOVE_USER", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }

    /// Takes the second factor of a user away who has lost it. What they were logged in with ends too: it may be lost
    /// with it.
    pub(crate) async fn remove_user_totp(&self, caller: &Caller, user: UserId) -> crate::Result<()> {
        let (own, _) = own_session(caller)?;
        if own == user {
            return Err(CredentialError::TotpOwn.into());
        }
        let tenant = caller.tenant();
        self.user(caller, user).await?;
        self.covers(caller, user, None).await?;
        let tenants = self.session_tenants(user).await?;
        let mut work = self.base.db.begin_across(Login::Api, caller, &tenants).await?;
        let decided = async {
            let account = users::hold(&work, user).await?.ok_or(Error::UserNotFound)?;
            if account.home_tenant_id != Some(tenant) {
                return Err(Error::UserElsewhere);
            }
            match factors::remove(&work, user).await? {
                0 => Err(CredentialError::TotpMissing.into()),
                _ => Ok(()),
            }
        };
        if let Err(error) = decided.await {
            work.rollback().await?;
            return Err(error);
        }
        self.end_sessions(&mut work, tenant, &tenants, user, None, TOTP_REMOVED).await?;
        work.event(user_stream(user), &TotpDisabled { user_id: user })?;
        work.audit(Audit::new(SERVICE, "REMOVE_USER_TOTP", "user", user.to_string(), AuditResult::Success));
        let event = SecurityEvent {
            kind: "auth.totp_removed",
            severity: Severity::Medium,
            description:
                "An administrator took a user's second factor away; ask the user whether they wanted it."
                    .to_owned(),
            data: json!({"userId": user, "by": own}),
        };
        self.security.record(&work, caller, &event).await?;
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }

    /// Refuses a caller who lacks something that the user may do, in one tenant or in any.
    pub(super) async fn covers(
        &self,
        caller: &Caller,
        user: UserId,
        tenant: Option<TenantId>,
    ) -> crate::Result<()> {
        let now = self.base.clock.now();
        let powers = users::powers(&self.base.db.global(Login::Api), user, tenant, now).await?;
        match powers.into_iter().find(|power| !caller.principal.permissions.allows(&power.name)) {
            Some(excess) => Err(Error::UserExceedsCaller { permission: excess.name }),
            None => Ok(()),
        }
    }
}

/// Refuses to take away the last administrator of a tenant who can log in. Whoever changes another one at the same time
/// waits for us and sees what we did.
pub(super) async fn keeps_an_administrator(
    work: &UnitOfWork<'_>,
    tenant: TenantId,
    user: UserId,
) -> crate::Result<()> {
    roles::hold_holders(work, tenant, ADMINISTRATOR).await?;
    let holders = roles::lasting_holders(work, tenant, ADMINISTRATOR).await?;
    match holders.as_slice() {
        [only] if only.id == user => Err(Error::LastAdministrator),
        _ => Ok(()),
    }
}
