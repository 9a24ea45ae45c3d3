//! One's own second factor: enrolled, confirmed, taken away, and the codes that stand in for it.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::config::Secret;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::{SessionId, UserId};
use nsl_core::ports::SealedSecret;
use qrcode::QrCode;
use qrcode::render::svg;
use zeroize::Zeroizing;

use super::second_factor::{self, Code, PURPOSE};
use super::{SERVICE, State};
use crate::domain::backup_code;
use crate::domain::lockout::Door;
use crate::domain::totp::TotpSecret;
use crate::error::{CredentialError, Error};
use crate::events::credentials::{BackupCodesMade, TotpDisabled, TotpEnabled};
use crate::events::user_stream;
use crate::store::factors::{self, Status};

/// What is shown once, at the start of an enrolment.
pub(crate) struct Enrolment {
    pub(crate) secret: Zeroizing<String>,
    pub(crate) otpauth_url: Zeroizing<String>,
    pub(crate) qr_svg: Zeroizing<String>,
}

/// How someone who is logged in shows that it is still them.
pub(crate) enum Proof {
    Password(Secret),
    Code(Secret),
}

impl State {
    /// What the caller's second factor is.
    pub(crate) async fn totp_status(&self, caller: &Caller) -> crate::Result<Status> {
        let user = caller.principal.user.ok_or(Error::UserNotFound)?;
        Ok(factors::status(&self.base.db.global(Login::Api), user).await?)
    }

    /// Begins an enrolment. Until it is confirmed, logins go on without.
    pub(crate) async fn start_totp(&self, caller: &Caller, once: &Once) -> crate::Result<Answer<Enrolment>> {
        let (user, _) = own_session(caller)?;
        let secret = TotpSecret::generate();
        let sealed =
            self.sealer.seal(PURPOSE, &user.to_string(), secret.expose()).await.map_err(Error::Enclave)?;
        let enrolment = enrolment(&secret, &caller.principal.name)?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let now = self.base.clock.now();
        if factors::begin(&work, user, &sealed.bytes, &sealed.root_key_id, now).await? == 0 {
            work.rollback().await?;
            return Err(CredentialError::TotpEnrolled.into());
        }
        work.audit(Audit::new(SERVICE, "START_TOTP", "user", user.to_string(), AuditResult::Success));
        once.keep_secret(&work, caller, StatusCode::CREATED, &user.to_string()).await?;
        work.commit().await?;
        Ok(Answer::Made(enrolment))
    }

    /// Ends an enrolment with a code of the new secret, which is spent by it.
    pub(crate) async fn confirm_totp(&self, caller: &Caller, code: &Secret) -> crate::Result<()> {
        let (user, _) = own_session(caller)?;
        let found = factors::totp(&self.base.db.global(Login::Api), user).await?;
        let totp = match found {
            None => return Err(CredentialError::TotpNotStarted.into()),
            Some(totp) if totp.confirmed_at.is_some() => return Err(CredentialError::TotpEnrolled.into()),
            Some(totp) => totp,
        };
        let (now, wrapped) = (self.base.clock.now(), totp.wrapped_secret.clone());
        let step = self.totp_secret(user, &totp.sealed()).await?.step_of(code.expose().trim(), now);
        let step = step.ok_or(CredentialError::TotpInvalid)?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if factors::confirm(&work, user, &wrapped, step, now).await? == 0 {
            work.rollback().await?;
            return Err(CredentialError::TotpNotStarted.into());
        }
        work.event(user_stream(user), &TotpEnabled { user_id: user })?;
        work.audit(Audit::new(SERVICE, "ENABLE_TOTP", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(())
    }

    /// Takes the second factor away, for whoever shows again that it is them.
    pub(crate) async fn remove_totp(&self, caller: &Caller, proof: Proof) -> crate::Result<()> {
        let (user, _) = own_session(caller)?;
        let found = factors::totp(&self.base.db.global(Login::Api), user).await?;
        let totp = found.filter(|totp| totp.confirmed_at.is_some()).ok_or(CredentialError::TotpMissing)?;
        let code = match proof {
            Proof::Password(password) => {
                self.prove_password(caller, user, password).await?;
                None
            }
            Proof::Code(code) => Some(self.prove_code(caller, user, &totp.sealed(), &code).await?),
        };
        let now = self.base.clock.now();
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(code) = &code
            && !second_factor::spend(&work, user, code, now).await?
        {
            work.rollback().await?;
            return Err(CredentialError::TotpInvalid.into());
        }
        if factors::remove(&work, user).await? == 0 {
            work.rollback().await?;
            return Err(CredentialError::TotpMissing.into());
        }
        work.event(user_stream(user), &TotpDisabled { user_id: user })?;
        work.audit(Audit::new(SERVICE, "DISABLE_TOTP", "user", user.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(())
    }

    /// Makes backup codes; earlier ones are void.
    pub(crate) async fn make_backup_codes(
        &self,
        caller: &Caller,
        once: &Once,
    ) -> crate::Result<Answer<Vec<Zeroizing<String>>>> {
        let (user, _) = own_session(caller)?;
        let codes: Vec<_> = (0..backup_code::COUNT).map(|_| backup_code::generate()).collect();
        let hashes: Vec<Vec<u8>> = codes.iter().filter_map(|code| self.backup_key.hash(user, code)).collect();
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        if !factors::is_enrolled(&work, user).await?.enrolled {
            work.rollback().await?;
            return Err(CredentialError::TotpMissing.into());
        }
        factors::replace_backup_codes(&work, user, &hashes, self.base.clock.now()).await?;
        work.event(user_stream(user), &BackupCodesMade { user_id: user })?;
        work.audit(Audit::new(SERVICE, "MAKE_BACKUP_CODES", "user", user.to_string(), AuditResult::Success));
        once.keep_secret(&work, caller, StatusCode::CREATED, &user.to_string()).await?;
        work.commit().await?;
        Ok(Answer::Made(codes))
    }

    /// A good code of the caller's app; a wrong one counts as a guess.
    async fn prove_code(
        &self,
        caller: &Caller,
        user: UserId,
        totp: &SealedSecret,
        code: &Secret,
    ) -> crate::Result<Code> {
        let block = caller.origin.address_block();
        let _turn = self.guesses.turn(&user.to_string(), &block).await?;
        let standing = self.standing(user, Door::Password, &block).await?;
        let is_locked = standing.is_locked(self.base.clock.now());
        // Backup codes are made by whoever has a session: they show nothing more than that.
        if !is_locked && let Some(code @ Code::Step(_)) = self.code(user, totp, code.expose()).await? {
            return Ok(code);
        }
        self.record_wrong_proof(caller, user, !is_locked, standing).await?;
        Err(CredentialError::TotpInvalid.into())
    }
}

/// The user and session of a caller who may change how the account is entered. An API key may not: whoever found one
/// would keep the account after it was revoked.
pub(super) fn own_session(caller: &Caller) -> crate::Result<(UserId, SessionId)> {
    match (caller.principal.user, caller.principal.session) {
        (Some(user), Some(session)) => Ok((user, session)),
        _ => Err(CredentialError::SessionRequired.into()),
    }
}

fn enrolment(secret: &TotpSecret, account: &str) -> crate::Result<Enrolment> {
    let otpauth_url = secret.otpauth_url(account);
    let code = QrCode::new(otpauth_url.as_bytes()).map_err(Error::internal)?;
    let qr_svg = Zeroizing::new(code.render::<svg::Color<'_>>().min_dimensions(240, 240).build());
    Ok(Enrolment { secret: secret.base32(), otpauth_url, qr_svg })
}
