//! The next tokens of a session. A refresh token is good for one use, by two tabs of a browser at most; one that comes
//! again otherwise means that two hold it, and since nobody can tell which of them is the thief, the session ends
//! (RFC 9700 section 4.14.2).

use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::db::{Audit, AuditResult, Login, UnitOfWork};
use nsl_core::ports::{SecurityEvent, Severity};
use serde_json::json;

use super::tokens::{Holder, Tokens};
use super::{SERVICE, State};
use crate::domain::refresh::{self, Use};
use crate::error::Error;
use crate::events::{RefreshReused, session_stream};
use crate::store::sessions::{self, Family};
use crate::store::users;

const REASON: &str = "refresh_token_reused";

impl State {
    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, origin: Arc<Origin>, token: &str) -> crate::Result<Tokens> {
        let now = self.base.clock.now();
        let hash = refresh::hash(token).ok_or(Error::RefreshTokenInvalid)?;
        let family = sessions::by_token(&self.base.db.global(Login::Api), &hash).await?;
        let family = family.ok_or(Error::RefreshTokenInvalid)?;
        if family.revoked_at.is_some() || family.expires_at <= now {
            return Err(Error::RefreshTokenInvalid);
        }
        let holder = Holder { user: family.user_id, tenant: family.tenant_id, session: family.session_id };
        let Holder { user, tenant, session } = holder;
        self.check_tenant(tenant).await?;
        // None for a user who is locked, was disabled or left the tenant. What they may do now, not at the login, goes
        // into the next access token.
        let mut grants = users::grants(&self.base.db.read(Login::Api, tenant), tenant, user, now)
            .await?
            .ok_or(Error::RefreshTokenInvalid)?;
        self.mfa_policy.apply(&mut grants);
        let minted = self.mint.next(holder, &grants, (token, family.generation), now).await?;
        let principal = Principal {
            tenant,
            user: Some(user),
            session: Some(session),
            name: grants.username,
            permissions: Permissions::default(),
            roles: Vec::new(),
        };
        let caller = Caller::new(principal, origin);
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        // From here on the session is ours alone until the end of the transaction.
        let ours = sessions::touch(&work, tenant, session, now).await?;
        let Some(trace) = (match ours {
            Some(_) => sessions::trace(&work, tenant, &hash).await?,
            None => None,
        }) else {
            work.rollback().await?;
            return Err(Error::RefreshTokenInvalid);
        };
        match refresh::judge(trace.used_at, trace.successor_is_unused, now) {
            Use::First => {
                let (next, generation) = (minted.refresh_hash, family.generation + 1);
                let expires = minted.refresh_expires;
                sessions::advance(&work, tenant, session, &hash, &next, generation, now, expires).await?;
            }
            // The successor is stored: the same one is told again.
            Use::Again => {}
            Use::Reuse => return Err(self.reused(&caller, work, &family).await?),
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
    async fn reused(
        &self,
        caller: &Caller,
        mut work: UnitOfWork<'_>,
        family: &Family,
    ) -> crate::Result<Error> {
        let (tenant, user_id, session_id) = (family.tenant_id, family.user_id, family.session_id);
        let generation = family.generation;
        work.event(session_stream(session_id), &RefreshReused { session_id, user_id, generation })?;
        self.end_session(&mut work, (tenant, session_id, user_id), REASON).await?;
        let event = SecurityEvent {
            kind: "auth.refresh_reused",
            severity: Severity::High,
            description:
                "A refresh token was used a second time, so someone may hold a copy of it; its session was \
                          ended. Ask its user whether they have logged in elsewhere."
                    .to_owned(),
            data: json!({"sessionId": session_id, "userId": user_id, "generation": generation}),
        };
        self.security.record(&work, caller, &event).await?;
        work.audit(
            Audit::new(SERVICE, "REFRESH_TOKEN", "session", session_id.to_string(), AuditResult::Denied)
                .details(REASON),
        );
        work.commit().await?;
        self.revoked().await;
        Ok(Error::RefreshTokenReused)
    }
}
