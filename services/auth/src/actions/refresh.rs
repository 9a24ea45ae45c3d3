//! The next tokens of a session. A refresh token is good for one use; one that comes again means that two hold it, and
//! since nobody can tell which of them is the thief, the session ends (RFC 9700 section 4.14.2).

use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::db::{Audit, AuditResult, Login};

use super::tokens::{Tokens, refresh_hash};
use super::{SERVICE, State};
use crate::error::Error;
use crate::events::{RefreshReused, SessionRevoked, session_stream};
use crate::store::sessions::{self, Family};
use crate::store::users;

const REASON: &str = "refresh_token_reused";

impl State {
    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, origin: Arc<Origin>, token: &str) -> crate::Result<Tokens> {
        let now = self.base.clock.now();
        let hash = refresh_hash(token).ok_or(Error::RefreshTokenInvalid)?;
        let family = sessions::by_token(&self.base.db.global(Login::Api), &hash).await?;
        let family = family.ok_or(Error::RefreshTokenInvalid)?;
        if family.revoked_at.is_some() || family.expires_at <= now {
            return Err(Error::RefreshTokenInvalid);
        }
        let (tenant, user, session) = (family.tenant_id, family.user_id, family.session_id);
        // None for a user who was disabled or left the tenant. What they may do now, not at the login, goes into the
        // next access token.
        let grants = users::grants(&self.base.db.read(Login::Api, tenant), tenant, user, now)
            .await?
            .ok_or(Error::RefreshTokenInvalid)?;
        let principal = Principal {
            tenant,
            user: Some(user),
            session: Some(session),
            name: grants.username.clone(),
            permissions: Permissions::default(),
        };
        let caller = Caller::new(principal, origin);
        if family.used_at.is_some() {
            return Err(self.reused(&caller, &family).await?);
        }
        let minted = self.mint.tokens(user, tenant, session, grants, now)?;
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        if sessions::use_token(&work, tenant, &hash, now).await? == 0 {
            work.rollback().await?;
            return Err(self.reused(&caller, &family).await?);
        }
        let (next, generation, expires) =
            (minted.refresh_hash, family.generation + 1, minted.refresh_expires);
        if sessions::extend(&work, tenant, session, &next, generation, now, expires).await? == 0 {
            work.rollback().await?;
            return Err(Error::RefreshTokenInvalid);
        }
        work.audit(Audit::new(
            SERVICE,
            "REFRESH_TOKEN",
            "session",
            session.to_string(),
            AuditResult::Success,
        ));
        work.commit().await?;
        Ok(minted.tokens)
    }

    /// Ends the session whose refresh token came again, and answers what to tell.
    async fn reused(&self, caller: &Caller, family: &Family) -> crate::Result<Error> {
        let (tenant, user_id, session_id) = (family.tenant_id, family.user_id, family.session_id);
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let ended = sessions::revoke(&work, tenant, session_id, REASON, self.base.clock.now()).await?;
        if ended.is_some() {
            let stream = session_stream(session_id);
            let generation = family.generation;
            work.event(stream.clone(), &RefreshReused { session_id, user_id, generation })?;
            work.event(stream, &SessionRevoked { session_id, user_id, reason: REASON })?;
        }
        work.audit(
            Audit::new(SERVICE, "REFRESH_TOKEN", "session", session_id.to_string(), AuditResult::Denied)
                .details(REASON),
        );
        work.commit().await?;
        self.authenticator.end(session_id);
        Ok(Error::RefreshTokenReused)
    }
}
