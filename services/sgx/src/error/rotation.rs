//! What can go wrong with rotations.

use axum::http::StatusCode;
use nsl_core::ApiError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("a rotation is running")]
    Running,
    #[error("there is no such rotation")]
    NotFound,
    #[error("the rotation has no statement")]
    NoStatement,
    #[error("a rotation of the root key re-seals no values")]
    ResealOfRoot,
}

impl RotationError {
    pub(super) fn into_api(self) -> ApiError {
        match self {
            Self::Running => ApiError::new(
                StatusCode::CONFLICT,
                "sgx.rotation_running",
                "A rotation is running; wait for its end, `GET /api/v1/sgx/rotations` tells how far it is.",
            ),
            Self::NotFound => ApiError::not_found(
                "sgx.rotation_not_found",
                "There is no such rotation in this tenant; `GET /api/v1/sgx/rotations` lists what there is.",
            ),
            Self::NoStatement => ApiError::new(
                StatusCode::CONFLICT,
                "sgx.rotation_not_completed",
                "The statement is written when the rotation is completed; `GET /api/v1/sgx/rotations/{id}` tells its state.",
            ),
            Self::ResealOfRoot => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sgx.reseal_of_root",
                "Values are re-sealed tenant by tenant: give `reseal` with the scope `tenant`.",
            )
            .at("/reseal", "not with the scope root"),
        }
    }
}
