//! Addresses that their owners confirm: a mail to each new one, and its token that comes back.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::caller::Origin;
use nsl_core::db::sql::Conn;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::ids::{TenantId, UserId};
use nsl_crypto::digest::Sha256Digest;

use super::outbox::WrappedMail;
use super::recovery::{MAILS_AT_A_TIME, holder, mail_token, mail_token_hash};
use super::{SERVICE, State};
use crate::domain::mail::{Mail, Purpose};
use crate::error::{CredentialError, Error};
use crate::events::credentials::EmailVerified;
use crate::events::user_stream;
use crate::store::{credentials, users};

const LIVES: SignedDuration = SignedDuration::from_hours(24);
const PURPOSE: Purpose = Purpose::EmailVerification;

/// A mail that asks the owner of an address to confirm it, before it is posted.
pub(super) struct Verification {
    letter: WrappedMail,
    hash: Sha256Digest,
    email: String,
    expires: Timestamp,
}

impl Verification {
    /// Keeps the token and puts the mail into the outbox, unless enough of them are on their way.
    pub(super) async fn post(self, conn: &impl Conn, user: UserId, now: Timestamp) -> Result<(), DbError> {
        let (purpose, user) = (PURPOSE.as_str(), Some(user));
        let Self { letter, hash, email, expires } = self;
        match credentials::add_token(conn, &hash, user, purpose, &email, now, expires, MAILS_AT_A_TIME)
            .await?
        {
            0 => Ok(()),
            _ => letter.post(conn, now, expires).await,
        }
    }
}

impl State {
    /// Wraps the mail, which happens before a transaction.
    pub(super) async fn verification(
        &self,
        username: &str,
        email: &str,
        now: Timestamp,
    ) -> crate::Result<Verification> {
        let (token, hash) = mail_token();
        let mail = Mail { to: email.to_owned(), username: username.to_owned(), purpose: PURPOSE, token };
        let letter = self.outbox.wrap(Some(&mail)).await?;
        Ok(Verification { letter, hash, email: email.to_owned(), expires: now + LIVES })
    }

    /// Mails once more a token that confirms the caller's address.
    pub(crate) async fn verify_again(&self, caller: &Caller) -> crate::Result<()> {
        let user = caller.principal.user.ok_or(Error::UserNotFound)?;
        let owner = credentials::owner(&self.base.db.global(Login::Api), user).await?;
        let owner = owner.ok_or(Error::UserNotFound)?;
        let email = owner.email.filter(|_| !owner.email_is_verified);
        let email = email.ok_or(CredentialError::NothingToVerify)?;
        let now = self.base.clock.now();
        let verification = self.verification(&owner.username, &email, now).await?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        users::queue(&work, user).await?;
        verification.post(&work, user, now).await?;
        work.audit(Audit::new(SERVICE, "ASK_VERIFICATION", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(())
    }

    /// Confirms an address by the token that was mailed to it.
    pub(crate) async fn verify_email(&self, origin: Arc<Origin>, token: &str) -> crate::Result<()> {
        let purpose = PURPOSE.as_str();
        let refused = || Error::from(CredentialError::MailTokenInvalid);
        let hash = mail_token_hash(token).ok_or_else(refused)?;
        let now = self.base.clock.now();
        let found = credentials::recipient(&self.base.db.global(Login::Api), &hash, purpose, now).await?;
        let recipient = found.ok_or_else(refused)?;
        let user = recipient.user_id;
        let home = recipient.tenants.first().copied().unwrap_or(TenantId::DEFAULT);
        let caller = holder(origin, home, user, recipient.username);
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        users::queue(&work, user).await?;
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
