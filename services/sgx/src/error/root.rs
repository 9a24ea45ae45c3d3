//! What can go wrong with root keys and their slots.

use axum::http::StatusCode;
use nsl_core::ApiError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error("only the operator of the installation may do this")]
    OperatorOnly,
    #[error("there is no such slot")]
    SlotNotFound,
    #[error("the slot is retired")]
    SlotRetired,
    #[error("the key has a slot already")]
    SlotExists,
    #[error("no other slot opens the root key")]
    LastSlot,
    #[error("the slot is for another key")]
    WrongKey,
    #[error("the key of the slot is not at hand")]
    KeyNotAtHand,
    #[error("the platform gives no such key")]
    NoPlatformKey,
    #[error("a slot of this kind takes no key from outside")]
    KeyNotTaken,
    #[error("the slot is not what was wrapped there")]
    SlotDamaged,
    #[error("the root key is not a superseded one")]
    NotSuperseded,
    #[error("{keys} keys are still under the root key")]
    InUse { keys: i64 },
}

impl RootError {
    pub(super) fn into_api(self) -> ApiError {
        let conflict = |code, detail: &str| ApiError::new(StatusCode::CONFLICT, code, detail);
        match self {
            Self::OperatorOnly => ApiError::forbidden(
                "sgx.operator_only",
                "The root key is the whole installation's: only callers of the tenant `default` may do this.",
            ),
            Self::SlotNotFound => ApiError::not_found(
                "sgx.slot_not_found",
                "There is no slot with this id; `GET /api/v1/sgx/slots` lists them.",
            ),
            Self::SlotRetired => conflict("sgx.slot_retired", "The slot is retired: nothing opens it any more."),
            Self::SlotExists => conflict(
                "sgx.slot_exists",
                "This key opens the root key already; `GET /api/v1/sgx/slots` names its slot by openerId.",
            ),
            Self::LastSlot => conflict(
                "sgx.last_slot",
                "Without this slot nothing would open a root key that is in use, and everything sealed would be lost; add \
                 a slot for another key first.",
            ),
            Self::WrongKey => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sgx.wrong_key_slot",
                "The slot is for another key: compare its openerId.",
            )
            .at("/key", "not the key of this slot"),
            Self::KeyNotAtHand => conflict(
                "sgx.slot_key_not_at_hand",
                "This process does not have the key of the slot; send it as `key`.",
            ),
            Self::NoPlatformKey => conflict(
                "sgx.platform_key_unavailable",
                "The platform gives this process no such key: it runs in simulation mode.",
            ),
            Self::KeyNotTaken => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sgx.slot_key_not_taken",
                "The key of such a slot comes from the platform itself; leave `key` out, or make a slot of kind configured.",
            )
            .at("/key", "only for kind configured"),
            Self::SlotDamaged => ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "sgx.slot_damaged",
                "The slot is not what was wrapped there. A security event was raised: make a new slot for its key while the \
                 process still runs, and find out who changed sgx.root_slots.",
            ),
            Self::NotSuperseded => conflict(
                "sgx.root_not_superseded",
                "Only a root key that another one has followed can be retired; rotate the root key first.",
            ),
            Self::InUse { keys } => ApiError::new(
                StatusCode::CONFLICT,
                "sgx.root_in_use",
                format!("{keys} keys are still under this root key; wait until its rotation is completed."),
            ),
        }
    }
}
