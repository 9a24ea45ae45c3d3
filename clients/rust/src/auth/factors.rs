//! One's own password and second factor.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Auth;
use crate::error::Error;
use crate::secret::Secret;

/// Whether one has a second factor.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TotpStatus {
    pub enrolled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    pub backup_codes_left: i64,
}

/// What an authenticator app is given; no later answer shows it again.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TotpEnrolment {
    /// In base 32.
    pub secret: Secret,
    pub otpauth_url: Secret,
    /// A picture for the app's camera.
    pub qr_svg: Secret,
}

#[derive(Serialize)]
struct Confirm<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct Remove<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

/// Shows that it is still the owner who asks.
pub enum OwnerProof<'a> {
    Password(&'a Secret),
    /// The present code of the app, or a backup code.
    Code(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangePassword<'a> {
    current_password: &'a str,
    new_password: &'a str,
}

const TOTP: &str = "/api/v1/auth/mfa/totp";

impl Auth<'_> {
    /// Changes one's password; one's other sessions end.
    pub async fn change_password(&self, current: &Secret, new: &Secret) -> Result<(), Error> {
        let body = ChangePassword { current_password: current.expose(), new_password: new.expose() };
        self.tell(self.client.post("/api/v1/auth/password/change").json(&body)).await
    }

    pub async fn totp_status(&self) -> Result<TotpStatus, Error> {
        self.ask(self.client.get(TOTP)).await
    }

    /// Begins an enrolment; it counts once it is confirmed.
    pub async fn start_totp(&self) -> Result<TotpEnrolment, Error> {
        self.ask(self.client.post(TOTP)).await
    }

    /// Ends an enrolment with a code of the app; logins with a password need one from then on.
    pub async fn confirm_totp(&self, code: &str) -> Result<(), Error> {
        self.tell(self.client.post(&format!("{TOTP}/confirm")).json(&Confirm { code })).await
    }

    pub async fn remove_totp(&self, proof: &OwnerProof<'_>) -> Result<(), Error> {
        let body = match proof {
            OwnerProof::Password(password) => Remove { password: Some(password.expose()), code: None },
            OwnerProof::Code(code) => Remove { password: None, code: Some(code) },
        };
        self.tell(self.client.request(Method::DELETE, TOTP).json(&body)).await
    }

    /// Ten codes, each good once in place of the app's; earlier ones are void.
    pub async fn make_backup_codes(&self) -> Result<Vec<Secret>, Error> {
        #[derive(Deserialize)]
        struct Codes {
            codes: Vec<Secret>,
        }
        let made: Codes = self.ask(self.client.post("/api/v1/auth/mfa/backup-codes")).await?;
        Ok(made.codes)
    }
}
