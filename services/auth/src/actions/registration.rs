//! Accounts that their owners make, and addresses that they confirm.

use std::sync::Arc;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::{TenantId, UserId};
use serde::Serialize;

use super::recovery::{MAILS_AT_A_TIME, holder, mail_token, mail_token_hash, stranger};
use super::users::refusal;
use super::{SERVICE, State};
use crate::domain::mail::{Mail, Purpose};
use crate::domain::user::{NewUser, check};
use crate::error::{CredentialError, Error};
use crate::events::credentials::EmailVerified;
use crate::events::{UserCreated, user_stream};
use crate::store::users::Member;
use crate::store::{credentials, roles, users};

/// What everyone may have.
pub(crate) const ROLE: &str = "User";
const VERIFICATION_LIVES: SignedDuration = SignedDuration::from_hours(24);

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
        let (token, token_hash) = mail_token();
        let (email, purpose) = (new.email.unwrap_or_default(), Purpose::EmailVerification);
        let mail = Mail { to: email.to_owned(), username: new.username.to_owned(), purpose, token };
        let letter = self.outbox.wrap(Some(&mail)).await?;
        let expires = now + VERIFICATION_LIVES;

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
        credentials::add_token(
            &work,
            &token_hash,
            Some(user),
            purpose.as_str(),
            email,
            now,
            expires,
            MAILS_AT_A_TIME,
        )
        .await?;
        letter.post(&work, now, expires).await?;
        let member = users::member(&work, tenant, user, Some(user), now).await?;
        let view = view(member.ok_or(DbError::NoRow("member"))?);
        work.event(user_stream(user), &UserCreated { user_id: user, roles: new.roles })?;
        work.audit(Audit::new(SERVICE, "REGISTER", "user", user.to_string(), AuditResult::Success));
        once.keep(&work, &caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// Confirms an address by the token that was mailed to it.
    pub(crate) async fn verify_email(&self, origin: Arc<Origin>, token: &str) -> crate::Result<()> {
        let purpose = Purpose::EmailVerification.as_str();
        let refused = || Error::from(CredentialError::MailTokenInvalid);
        let hash = mail_token_hash(token).ok_or_else(refused)?;
        let now = self.base.clock.now();
        let found = credentials::recipient(&self.base.db.global(Login::Api), &hash, purpose, now).await?;
        let recipient = found.ok_or_else(refused)?;
        let user = recipient.user_id;
        let home = recipient.tenants.first().copied().unwrap_or(TenantId::DEFAULT);
        let caller = holder(origin, home, user, recipient.username);
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        if credentials::spend_token(&work, &hash, purpose, now).await?.is_none()
            || credentials::verify_email(&work, user, &recipient.email, now).await? == 0
        {
            work.rollback().await?;
            return Err(refused());
        }
        work.event(user_stream(user), &EmailVerified { user_id: user })?;
        work.audit(Audit::new(SERVICE, "VERIFY_EMAIL", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(())
    }
}
