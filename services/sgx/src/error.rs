//! The one error enum of the service and its one mapping to an API error.

/// What can go wrong with quotes, of others and of the own platform.
mod attestation;
/// What can go wrong with root keys and their slots.
mod root;
/// What can go wrong with rotations.
mod rotation;
/// What can go wrong with scans.
mod scan;

use axum::http::StatusCode;
use nsl_core::ApiError;
use nsl_core::config::SecretError;
use nsl_core::db::{AuditResult, DbError};

pub(crate) use self::attestation::AttestationError;
pub use self::attestation::HardwareError;
pub(crate) use self::root::RootError;
pub(crate) use self::rotation::RotationError;
pub(crate) use self::scan::ScanError;
use crate::domain::Violation;
use crate::domain::policy::Denial;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such item")]
    NotFound,
    #[error("the item has expired")]
    Expired,
    #[error("the item is at version {current:?}")]
    VersionConflict { current: Option<i64> },
    #[error("the value has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the value has more than {limit} bytes, which has to be streamed")]
    TooLargeInline { limit: usize },
    #[error("the body ended before its end")]
    Truncated,
    #[error("the value is streamed")]
    Streamed,
    #[error("the item {resource} is in the batch twice")]
    Twice { resource: String },
    #[error("the values together have more than {limit} bytes")]
    AnswerTooLarge { limit: usize },
    #[error("{0}")]
    Invalid(#[from] Violation),
    #[error("the stored item is not what was sealed: {0}")]
    Integrity(String),
    #[error("the sealing key cannot be used: {0}")]
    SealingKey(String),
    #[error("{0}")]
    Denied(#[from] Denial),
    #[error("there is no policy {0}")]
    UnknownPolicy(String),
    #[error("there is no such policy")]
    PolicyNotFound,
    #[error("the policy is built in")]
    BuiltinPolicy,
    #[error("a policy of that name exists")]
    PolicyExists,
    #[error("the policy is not active")]
    PolicyInactive,
    #[error("the policy is at version {current:?}")]
    PolicyConflict { current: Option<i64> },
    #[error("the item has no such version")]
    VersionNotFound,
    #[error("the version was destroyed")]
    VersionDestroyed,
    #[error("the item is not deleted")]
    NotDeleted,
    #[error("there is an item at the target")]
    TargetExists,
    #[error("source and target are one address")]
    SameAddress,
    #[error("there is no such quota")]
    QuotaNotFound,
    #[error("the quota of {scope} allows {most} {unit}")]
    QuotaExceeded { scope: String, most: i64, unit: &'static str },
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Rotation(#[from] RotationError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    #[error(transparent)]
    Db(#[from] DbError),
    /// A refusal that another layer worded.
    #[error("{}", .0.code)]
    Api(#[from] ApiError),
}

impl Error {
    /// How the audit log calls the outcome.
    pub(crate) fn audit_result(&self) -> AuditResult {
        match self {
            Self::Denied(_) => AuditResult::Denied,
            _ => AuditResult::Failure,
        }
    }

    /// Has its audit row; `http::refusal` need not write one.
    pub(crate) fn recorded(self) -> Self {
        match self {
            Self::Api(error) => Self::Api(ApiError { unrecorded: None, ..error }),
            other => other,
        }
    }

    pub(crate) fn into_api(self) -> ApiError {
        match self {
            Self::NotFound => ApiError::not_found(
                "sgx.item_not_found",
                "There is no such item in this tenant; `GET /api/v1/sgx/items` lists what there is.",
            ),
            Self::Expired => ApiError::not_found(
                "sgx.item_expired",
                "The item was there and has expired; put it again with a later expiresAt.",
            ),
            Self::VersionConflict { current } => ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "sgx.version_conflict",
                match current {
                    Some(version) => format!(
                        "The item is at version {version}, which the condition does not allow; read it and decide again."
                    ),
                    None => "The item does not exist, which the condition does not allow.".to_owned(),
                },
            ),
            Self::TooLarge { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "sgx.value_too_large",
                format!("A value may have at most {limit} bytes (SGX:Database:MaxValueBytes); split it."),
            ),
            Self::TooLargeInline { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "sgx.value_too_large_for_json",
                format!(
                    "A value in JSON may have at most {limit} bytes (SGX:Database:InlineBytes); PUT this one itself as \
                     `Content-Type: application/octet-stream`."
                ),
            ),
            Self::Truncated => ApiError::bad_request(
                "sgx.truncated",
                "The body ended early or is not as long as its Content-Length; nothing was stored, send it again.",
            ),
            Self::Streamed => ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "sgx.value_streamed",
                "The value is too large for JSON; GET the item with `Accept: application/octet-stream`.",
            ),
            Self::Twice { resource } => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sgx.item_twice",
                format!("The item {resource} is in this batch twice; put its last value only, or set atomic to false."),
            ),
            Self::AnswerTooLarge { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "sgx.answer_too_large",
                format!("The values together have more than {limit} bytes; ask for fewer items at once."),
            ),
            Self::Invalid(violation) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, violation.code, violation.to_string())
                    .at(violation.pointer, violation.problem)
            }
            Self::Integrity(reason) => ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "sgx.integrity_violation",
                "The stored item is not what was sealed; nothing of it is shown. A security event was raised: the \
                 operator has to restore the item from a backup, or put it again.",
            )
            .because(reason),
            Self::SealingKey(reason) => ApiError::unavailable(
                "sgx.sealing_key_unavailable",
                "The tenant's sealing key cannot be used; the operator finds the reason in the log.",
            )
            .because(reason),
            Self::Denied(denial) => denied(denial),
            Self::UnknownPolicy(name) => unprocessable(
                "sgx.unknown_policy",
                format!(
                    "There is no policy {name} in this tenant; give MRSIGNER, MRENCLAVE or a policy of GET /api/v1/sgx/policies."
                ),
            )
            .at("/policy", "no such policy"),
            Self::PolicyInactive => unprocessable(
                "sgx.inactive_policy",
                "The policy is not active; take another, or have an administrator activate it.",
            )
            .at("/policy", "not active"),
            Self::PolicyNotFound => ApiError::not_found(
                "sgx.policy_not_found",
                "There is no such policy in this tenant; GET /api/v1/sgx/policies lists them.",
            ),
            Self::BuiltinPolicy => conflict(
                "sgx.builtin_policy",
                "A built-in policy never changes; make one of another name.",
            ),
            Self::PolicyExists => conflict(
                "sgx.policy_exists",
                "A policy of that name exists; PUT changes it.",
            ),
            Self::PolicyConflict { current } => ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "sgx.version_conflict",
                match current {
                    Some(version) => format!(
                        "The policy is at version {version}, which the condition does not allow; read it and decide again."
                    ),
                    None => "The policy does not exist, which the condition does not allow.".to_owned(),
                },
            ),
            Self::VersionNotFound => ApiError::not_found(
                "sgx.version_not_found",
                "The item has no such version, or it is not kept any more; GET /api/v1/sgx/versions lists them.",
            ),
            Self::VersionDestroyed => ApiError::new(
                StatusCode::GONE,
                "sgx.version_destroyed",
                "The version was destroyed: its key is gone, and nobody can bring the value back.",
            ),
            Self::NotDeleted => conflict(
                "sgx.not_deleted",
                "The item is not deleted; name a version to make an older value the current one.",
            ),
            Self::TargetExists => conflict(
                "sgx.target_exists",
                "There is an item at the target; delete it first, or take another name.",
            ),
            Self::SameAddress => unprocessable("sgx.same_address", "The target is the source itself; give another.")
                .at("/to", "the same address"),
            Self::QuotaNotFound => ApiError::not_found(
                "sgx.quota_not_found",
                "There is no such quota in this tenant; GET /api/v1/sgx/quotas lists them.",
            ),
            Self::QuotaExceeded { scope, most, unit } => ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "sgx.quota_exceeded",
                format!(
                    "The quota of {scope} allows {most} {unit}, which this would exceed; nothing was stored. Destroy what is \
                     not needed, or have an administrator raise the quota."
                ),
            ),
            Self::Root(error) => error.into_api(),
            Self::Rotation(error) => error.into_api(),
            Self::Scan(error) => error.into_api(),
            Self::Attestation(error) => error.into_api(),
            Self::Db(error) => error.into(),
            Self::Api(error) => error,
        }
    }
}

