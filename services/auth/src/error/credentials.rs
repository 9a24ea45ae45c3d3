//! What can go wrong with passwords, second factors, mailed tokens and API keys.

use axum::http::StatusCode;
use nsl_core::ApiError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("a second factor is needed")]
    TotpRequired,
    #[error("the code of the second factor is wrong or was used")]
    TotpInvalid,
    #[error("the account has a second factor already")]
    TotpEnrolled,
    #[error("no enrolment of a second factor was begun")]
    TotpNotStarted,
    #[error("the account has no second factor")]
    TotpMissing,
    #[error("the second factor is the caller's own")]
    TotpOwn,
    #[error("the password of the account is wrong")]
    PasswordWrong,
    #[error("neither a password nor a code was sent")]
    ProofMissing,
    #[error("the credential is of no session")]
    SessionRequired,
    #[error("the mailed token is not valid")]
    MailTokenInvalid,
    #[error("no address waits to be confirmed")]
    NothingToVerify,
    #[error("nobody may register")]
    RegistrationClosed,
    #[error("the API key is not valid")]
    ApiKeyInvalid,
    #[error("the caller has no such API key")]
    ApiKeyNotFound,
    #[error("an API key cannot have a permission that its maker lacks: {0}")]
    ApiKeyExceedsCaller(String),
}

impl From<CredentialError> for ApiError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::TotpRequired => Self::unauthorized(
                "auth.totp_required",
                "This account has a second factor; send the present code of the authenticator app, or a backup code, \
                 as totpCode.",
            ),
            CredentialError::TotpInvalid => Self::unauthorized(
                "auth.totp_invalid",
                "The code is wrong, was used before or is too old; wait for the next one of the authenticator app, \
                 and check the clock of its device.",
            ),
            CredentialError::TotpEnrolled => Self::new(
                StatusCode::CONFLICT,
                "auth.totp_enrolled",
                "This account has a second factor already; DELETE /api/v1/auth/mfa/totp takes it away.",
            ),
            CredentialError::TotpNotStarted => Self::new(
                StatusCode::CONFLICT,
                "auth.totp_not_started",
                "There is nothing to confirm; POST /api/v1/auth/mfa/totp begins an enrolment.",
            ),
            CredentialError::TotpMissing => Self::new(
                StatusCode::CONFLICT,
                "auth.totp_missing",
                "This account has no second factor; POST /api/v1/auth/mfa/totp begins an enrolment.",
            ),
            CredentialError::TotpOwn => Self::forbidden(
                "auth.totp_own",
                "Your own second factor is taken away by DELETE /api/v1/auth/mfa/totp, which asks for your password or \
                 a code.",
            ),
            CredentialError::PasswordWrong => Self::unauthorized(
                "auth.password_wrong",
                "The present password is wrong, or was wrong too often; after some failures wait half an hour.",
            ),
            CredentialError::ProofMissing => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "auth.proof_missing",
                "Send `password` or `code` to show that it is you.",
            ),
            CredentialError::SessionRequired => Self::forbidden(
                "auth.session_required",
                "This changes how an account is entered, so it needs a session and no API key; \
                 POST /api/v1/auth/login starts one.",
            ),
            CredentialError::MailTokenInvalid => Self::unauthorized(
                "auth.mail_token_invalid",
                "The token is unknown, was used, or has expired; ask for another mail.",
            ),
            CredentialError::NothingToVerify => Self::new(
                StatusCode::CONFLICT,
                "auth.nothing_to_verify",
                "Your account has no e-mail address, or it is confirmed; GET /api/v1/auth/me shows it.",
            ),
            CredentialError::RegistrationClosed => Self::forbidden(
                "auth.registration_closed",
                "Accounts are made by an administrator here; ask one (or set Auth__AllowRegistration=true).",
            ),
            CredentialError::ApiKeyInvalid => Self::unauthorized(
                "auth.api_key_invalid",
                "The API key is mistyped, unknown, revoked or has expired; POST /api/v1/auth/api-keys makes one.",
            ),
            CredentialError::ApiKeyNotFound => Self::not_found(
                "auth.api_key_not_found",
                "You have no such API key, or it was revoked; GET /api/v1/auth/api-keys lists those you have.",
            ),
            CredentialError::ApiKeyExceedsCaller(permission) => Self::forbidden(
                "auth.api_key_exceeds_caller",
                format!("You lack the permission {permission}; a key has at most what its maker has."),
            ),
        }
    }
}
