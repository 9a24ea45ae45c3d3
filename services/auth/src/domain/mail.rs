//! The mail that is sent. Its token stands in a link's fragment, which browsers send to no server, and as plain text
//! for who has no such page.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// What a token in a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    PasswordReset,
    EmailVerification,
}

impl Purpose {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password-reset",
            Self::EmailVerification => "email-verification",
        }
    }
}

/// A mail in the outbox.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) username: String,
    pub(crate) purpose: Purpose,
    pub(crate) token: String,
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl Mail {
    pub(crate) fn subject(&self) -> &'static str {
        match self.purpose {
            Purpose::PasswordReset => "Choose a new password",
            Purpose::EmailVerification => "Confirm your e-mail address",
        }
    }

    pub(crate) fn text(&self, public_url: &str) -> String {
        let Self { username, token, .. } = self;
        let (what, route, ignore) = match self.purpose {
            Purpose::PasswordReset => (
                "someone asked for a new password for your account. Within an hour, choose one",
                "POST /api/v1/auth/password/reset",
                "If it was not you, ignore this mail: your password stays as it is.",
            ),
            Purpose::EmailVerification => (
                "this e-mail address was given for your account. Within a day, confirm it",
                "POST /api/v1/auth/email/verify",
                "If it was not you, ignore this mail: the address stays unconfirmed.",
            ),
        };
        format!(
            "Hello {username},\n\n{what} here:\n\n{public_url}#token={token}\n\nor send this token to {route}:\n\n\
             {token}\n\n{ignore}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_what_to_do_with_its_token() {
        for (purpose, route) in
            [(Purpose::PasswordReset, "password/reset"), (Purpose::EmailVerification, "email/verify")]
        {
            let mail = Mail {
                to: "ann@example.org".to_owned(),
                username: "ann".to_owned(),
                purpose,
                token: "nslm_abc".to_owned(),
            };
            let text = mail.text("https://app.example.org/account");
            assert!(text.contains("https://app.example.org/account#token=nslm_abc\n"), "{text}");
            assert!(text.contains(route) && text.contains("Hello ann"), "{text}");
            assert!(!mail.subject().contains("nslm_"));
        }
    }
}
