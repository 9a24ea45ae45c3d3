//! A forgotten password: a mail, and a new password by its token.
//!
//! Whoever asks learns nothing of who has an account: the answer and the work are the same, and the mail goes out later
//! from the outbox.

use std::sync::Arc;

use jiff::SignedDuration;
use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::ids::{TenantId, UserId};
use nsl_crypto::digest::Sha256Digest;
use nsl_crypto::token::{random_token, token_hash};

use super::{SERVICE, State};
use crate::domain::mail::{Mail, Purpose};
use crate::domain::user::{self, attempted_name};
use crate::error::{CredentialError, Error};
use crate::events::credentials::PasswordChanged;
use crate::events::user_stream;
use crate::store::{credentials, origins, users};

/// Tells people and secret scanners what it is.
const TOKEN_PREFIX: &str = "nslm_";
const TOKEN_CHARS: usize = TOKEN_PREFIX.len() + 43;
const RESET_LIVES: SignedDuration = SignedDuration::from_hours(1);
/// Mails of one user that are good at the same time: a stranger who asks again and again fills nobody's mailbox.
pub(super) const MAILS_AT_A_TIME: i64 = 3;
const REASON: &str = "password_reset";

/// A token for a mail, with what is stored of it.
pub(super) fn mail_token() -> (String, Sha256Digest) {
    let token = random_token(TOKEN_PREFIX);
    (token.expose().to_owned(), token_hash(token.expose()))
}

/// What is stored of a token that came back; None for a text that cannot be one.
pub(super) fn mail_token_hash(token: &str) -> Option<Sha256Digest> {
    (token.len() == TOKEN_CHARS && token.starts_with(TOKEN_PREFIX)).then(|| token_hash(token))
}

/// Somebody who showed no credential.
pub(super) fn stranger(origin: Arc<Origin>) -> Caller {
    let principal = Principal {
        tenant: TenantId::DEFAULT,
        user: None,
        session: None,
        name: "anonymous".to_owned(),
        permissions: Permissions::default(),
        roles: Vec::new(),
    };
    Caller::new(principal, origin)
}

impl State {
    /// Mails a token to the user of a name or an address, if there is one with an address.
    pub(crate) async fn forgot_password(
        &self,
        origin: Arc<Origin>,
        name_or_email: &str,
    ) -> crate::Result<()> {
        attempted_name(name_or_email).map_err(Error::Invalid)?;
        let found = credentials::reachable(&self.base.db.global(Login::Api), name_or_email).await?;
        let (token, hash) = mail_token();
        let (user, email, username) = match found {
            Some(user) => (Some(user.id), user.email, user.username),
            None => (None, String::new(), String::new()),
        };
        let purpose = Purpose::PasswordReset;
        let mail = Mail { to: email.clone(), username, purpose, token };
        // Both before the transaction; which of them is kept is known in it.
        let (letter, nothing) = (self.outbox.wrap(Some(&mail)).await?, self.outbox.wrap(None).await?);
        let now = self.base.clock.now();
        let (expires, purpose) = (now + RESET_LIVES, purpose.as_str());
        let caller = stranger(origin);
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        // By what was sent, so that a burst of requests takes as long for a name that nobody has.
        credentials::queue(&work, name_or_email).await?;
        let kept = credentials::add_token(&work, &hash, user, purpose, &email, now, expires, MAILS_AT_A_TIME);
        let wrapped = if kept.await? == 1 { letter } else { nothing };
        wrapped.post(&work, now, expires).await?;
        let resource = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
        work.audit(Audit::new(SERVICE, "FORGOT_PASSWORD", "user", resource, AuditResult::Success));
        work.commit().await?;
        Ok(())
    }

    /// Sets another password by the token of a mail. Every session ends, and every lockout, which whoever reads the
    /// user's mail did not earn.
    pub(crate) async fn reset_password(
        &self,
        origin: Arc<Origin>,
        token: &str,
        new: Secret,
    ) -> crate::Result<()> {
        let purpose = Purpose::PasswordReset.as_str();
        let refused = || Error::from(CredentialError::MailTokenInvalid);
        let hash = mail_token_hash(token).ok_or_else(refused)?;
        let now = self.base.clock.now();
        let found = credentials::recipient(&self.base.db.global(Login::Api), &hash, purpose, now).await?;
        let recipient = found.ok_or_else(refused)?;
        let about = user::Owner {
            username: &recipient.username,
            email: Some(&recipient.email),
            full_name: recipient.full_name.as_deref(),
        };
        user::password("/newPassword", &about, new.expose()).map_err(|found| Error::Invalid(vec![found]))?;
        let password = self.passwords.hash(new).await?;
        let user = recipient.user_id;
        let tenants = self.session_tenants(user).await?;
        let home = recipient.tenants.first().copied().unwrap_or(TenantId::DEFAULT);
        let caller = holder(origin, home, user, recipient.username.clone());
        let mut work = self.base.db.begin_across(Login::Api, &caller, &tenants).await?;
        // Of two tokens of one user each would wait for the other to go.
        users::queue(&work, user).await?;
        let spent = credentials::spend_token(&work, &hash, purpose, now).await?;
        if spent.is_none_or(|spent| spent.user_id != user)
            || credentials::set_password(&work, user, &password, now).await? == 0
        {
            work.rollback().await?;
            return Err(refused());
        }
        credentials::verify_email(&work, user, &recipient.email, now).await?;
        origins::forgive(&work, user).await?;
        self.end_sessions(&mut work, home, &tenants, user, None, REASON).await?;
        work.event(user_stream(user), &PasswordChanged { user_id: user, by: "reset" })?;
        work.audit(Audit::new(SERVICE, "RESET_PASSWORD", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }
}

/// The user of a mailed token.
pub(super) fn holder(origin: Arc<Origin>, tenant: TenantId, user: UserId, name: String) -> Caller {
    let permissions = Permissions::default();
    let principal =
        Principal { tenant, user: Some(user), session: None, name, permissions, roles: Vec::new() };
    Caller::new(principal, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailed_token_is_known_by_its_form() {
        let (token, hash) = mail_token();
        assert_eq!(mail_token_hash(&token), Some(hash));
        for other in ["", &token[1..], &format!("{token}x"), random_token("nslr_").expose()] {
            assert_eq!(mail_token_hash(other), None, "{other}");
        }
    }
}
