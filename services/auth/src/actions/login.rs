//! Passwords in, tokens out.

use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::ids::{SessionId, TenantId, UserId};
use uuid::Uuid;

use super::tokens::Tokens;
use super::{SERVICE, State};
use crate::domain::login::{Account, Denial, Wishes, decide};
use crate::domain::user::attempted_name;
use crate::error::Error;
use crate::events::{SessionStarted, session_stream};
use crate::store::{attempts, sessions, users};

/// What someone shows to log in.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Secret,
    pub(crate) wishes: Wishes,
}

impl State {
    /// Starts a session for whoever knows the password.
    pub(crate) async fn login(&self, origin: Arc<Origin>, given: Credentials) -> crate::Result<Tokens> {
        let Credentials { username, password, wishes } = given;
        attempted_name(&username).map_err(Error::Invalid)?;
        let read = self.base.db.global(Login::Api);
        let found = users::by_username(&read, &username).await?;
        let (stored, account) = match found {
            Some(user) => {
                let account = Account {
                    id: user.id,
                    status: user.status,
                    locked_until: user.locked_until,
                    tenants: user.tenants,
                };
                (user.password_hash, Some((user.username, account)))
            }
            None => (None, None),
        };
        let matches = self.passwords.matches(stored.as_deref(), password).await?;
        let now = self.base.clock.now();
        let decision = decide(account.as_ref().map(|(_, account)| account), matches, &wishes, now);
        match decision {
            Ok((user, tenant)) => self.start_session(origin, user, tenant, &username).await,
            Err(denial) => {
                self.deny(origin, &username, account, denial).await?;
                Err(denial.into())
            }
        }
    }

    async fn start_session(
        &self,
        origin: Arc<Origin>,
        user: UserId,
        tenant: TenantId,
        attempted: &str,
    ) -> crate::Result<Tokens> {
        let now = self.base.clock.now();
        // None if the user was disabled or left the tenant since the decision.
        let grants = users::grants(&self.base.db.read(Login::Api, tenant), tenant, user, now)
            .await?
            .ok_or(Error::InvalidCredentials)?;
        let session = SessionId::generate();
        let principal = Principal {
            tenant,
            user: Some(user),
            session: Some(session),
            name: grants.username.clone(),
            permissions: Permissions::default(),
        };
        let minted = self.mint.tokens(user, tenant, session, grants, now)?;
        let caller = Caller::new(principal, origin);
        let (ip, agent) = (caller.origin.ip_address.as_deref(), caller.origin.user_agent.as_deref());
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        let (hash, expires) = (minted.refresh_hash, minted.refresh_expires);
        sessions::start(&work, tenant, session, user, ip, agent, &hash, now, expires).await?;
        attempts::add_success(&work, Uuid::now_v7(), attempted, user, ip, agent, now).await?;
        work.event(session_stream(session), &SessionStarted { session_id: session, user_id: user })?;
        work.audit(Audit::new(SERVICE, "LOGIN", "session", session.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(minted.tokens)
    }

    /// Records a login that failed: with the user's tenant, or with the default one for strangers.
    async fn deny(
        &self,
        origin: Arc<Origin>,
        attempted: &str,
        account: Option<(String, Account)>,
        denial: Denial,
    ) -> crate::Result<()> {
        let (name, user, tenant) = match account {
            Some((name, account)) => (name, Some(account.id), account.tenants.first().copied()),
            None => ("anonymous".to_owned(), None, None),
        };
        let principal = Principal {
            tenant: tenant.unwrap_or(TenantId::DEFAULT),
            user,
            session: None,
            name,
            permissions: Permissions::default(),
        };
        let caller = Caller::new(principal, origin);
        let (ip, agent) = (caller.origin.ip_address.as_deref(), caller.origin.user_agent.as_deref());
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        let (id, reason, now) = (Uuid::now_v7(), denial.as_str(), self.base.clock.now());
        attempts::add_denied(&work, id, attempted, user, denial.is_guess(), ip, agent, reason, now).await?;
        let resource = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
        work.audit(Audit::new(SERVICE, "LOGIN", "user", resource, AuditResult::Denied).details(reason));
        work.commit().await?;
        Ok(())
    }
}
