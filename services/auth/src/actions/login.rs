//! Passwords in, tokens out.

use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::config::Secret;
use nsl_core::db::sql::Conn;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_core::ports::SealedSecret;
use uuid::Uuid;

use super::guesses::KNOWN;
use super::second_factor::{Code, spend};
use super::tokens::{Holder, Minted, Tokens};
use super::{SERVICE, State};
use crate::domain::lockout::{Door, Standing};
use crate::domain::login::{Account, Denial, Wishes, decide};
use crate::domain::user::attempted_name;
use crate::error::Error;
use crate::events::{SessionStarted, session_stream};
use crate::store::logins::{self, Applicant};
use crate::store::{attempts, users};

/// What someone shows to log in.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// The second factor, or a code that stands in for it.
    pub(crate) totp_code: Option<Secret>,
    pub(crate) wishes: Wishes,
}

/// By what someone is let in, and into what.
pub(super) struct Entrance<'a> {
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    /// The name that was given.
    pub(super) attempted: &'a str,
    pub(super) standing: Standing,
    /// Of the account, when the password was read; None where no password was compared.
    pub(super) revision: Option<i64>,
    /// Spent.
    pub(super) code: Option<Code>,
    /// The hash that takes the place of one of an older form.
    pub(super) renewed: Option<String>,
}

impl State {
    /// Starts a session for whoever knows the password.
    pub(crate) async fn login(&self, origin: Arc<Origin>, given: Credentials) -> crate::Result<Tokens> {
        let Credentials { username, password, totp_code, wishes } = given;
        attempted_name(&username).map_err(Error::Invalid)?;
        let (addresses, door) = (origin.address_block(), Door::Password);
        // Held until the outcome is recorded.
        let _turn = self.guesses.turn(&username, &addresses).await?;
        let (read, since) = (self.base.db.global(Login::Api), self.base.clock.now() - KNOWN);
        let block = door.block(&addresses);
        let applicant = logins::applicant(&read, &username, &block, door.everywhere(), since).await?;
        let Known { stored, account, revision, totp } = applicant.into();
        let legacy = self.legacy_hashes.work().await?;
        let checked = self.passwords.check(stored.as_deref(), password, legacy).await?;
        let now = self.base.clock.now();
        let found = account.as_ref().map(|(_, account)| account);
        let standing = found.map(|account| account.standing).unwrap_or_default();
        let denial = match decide(found, checked.matches, &wishes, now) {
            Err(denial) => denial,
            Ok((user, tenant)) => match self.second_factor(user, totp.as_ref(), totp_code.as_ref()).await? {
                Err(denial) => denial,
                Ok(code) => {
                    let (attempted, renewed) = (username.as_str(), checked.renewed);
                    let entrance = Entrance { user, tenant, attempted, standing, revision, code, renewed };
                    match self.enter_session(Arc::clone(&origin), entrance).await? {
                        Ok(tokens) => return Ok(tokens),
                        Err(denial) => denial,
                    }
                }
            },
        };
        self.deny(origin, &username, account, standing, denial).await?;
        Err(denial.into())
    }

    /// Starts the session, unless something has changed since that was decided.
    pub(super) async fn enter_session(
        &self,
        origin: Arc<Origin>,
        entrance: Entrance<'_>,
    ) -> crate::Result<Result<Tokens, Denial>> {
        let Entrance { user, tenant, revision, .. } = entrance;
        match self.check_tenant(tenant).await {
            Err(Error::TenantSuspended) => return Ok(Err(Denial::TenantSuspended)),
            checked => checked?,
        }
        let now = self.base.clock.now();
        // None if the user was disabled or left the tenant since the decision.
        let held = users::grants(&self.base.db.read(Login::Api, tenant), tenant, user, now).await?;
        let Some(mut grants) = held.filter(|held| revision.is_none_or(|revision| held.revision == revision))
        else {
            return Ok(Err(Denial::Overtaken));
        };
        self.mfa_policy.apply(&mut grants);
        let session = SessionId::generate();
        let principal = Principal {
            tenant,
            user: Some(user),
            session: Some(session),
            name: grants.username.clone(),
            permissions: Permissions::default(),
            roles: Vec::new(),
        };
        let minted = self.mint.first(Holder { user, tenant, session }, &grants, now).await?;
        let caller = Caller::new(principal, origin);
        let entered = match &entrance.code {
            None => {
                let write = self.base.db.write(Login::Api, tenant);
                self.enter(&write, &caller, session, &entrance, grants.revision, &minted).await?
            }
            Some(code) => {
                let work = self.base.db.begin(Login::Api, &caller).await?;
                if !spend(&work, user, code, now).await? {
                    work.rollback().await?;
                    return Ok(Err(Denial::WrongCode));
                }
                let entered =
                    self.enter(&work, &caller, session, &entrance, grants.revision, &minted).await?;
                // A code that let nobody in is not spent.
                if entered {
                    work.commit().await?;
                } else {
                    work.rollback().await?;
                }
                entered
            }
        };
        if !entered {
            return Ok(Err(Denial::Overtaken));
        }
        self.base.db.recorded().notify_one();
        Ok(Ok(minted.tokens))
    }

    async fn enter(
        &self,
        conn: &impl Conn,
        caller: &Caller,
        session: SessionId,
        entrance: &Entrance<'_>,
        revision: i64,
        minted: &Minted,
    ) -> crate::Result<bool> {
        let Entrance { user, tenant, attempted, standing, renewed, .. } = entrance;
        let (origin, now) = (&caller.origin, self.base.clock.now());
        let block = standing.door.block(&origin.address_block());
        let blocks = standing.blocks(&block);
        let stream = session_stream(session);
        let event = SessionStarted { session_id: session, user_id: *user };
        let event = serde_json::to_value(event).map_err(Error::internal)?;
        let entered = logins::enter(
            conn,
            *tenant,
            session,
            *user,
            revision,
            renewed.as_deref(),
            &block,
            &blocks,
            &minted.refresh_hash,
            now,
            minted.refresh_expires,
            Uuid::now_v7(),
            attempted,
            origin.ip_address.as_deref(),
            origin.user_agent.as_deref(),
            Uuid::now_v7(),
            &stream,
            &event,
            &caller.principal.name,
            origin.trace_id.as_deref(),
            Uuid::now_v7(),
            origin.request_id.as_deref(),
        );
        Ok(entered.await?.is_some())
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
            roles: Vec::new(),
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

/// What is known of whoever a login names; nothing of somebody unknown.
#[derive(Default)]
struct Known {
    stored: Option<String>,
    account: Option<(String, Account)>,
    revision: Option<i64>,
    totp: Option<SealedSecret>,
}

impl From<Option<Applicant>> for Known {
    fn from(applicant: Option<Applicant>) -> Self {
        let Some(found) = applicant else { return Self::default() };
        let account = Account {
            id: found.id,
            status: found.status,
            locked_until: found.locked_until,
            standing: Standing {
                door: Door::Password,
                is_known: found.is_known,
                locked_until: found.block_locked_until,
                everywhere_locked_until: found.everywhere_locked_until,
            },
            tenants: found.tenants,
        };
        Self {
            stored: found.password_hash,
            account: Some((found.username, account)),
            revision: Some(found.revision),
            totp: found
                .totp_secret
                .zip(found.totp_root_key_id)
                .map(|(bytes, root_key_id)| SealedSecret { bytes, root_key_id }),
        }
    }
}
