//! What can go wrong, and how each failure is told: status and stable code.
//!
//! Whatever makes a login fail before the password is known to be right is [`Error::InvalidCredentials`], word for
//! word the same, so that a stranger cannot tell which users exist.

/// Passwords, second factors, mailed tokens and API keys.
mod credentials;

use axum::http::StatusCode;
use nsl_core::ApiError;
use nsl_core::config::ConfigError;
use nsl_core::db::DbError;
use nsl_crypto::password::PasswordError;

pub(crate) use self::credentials::CredentialError;
use crate::domain::user::Violation;
use crate::domain::wallet::Refusal;

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
    #[error("the user has a permission that the caller lacks: {permission}")]
    UserExceedsCaller { permission: String },
    #[error("the account is managed by another tenant")]
    UserElsewhere,
    #[error("the user is the tenant's last administrator")]
    LastAdministrator,
    #[error("the user is a member already")]
    AlreadyMember,
    #[error("there is no such role in the tenant")]
    RoleNotFound,
    #[error("the role is built in")]
    RoleBuiltin,
    #[error("the name of the role is taken")]
    RoleTaken,
    #[error("{holders} members hold the role")]
    RoleInUse { holders: i64 },
    #[error("the user does not hold the role")]
    RoleNotAssigned,
    #[error("there is no such session")]
    SessionNotFound,
    #[error("the tenant is suspended")]
    TenantSuspended,
    #[error("there is no such tenant")]
    TenantNotFound,
    #[error("the name of the tenant is taken")]
    TenantTaken,
    #[error("the caller is not of the operator's tenant")]
    OperatorsOnly,
    #[error("the operator's own tenant cannot be suspended")]
    DefaultTenant,
    #[error("a permission is missing")]
    Forbidden(ApiError),
    #[error("the wallet does not let anybody in: {}", .0.reason())]
    WalletRefused(Refusal),
    #[error("the wallet is linked already")]
    WalletTaken,
    #[error("the account has no such wallet")]
    WalletNotFound,
    #[error("the wallet is the only way to log in")]
    WalletLast,
    #[error("too many password checks are waiting")]
    Busy,
    #[error("the Idempotency-Key cannot serve this request")]
    Idempotency(ApiError),
    #[error("the enclave refused or did not answer: {0}")]
    Enclave(ApiError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
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
            Error::RefreshTokenForeign => Self::unauthorized(
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
            Error::UserExceedsCaller { permission } => Self::forbidden(
                "auth.user_exceeds_caller",
                format!(
                    "The user has the permission {permission}, which you lack; nobody manages an account that may do \
                     more than they may. Ask an administrator."
                ),
            ),
            Error::UserElsewhere => Self::forbidden(
                "auth.user_of_another_tenant",
                "Another tenant manages this account; here you can change its roles or end its membership \
                 (DELETE /api/v1/auth/users/{id}).",
            ),
            Error::LastAdministrator => Self::new(
                StatusCode::CONFLICT,
                "auth.last_administrator",
                "This is the last administrator of the tenant; give another user the role Administrator first.",
            ),
            Error::AlreadyMember => Self::new(
                StatusCode::CONFLICT,
                "auth.already_member",
                "The user is a member of this tenant already; PUT /api/v1/auth/users/{id}/roles/{role} gives roles.",
            ),
            Error::RoleNotFound => Self::not_found(
                "auth.role_not_found",
                "This tenant has no such role; GET /api/v1/auth/roles lists those it has.",
            ),
            Error::RoleBuiltin => Self::new(
                StatusCode::CONFLICT,
                "auth.role_builtin",
                "The built-in roles are the same in every tenant and never change; make a role of your own \
                 (POST /api/v1/auth/roles).",
            ),
            Error::RoleTaken => Self::new(
                StatusCode::CONFLICT,
                "auth.role_taken",
                "There is a role of this name (upper and lower case are the same); choose another one.",
            )
            .at("/name", "taken"),
            Error::RoleInUse { holders } => Self::new(
                StatusCode::CONFLICT,
                "auth.role_in_use",
                format!(
                    "The role is held by {holders} of the tenant's members; take it from them first \
                     (DELETE /api/v1/auth/users/{{id}}/roles/{{role}})."
                ),
            ),
            Error::RoleNotAssigned => Self::not_found(
                "auth.role_not_assigned",
                "The user does not hold this role; GET /api/v1/auth/users/{id} lists the roles they hold.",
            ),
            Error::SessionNotFound => Self::not_found(
                "auth.session_not_found",
                "There is no such session that goes on and is yours; GET /api/v1/auth/sessions lists those there are.",
            ),
            Error::TenantSuspended => Self::forbidden(
                "auth.tenant_suspended",
                "This tenant is suspended; its operator can say why, and makes it active again.",
            ),
            Error::TenantNotFound => Self::not_found(
                "core.tenant_not_found",
                "There is no such tenant, or it is not yours; GET /api/v1/core/tenants lists those there are.",
            ),
            Error::TenantTaken => Self::new(
                StatusCode::CONFLICT,
                "core.tenant_taken",
                "Another tenant has this name; choose another one.",
            )
            .at("/name", "taken"),
            Error::OperatorsOnly => Self::forbidden(
                "core.operators_only",
                "Tenants are made and suspended by administrators of the tenant `default`; log in to that one.",
            ),
            Error::DefaultTenant => Self::new(
                StatusCode::CONFLICT,
                "core.default_tenant",
                "The tenant `default` is the operator's own, and cannot be suspended.",
            ),
            Error::WalletRefused(refusal) => Self::unauthorized(refusal.code(), refusal.advice()),
            Error::WalletTaken => Self::new(
                StatusCode::CONFLICT,
                "auth.wallet_taken",
                "This wallet is linked already, to your account (GET /api/v1/auth/wallets) or to another one; \
                 whoever has that removes it there first.",
            ),
            Error::WalletNotFound => Self::not_found(
                "auth.wallet_not_found",
                "Your account has no such wallet; GET /api/v1/auth/wallets lists those it has.",
            ),
            Error::WalletLast => Self::new(
                StatusCode::CONFLICT,
                "auth.wallet_last",
                "This wallet is the only way into your account; link another one first.",
            ),
            Error::Busy => Self::unavailable(
                "core.busy",
                "More passwords wait to be checked than the service takes at once. Try again shortly.",
            ),
            Error::Idempotency(error) | Error::Forbidden(error) | Error::Enclave(error) => error,
            Error::Credential(error) => error.into(),
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
    #[error(
        "Wallet:DefaultRole is {role}, and there is no such role; name another, or set Wallet:AutoRegister to false"
    )]
    WalletRole { role: String },
    #[error("mail cannot be sent: {reason}; correct the section Smtp")]
    Mail { reason: String },
    #[error(
        "section Smtp names a mail server, and mail is opened by the enclave, which this process does not reach: give it \
         the section Enclave, or take Smtp__Host from it"
    )]
    MailUnopened,
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
