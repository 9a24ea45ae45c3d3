//! Accounts that their owners make.

use std::sync::Arc;

use axum::http::StatusCode;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::{TenantId, UserId};
use serde::Serialize;

use super::recovery::stranger;
use super::users::refusal;
use super::{SERVICE, State};
use crate::domain::user::{NewUser, check};
use crate::error::{CredentialError, Error};
use crate::events::{UserCreated, user_stream};
use crate::store::users::Member;
use crate::store::{roles, users};

/// What everyone may have.
pub(crate) const ROLE: &str = "User";

impl State {
    /// Makes an account in the tenant `default`, and mails a token that confirms its address.
    pub(crate) async fn register<V: Serialize>(
        &self,
        origin: Arc<Origin>,
        new: &NewUser<'_>,
        password: Secret,
        once: &Once,
        view: impl FnOnce(Member) -> V,
    ) -> crate::Result<Answer<V>> {
        if !self.allow_registration {
            return Err(CredentialError::RegistrationClosed.into());
        }
        check(new, password.expose()).map_err(Error::Invalid)?;
        let caller = stranger(origin);
        let (tenant, user, now) = (TenantId::DEFAULT, UserId::generate(), self.base.clock.now());
        let known = roles::by_names(&self.base.db.read(Login::Api, tenant), tenant, new.roles).await?;
        let role = known.first().ok_or_else(|| Error::internal("the built-in role User is missing"))?.id;
        let hash = self.passwords.hash(password).await?;
        let verification = self.verification(new.username, new.email.unwrap_or_default(), now).await?;

        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        if let Some(before) = once.replay(&work, &caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let added =
            users::add(&work, tenant, user, new.username, new.email, None, &hash, &[role], None, now).await;
        if let Err(error) = added {
            work.rollback().await?;
            return Err(refusal(error));
        }
        verification.post(&work, user, now).await?;
        let member = users::member(&work, tenant, user, Some(user), now).await?;
        let view = view(member.ok_or(DbError::NoRow("member"))?);
        work.event(user_stream(user), &UserCreated { user_id: user, roles: new.roles })?;
        work.audit(Audit::new(SERVICE, "REGISTER", "user", user.to_string(), AuditResult::Success));
        once.keep(&work, &caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }
}
