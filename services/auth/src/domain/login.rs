//! Whether a login succeeds, once the password was compared. Nothing here is reached before that comparison was made,
//! for unknown users too, so that the time of an answer tells nothing.

use jiff::Timestamp;
use nsl_core::ids::{TenantId, UserId};

use crate::domain::lockout::Standing;
use crate::error::{CredentialError, Error};

/// The account that a login names, as far as the decision needs it.
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) status: String,
    pub(crate) locked_until: Option<Timestamp>,
    /// What was guessed from where this request comes from.
    pub(crate) standing: Standing,
    /// The tenants that the user is a member of, the oldest membership first.
    pub(crate) tenants: Vec<TenantId>,
}

/// What the request asks for beside the credentials.
pub(crate) struct Wishes {
    pub(crate) tenant: Option<TenantId>,
}

/// Why a login was denied, as the audit log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    UnknownUser,
    WrongPassword,
    Locked,
    Disabled,
    NoTenant,
    NotAMember,
    TotpNotEnrolled,
    TotpRequired,
    WrongCode,
    TenantSuspended,
    /// The account was changed, or its block locked, while the password was compared.
    Overtaken,
}

impl Denial {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::NoTenant => "no_tenant",
            Self::NotAMember => "not_a_member",
            Self::TotpNotEnrolled => "totp_not_enrolled",
            Self::TotpRequired => "totp_required",
            Self::WrongCode => "wrong_code",
            Self::TenantSuspended => "tenant_suspended",
            Self::Overtaken => "overtaken",
        }
    }

    /// Whether it counts as an attempt to guess.
    pub(crate) fn is_guess(self) -> bool {
        matches!(self, Self::WrongPassword | Self::WrongCode)
    }
}

impl From<Denial> for Error {
    /// Only who knows the password learns more than that it did not work.
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::UnknownUser
            | Denial::WrongPassword
            | Denial::Locked
            | Denial::Disabled
            | Denial::NoTenant
            | Denial::Overtaken => Self::InvalidCredentials,
            Denial::NotAMember => Self::NotAMember,
            Denial::TotpNotEnrolled => Self::TotpNotEnrolled,
            Denial::TotpRequired => CredentialError::TotpRequired.into(),
            Denial::WrongCode => CredentialError::TotpInvalid.into(),
            Denial::TenantSuspended => Self::TenantSuspended,
        }
    }
}

/// The user and the tenant that the session will be of.
pub(crate) fn decide(
    account: Option<&Account>,
    password_matches: bool,
    wishes: &Wishes,
    now: Timestamp,
) -> Result<(UserId, TenantId), Denial> {
    let account = account.ok_or(Denial::UnknownUser)?;
    // Whether the guess was right is nothing to decide by any more, and it is not counted.
    if account.standing.is_locked(now) {
        return Err(Denial::Locked);
    }
    if !password_matches {
        return Err(Denial::WrongPassword);
    }
    if account.status == "locked" || account.locked_until.is_some_and(|until| now < until) {
        return Err(Denial::Locked);
    }
    if account.status != "active" {
        return Err(Denial::Disabled);
    }
    let first = account.tenants.first().copied().ok_or(Denial::NoTenant)?;
    let tenant = wishes.tenant.unwrap_or(first);
    if !account.tenants.contains(&tenant) {
        return Err(Denial::NotAMember);
    }
    Ok((account.id, tenant))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn account() -> Account {
        Account {
            id: UserId::generate(),
            status: "active".to_owned(),
            locked_until: None,
            standing: Standing::default(),
            tenants: vec![TenantId::DEFAULT, TenantId::generate()],
        }
    }

    fn plain() -> Wishes {
        Wishes { tenant: None }
    }

    #[test]
    fn the_oldest_membership_is_taken_unless_another_is_asked_for() {
        let account = account();
        assert_eq!(decide(Some(&account), true, &plain(), NOW), Ok((account.id, account.tenants[0])));
        let second = Wishes { tenant: Some(account.tenants[1]) };
        assert_eq!(decide(Some(&account), true, &second, NOW), Ok((account.id, account.tenants[1])));
        let other = Wishes { tenant: Some(TenantId::generate()) };
        assert_eq!(decide(Some(&account), true, &other, NOW), Err(Denial::NotAMember));
    }

    #[test]
    fn a_stranger_is_told_one_thing_only() {
        let locked = Account { status: "locked".to_owned(), ..account() };
        let locked_for_now = Account { locked_until: Some(NOW + SignedDuration::from_secs(1)), ..account() };
        let disabled = Account { status: "disabled".to_owned(), ..account() };
        let homeless = Account { tenants: Vec::new(), ..account() };
        let guessed =
            Standing { locked_until: Some(NOW + SignedDuration::from_secs(1)), ..Standing::default() };
        let guessed_at = Account { standing: guessed, ..account() };
        let eager = Wishes { tenant: Some(TenantId::generate()) };
        for (account, matches, expected) in [
            (None, false, Denial::UnknownUser),
            (None, true, Denial::UnknownUser),
            (Some(&account()), false, Denial::WrongPassword),
            (Some(&locked), false, Denial::WrongPassword),
            (Some(&locked), true, Denial::Locked),
            (Some(&locked_for_now), true, Denial::Locked),
            (Some(&guessed_at), true, Denial::Locked),
            (Some(&guessed_at), false, Denial::Locked),
            (Some(&disabled), true, Denial::Disabled),
            (Some(&homeless), true, Denial::NoTenant),
        ] {
            let denial = decide(account, matches, &eager, NOW).unwrap_err();
            assert_eq!(denial, expected);
            assert!(matches!(Error::from(denial), Error::InvalidCredentials), "{denial:?}");
        }
        let was_locked = Account { locked_until: Some(NOW), ..account() };
        assert!(decide(Some(&was_locked), true, &plain(), NOW).is_ok());
    }
}