fn unprocessable(code: &'static str, detail: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

fn conflict(code: &'static str, detail: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, detail)
}

fn denied(denial: Denial) -> ApiError {
    match denial {
        Denial::Unseal => ApiError::forbidden(
            "sgx.policy_violation",
            "The item's policy lets nobody read it (allowUnseal is false).",
        ),
        Denial::Inactive => ApiError::forbidden(
            "sgx.policy_violation",
            "The item's policy is not active; an administrator of the tenant can activate it again.",
        ),
        Denial::Role => ApiError::forbidden(
            "sgx.policy_violation",
            "The item's policy allows certain roles only, and you have none of them; ask an administrator of the tenant.",
        ),
        Denial::ReadsExhausted => ApiError::forbidden(
            "sgx.reads_exhausted",
            "This version was read as often as its policy allows; it has to be put again.",
        ),
        Denial::AttestationUnavailable => conflict(
            "sgx.attestation_unavailable",
            "The item's policy needs an attestation, and this service runs in simulation mode, where none proves \
             anything; read it where the service runs in an SGX enclave, or put it under a policy that asks for none.",
        ),
        Denial::AttestationRequired => ApiError::forbidden(
            "sgx.attestation_required",
            "The item's policy needs an attestation: have one verified by POST /api/v1/sgx/attestations/verify, and name its \
             id in the header X-Attestation-Id.",
        ),
        Denial::AttestationInvalid => ApiError::forbidden(
            "sgx.attestation_invalid",
            "The attestation that X-Attestation-Id names is unknown, was not accepted or has expired; have a new one verified.",
        ),
        Denial::AttestationTooOld => ApiError::forbidden(
            "sgx.attestation_invalid",
            "The attested enclave is of an older security version (ISV SVN) than the item's policy takes.",
        ),
    }
}

/// Why the service does not start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("SGX_ENCRYPTION_KEY cannot be used: {0}; make one with `nsl secrets`")]
    RootKey(String),
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    #[error("SGX:Attestation:FreshMinutes is 0: no verdict would ever count; give at least 1")]
    NeverFresh,
    #[error(
        "this database was sealed under the root key {stored}, and SGX_ENCRYPTION_KEY is {given}: give the key that \
         it was sealed with; without it the sealed values cannot be opened by anyone"
    )]
    ForeignRootKey { stored: String, given: String },
    #[error(
        "none of the keys at hand opens the root key {root} of this database: its slots take {needs}, and at hand is \
         {given}; give one of those keys (SGX_ENCRYPTION_KEY is the configured one); without it the sealed values cannot \
         be opened by anyone"
    )]
    NoSlot { root: String, needs: String, given: String },
    #[error(
        "SGX_ENCRYPTION_KEY is the configured key {given}, whose slot was retired: an operator decided that it opens this \
         database no more; give {needs}"
    )]
    RetiredSlot { given: String, needs: String },
    #[error(
        "the root key's slot {slot_id} is not what was wrapped there: somebody changed sgx.root_slots, or part of it was \
         restored; restore the schema sgx from one dump"
    )]
    DamagedSlot { slot_id: uuid::Uuid },
    #[error("no root key of this database is active: restore the schema sgx from one dump")]
    NoActiveRoot,
    #[error(
        "the key {id} for other services' secrets does not open: somebody changed sgx.secret_keys, or part of it was \
         restored; restore the schema sgx from one dump"
    )]
    DamagedSecretKey { id: String },
    #[error("SGX:Database:MaxValueBytes is {limit}; it takes 1 to {largest}")]
    ValueLimit { limit: usize, largest: usize },
    #[error("SGX:Database:InlineBytes is {limit}; it takes {smallest} to {largest}")]
    InlineLimit { limit: usize, smallest: usize, largest: usize },
    #[error("SGX:Database:KeepVersions is 0; the current version counts as one, so it takes at least 1")]
    KeepVersions,
    #[error(transparent)]
    Db(#[from] DbError),
}
