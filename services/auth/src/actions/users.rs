//! The users of a tenant.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::http::{Answer, Limit, Once};
use nsl_core::ids::UserId;
use serde::Serialize;
use uuid::Uuid;

use super::roles::covers;
use super::{SERVICE, State};
use crate::domain::user::{NewUser, Violation, check};
use crate::error::Error;
use crate::events::{UserCreated, user_stream};
use crate::store::roles::{self, Role};
use crate::store::users::{self, Member};

impl State {
    /// Makes a user who is a member of the caller's tenant.
    pub(crate) async fn create_user<V: Serialize>(
        &self,
        caller: &Caller,
        new: &NewUser<'_>,
        password: Secret,
        once: &Once,
        view: impl FnOnce(Member) -> V,
    ) -> crate::Result<Answer<V>> {
        check(new, password.expose()).map_err(Error::Invalid)?;
        let tenant = caller.tenant();
        let read = self.base.db.read(Login::Api, tenant);
        let known = roles::by_names(&read, tenant, new.roles).await?;
        let (ids, names) = chosen(caller, new.roles, &known)?;
        let hash = self.passwords.hash(password).await?;

        let (user, now) = (UserId::generate(), self.base.clock.now());
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let (email, full_name, by) = (new.email, new.full_name, caller.principal.user);
        let added =
            users::add(&work, tenant, user, new.username, email, full_name, &hash, &ids, by, now).await;
        if let Err(error) = added {
            work.rollback().await?;
            return Err(refusal(error));
        }
        let member = users::member(&work, tenant, user, by, now).await?.ok_or(DbError::NoRow("member"))?;
        work.event(user_stream(user), &UserCreated { user_id: user, roles: &names })?;
        work.audit(Audit::new(SERVICE, "CREATE_USER", "user", user.to_string(), AuditResult::Success));
        let view = view(member);
        once.keep(&work, caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// One user of the caller's tenant.
    pub(crate) async fn user(&self, caller: &Caller, user: UserId) -> crate::Result<Member> {
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        let (read, viewer) = (self.base.db.read(Login::Api, tenant), caller.principal.user);
        let member = users::member(&read, tenant, user, viewer, now).await?;
        member.ok_or(Error::UserNotFound)
    }

    /// The users of the caller's tenant after one, and one more than the limit where there are more.
    pub(crate) async fn users(
        &self,
        caller: &Caller,
        after: Option<UserId>,
        limit: Limit,
    ) -> crate::Result<Vec<Member>> {
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        let read = self.base.db.read(Login::Api, tenant);
        Ok(users::members(&read, tenant, after, i64::from(limit.0) + 1, caller.principal.user, now).await?)
    }
}

/// The ids and names of the roles asked for. Nobody gives a permission that they lack.
pub(super) fn chosen(
    caller: &Caller,
    asked: &[String],
    known: &[Role],
) -> crate::Result<(Vec<Uuid>, Vec<String>)> {
    let mut chosen: Vec<&Role> = Vec::with_capacity(asked.len());
    let mut unknown = Vec::new();
    for (index, name) in asked.iter().enumerate() {
        // PostgreSQL compared them in lower case; built-in roles come first.
        match known.iter().find(|role| role.name.to_lowercase() == name.to_lowercase()) {
            Some(role) if chosen.iter().any(|other| other.id == role.id) => {}
            Some(role) => chosen.push(role),
            None => unknown.push(Violation::new(
                format!("/roles/{index}"),
                "there is no such role; GET /api/v1/auth/roles lists those there are",
            )),
        }
    }
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    for role in &chosen {
        covers(caller, &role.name, &role.permissions)?;
    }
    Ok(chosen.into_iter().map(|role| (role.id, role.name.clone())).unzip())
}

pub(super) fn refusal(error: DbError) -> Error {
    match error.constraint() {
        Some("users_username_key") => Error::UsernameTaken,
        Some("users_email_key") => Error::EmailTaken,
        _ => error.into(),
    }
}
