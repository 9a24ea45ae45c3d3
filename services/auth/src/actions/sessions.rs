//! Sessions: seen and ended, by their user or by an administrator, and together with what else ends them.

use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, Login, UnitOfWork};
use nsl_core::http::Limit;
use nsl_core::ids::{SessionId, TenantId, UserId};

use super::{SERVICE, State};
use crate::error::Error;
use crate::events::{SessionRevoked, session_stream};
use crate::store::sessions::{self, Session};

/// Sessions of whom.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    /// The caller's own, in every tenant.
    Own,
    /// One user's, in the caller's tenant.
    User(UserId),
    /// Everybody's, in the caller's tenant.
    Tenant,
}

/// What one needs to see and end the sessions of others.
pub(crate) const SESSIONS: &str = "auth:sessions";
const REVOKED: &str = "revoked";

impl State {
    /// The sessions that go on, the latest first, and one more than the limit where there are more.
    pub(crate) async fn sessions(
        &self,
        caller: &Caller,
        whose: Whose,
        before: Option<SessionId>,
        limit: Limit,
    ) -> crate::Result<Vec<Session>> {
        let own = caller.principal.user.ok_or(Error::UserNotFound)?;
        let (tenant, now, most) = (caller.tenant(), self.base.clock.now(), i64::from(limit.0) + 1);
        let read = self.base.db.read(Login::Api, tenant);
        let user = match whose {
            Whose::Own => return Ok(sessions::of_user(&read, own, before, most, now).await?),
            Whose::User(user) => Some(user),
            Whose::Tenant => None,
        };
        caller.authorize(SESSIONS).map_err(Error::Forbidden)?;
        Ok(sessions::of_tenant(&read, tenant, user, before, most, now).await?)
    }

    /// Ends a session: one of the caller's own, or with the permission one of the tenant.
    pub(crate) async fn revoke_session(&self, caller: &Caller, session: SessionId) -> crate::Result<()> {
        let now = self.base.clock.now();
        let over_tenant = caller.principal.permissions.allows(SESSIONS).then(|| caller.tenant());
        let read = self.base.db.read(Login::Api, caller.tenant());
        let found = sessions::one(&read, session, caller.principal.user, over_tenant, now).await?;
        let found = found.ok_or(Error::SessionNotFound)?;
        let mut work = self.base.db.begin_across(Login::Api, caller, &[found.tenant_id]).await?;
        if self.end_session(&mut work, (found.tenant_id, session, found.user_id), REVOKED).await? {
            work.audit(Audit::new(
                SERVICE,
                "REVOKE_SESSION",
                "session",
                session.to_string(),
                AuditResult::Success,
            ));
        }
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }

    /// Ends all sessions of the caller in every tenant, or all but the one that asks.
    pub(crate) async fn revoke_sessions(&self, caller: &Caller, keep_current: bool) -> crate::Result<()> {
        let user = caller.principal.user.ok_or(Error::UserNotFound)?;
        let but = caller.principal.session.filter(|_| keep_current);
        let tenants = self.session_tenants(user).await?;
        let mut work = self.base.db.begin_across(Login::Api, caller, &tenants).await?;
        self.end_sessions(&mut work, caller.tenant(), &tenants, user, but, REVOKED).await?;
        work.audit(Audit::new(SERVICE, "REVOKE_SESSIONS", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }

    /// The tenants that a user has sessions in: those that [`end_sessions`](Self::end_sessions) has to reach.
    pub(super) async fn session_tenants(&self, user: UserId) -> Result<Vec<TenantId>, DbError> {
        let now = self.base.clock.now();
        let rows = sessions::tenants_of(&self.base.db.global(Login::Api), user, now).await?;
        Ok(rows.into_iter().map(|row| row.tenant_id).collect())
    }

    /// Ends a session in the transaction; false if it has ended already. Call [`revoked`](Self::revoked) after the
    /// commit.
    pub(super) async fn end_session(
        &self,
        work: &mut UnitOfWork<'_>,
        (tenant, session_id, user_id): (TenantId, SessionId, UserId),
        reason: &'static str,
    ) -> Result<bool, DbError> {
        let now = self.base.clock.now();
        let until = self.mint.all_expired(now);
        let ended = sessions::revoke(work, tenant, session_id, reason, now, until).await?.is_some();
        if ended {
            work.event(session_stream(session_id), &SessionRevoked { session_id, user_id, reason })?;
        }
        Ok(ended)
    }

    /// Ends all sessions of a user in these tenants, or all but one, in the transaction; it has to reach the tenants
    /// (`begin_across`). The events tell of those in the caller's own tenant: what happens in another one is not this
    /// one's to tell. Call [`revoked`](Self::revoked) after the commit.
    pub(super) async fn end_sessions(
        &self,
        work: &mut UnitOfWork<'_>,
        own: TenantId,
        tenants: &[TenantId],
        user_id: UserId,
        but: Option<SessionId>,
        reason: &'static str,
    ) -> Result<(), DbError> {
        let now = self.base.clock.now();
        let until = self.mint.all_expired(now);
        let ended = sessions::revoke_all(work, tenants, user_id, but, reason, now, until).await?;
        for session in ended.into_iter().filter(|session| session.tenant_id == own) {
            let session_id = session.id;
            work.event(session_stream(session_id), &SessionRevoked { session_id, user_id, reason })?;
        }
        Ok(())
    }

    /// After the commit of what ended something: this process refuses it at once.
    pub(super) async fn revoked(&self) {
        self.authenticator.revocations().changed().await;
    }
}
