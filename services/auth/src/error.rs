//! What can go wrong, and how each failure is told: status and stable code.
//!
//! Whatever makes a login fail before the password is known to be right is [`Error::InvalidCredentials`], word for
//! word the same, so that a stranger cannot tell which users exist.

use axum::http::StatusCode;
use nsl_core::ApiError;
use nsl_core::config::ConfigError;
use nsl_core::db::DbError;
use nsl_crypto::password::PasswordError;

use crate::domain::user::Violation;

/// What an action of this service comes to when it does not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the credentials are wrong or the account cannot log in")]
    InvalidCredentials,
    #[error("the account has no second factor")]
    TotpNotEnrolled,
    #[error("the user is not a member of the tenant asked for")]
    NotAMember,
    #[error("the access token is not valid")]
    TokenInvalid,
    #[error("the access token has expired")]
    TokenExpired,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    #[error("the refresh token is not of this user")]
    RefreshTokenForeign,
    #[error("the request has invalid fields")]
    Invalid(Vec<Violation>),
    #[error("the username is taken")]
    UsernameTaken,
    #[error("the e-mail address is taken")]
    EmailTaken,
    #[error("role {role} has a permission that the caller lacks: {permission}")]
    RoleExceedsCaller { role: String, permission: String },
    #[error("there is no such user in the tenant")]
    UserNotFound,
    #[error("too many password checks are waiting")]
    Busy,
    #[error("the Idempotency-Key cannot serve this request")]
    Idempotency(ApiError),
    #[error(transparent)]
    Db(#[from] DbError),
    /// A defect of ours.
    #[error("{0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<PasswordError> for Error {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::TooLong => Self::Invalid(vec![Violation::new("/password", error.to_string())]),
            other => Self::internal(other),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCredentials => Self::unauthorized(
                "auth.invalid_credentials",
                "The username or the password is wrong, or this account cannot log in at the moment. \
                 Check both; an administrator can look at the account.",
            ),
            Error::TotpNotEnrolled => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "auth.totp_not_enrolled",
                "This account has no second factor; log in without totpCode.",
            )
            .at("/totpCode", "this account has no second factor"),
            Error::NotAMember => Self::forbidden(
                "auth.not_a_member",
                "You are not a member of that tenant; leave the field out to log in to your own.",
            )
            .at("/tenant", "you are not a member of it"),
            Error::TokenInvalid => Self::unauthorized(
                "auth.token_invalid",
                "The access token is not one of this service; POST /api/v1/auth/login gives one.",
            ),
            Error::TokenExpired => Self::unauthorized(
                "auth.token_expired",
                "The access token has expired; POST /api/v1/auth/refresh gives the next one.",
            ),
            Error::SessionEnded => Self::unauthorized(
                "auth.session_ended",
                "This session has ended; POST /api/v1/auth/login starts a new one.",
            ),
            Error::RefreshTokenInvalid => Self::unauthorized(
                "auth.refresh_token_invalid",
                "The refresh token is unknown or has expired, or its session has ended; \
                 POST /api/v1/auth/login starts a new one.",
            ),
            Error::RefreshTokenReused => Self::unauthorized(
                "auth.refresh_token_reused",
                "This refresh token was used before, so its session was ended: someone may have a copy of it. \
                 Log in again, and keep only the refresh token of the latest answer.",
            ),
            Error::RefreshTokenForeign => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "auth.refresh_token_foreign",
                "The refresh token is not of one of your sessions; send the one that came with your access token.",
            )
            .at("/refreshToken", "not of one of your sessions"),
            Error::Invalid(violations) => violations.into_iter().fold(
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "auth.invalid_field",
                    "Some fields cannot be accepted; `errors` names each with the reason.",
                ),
                |error, violation| error.at(violation.pointer, violation.detail),
            ),
            Error::UsernameTaken => Self::new(
                StatusCode::CONFLICT,
                "auth.username_taken",
                "Another user has this username (upper and lower case are the same); choose another one.",
            )
            .at("/username", "taken"),
            Error::EmailTaken => Self::new(
                StatusCode::CONFLICT,
                "auth.email_taken",
                "Another user has this e-mail address; choose another one.",
            )
            .at("/email", "taken"),
            Error::RoleExceedsCaller { role, permission } => Self::forbidden(
                "auth.role_exceeds_caller",
                format!(
                    "The role {role} has the permission {permission}, which you lack; \
                     nobody can give more than they have."
                ),
            ),
            Error::UserNotFound => Self::not_found(
                "auth.user_not_found",
                "This tenant has no such user; GET /api/v1/auth/users lists those it has.",
            ),
            Error::Busy => Self::unavailable(
                "core.busy",
                "More passwords wait to be checked than the service takes at once. Try again shortly.",
            ),
            Error::Idempotency(error) => error,
            Error::Db(error) => error.into(),
            Error::Internal(cause) => Self::internal(cause),
        }
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database does not serve authentication: {0}; check that it is migrated (`nsl db migrate`)")]
    Db(#[from] DbError),
    #[error(
        "the token-signing key {kid} was wrapped under another root key; start with the SGX_ENCRYPTION_KEY that this \
         database was used with"
    )]
    SigningKeyLocked { kid: String },
    #[error(
        "the token-signing key {kid} in auth.signing_keys is damaged; restore the row from a backup, or delete it and \
         a new key is made at the next start (issued access tokens then end)"
    )]
    SigningKeyDamaged { kid: String },
    #[error("the token-signing key could not be wrapped: {0}")]
    Sealer(String),
    #[error("the password pool does not start: {0}")]
    Passwords(#[from] PasswordError),
}

/// Why the first administrator was not made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("the first administrator cannot be made: {0}")]
    Refused(String),
    #[error("the first administrator was not stored: {0}; try again when the database is well")]
    Db(#[from] DbError),
}
