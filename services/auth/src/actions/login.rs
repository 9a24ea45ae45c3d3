//! Passwords in, tokens out.

use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::ids::{SessionId, TenantId, UserId};
use uuid::Uuid;

use super::second_factor::{Code, spend};
use super::tokens::{Holder, Tokens};
use super::{SERVICE, State};
use crate::domain::lockout::Standing;
use crate::domain::login::{Account, Denial, Wishes, decide};
use crate::domain::user::attempted_name;
use crate::error::{CredentialError, Error};
use crate::events::{SessionStarted, session_stream};
use crate::store::{attempts, credentials, origins, sessions, users};

/// What someone shows to log in.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// The second factor, or a code that stands in for it.
    pub(crate) totp_code: Option<Secret>,
    pub(crate) wishes: Wishes,
}

/// What is done in the transaction that starts a session.
#[derive(Default)]
pub(super) struct Entrance {
    /// Spent.
    pub(super) code: Option<Code>,
    /// The stored hash and the one that takes its place.
    pub(super) renewed: Option<(String, String)>,
}

impl State {
    /// Starts a session for whoever knows the password.
    pub(crate) async fn login(&self, origin: Arc<Origin>, given: Credentials) -> crate::Result<Tokens> {
        let Credentials { username, password, totp_code, wishes } = given;
        attempted_name(&username).map_err(Error::Invalid)?;
        let block = origin.address_block();
        // Held until the outcome is recorded.
        let _turn = self.guesses.turn(&username, &block).await?;
        let read = self.base.db.global(Login::Api);
        let found = users::by_username(&read, &username).await?;
        let standing = self.standing(found.as_ref().map(|user| user.id), &block).await?;
        let (stored, account) = match found {
            Some(user) => {
                let account = Account {
                    id: user.id,
                    status: user.status,
                    locked_until: user.locked_until,
                    standing,
                    tenants: user.tenants,
                };
                (user.password_hash, Some((user.username, account)))
            }
            None => (None, None),
        };
        let legacy = self.legacy_hashes.work().await?;
        let checked = self.passwords.check(stored.as_deref(), password, legacy).await?;
        let now = self.base.clock.now();
        let found = account.as_ref().map(|(_, account)| account);
        let denial = match decide(found, checked.matches, &wishes, now) {
            Err(denial) => denial,
            Ok((user, tenant)) => match self.second_factor(user, totp_code.as_ref()).await? {
                Err(denial) => denial,
                Ok(code) => {
                    let entrance = Entrance { code, renewed: stored.zip(checked.renewed) };
                    let started =
                        self.enter_session(Arc::clone(&origin), user, tenant, &username, &entrance).await;
                    match started {
                        Err(Error::TenantSuspended) => Denial::TenantSuspended,
                        Err(Error::Credential(CredentialError::TotpInvalid)) => Denial::WrongCode,
                        started => return started,
                    }
                }
            },
        };
        self.deny(origin, &username, account, standing, denial).await?;
        Err(denial.into())
    }

    pub(super) async fn enter_session(
        &self,
        origin: Arc<Origin>,
        user: UserId,
        tenant: TenantId,
        attempted: &str,
        entrance: &Entrance,
    ) -> crate::Result<Tokens> {
        let now = self.base.clock.now();
        self.check_tenant(tenant).await?;
        // None if the user was disabled or left the tenant since the decision.
        let held = users::grants(&self.base.db.read(Login::Api, tenant), tenant, user, now)
            .await?
            .ok_or(Error::InvalidCredentials)?;
        let grants = self.under_policy(user, held.clone()).await?;
        let session = SessionId::generate();
        let principal = Principal {
            tenant,
            user: Some(user),
            session: Some(session),
            name: grants.username.clone(),
            permissions: Permissions::default(),
        };
        let minted = self.mint.first(Holder { user, tenant, session }, &grants, now).await?;
        let caller = Caller::new(principal, origin);
        let (ip, agent) = (caller.origin.ip_address.as_deref(), caller.origin.user_agent.as_deref());
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        if let Some(code) = &entrance.code
            && !spend(&work, user, code, now).await?
        {
            work.rollback().await?;
            return Err(CredentialError::TotpInvalid.into());
        }
        if let Some((stored, renewed)) = &entrance.renewed {
            credentials::renew_hash(&work, user, stored, renewed).await?;
        }
        origins::succeeded(&work, user, &caller.origin.address_block(), now).await?;
        let (hash, expires) = (minted.refresh_hash, minted.refresh_expires);
        sessions::start(&work, tenant, session, user, ip, agent, &hash, now, expires).await?;
        // It holds the account, as whoever locks it or takes a role away does: they end this session, or we see what
        // they did.
        let admitted = attempts::add_success(&work, Uuid::now_v7(), attempted, user, ip, agent, now).await?;
        if admitted == 0 || users::grants(&work, tenant, user, now).await? != Some(held) {
            work.rollback().await?;
            return Err(DbError::Conflict("the account was changed during the login".to_owned()).into());
        }
        work.event(session_stream(session), &SessionStarted { session_id: session, user_id: user })?;
        work.audit(Audit::new(SERVICE, "LOGIN", "session", session.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(minted.tokens)
    }

    /// Records a login that failed: with the user's tenant, or with the default one for strangers.
    pub(super) async fn deny(
        &self,
        origin: Arc<Origin>,
        attempted: &str,
        account: Option<(String, Account)>,
        standing: Standing,
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
        self.count_failure(&mut work, &caller, user, denial.is_guess(), standing).await?;
        let resource = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
        work.audit(Audit::new(SERVICE, "LOGIN", "user", resource, AuditResult::Denied).details(reason));
        work.commit().await?;
        Ok(())
    }
}
