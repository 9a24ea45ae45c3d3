//! What can go wrong with scans.

use axum::http::StatusCode;
use nsl_core::ApiError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("a scan is running")]
    Running,
    #[error("there is no such scan")]
    NotFound,
}

impl ScanError {
    pub(super) fn into_api(self) -> ApiError {
        match self {
            Self::Running => ApiError::new(
                StatusCode::CONFLICT,
                "sgx.scan_running",
                "A scan is running; wait for its end, `GET /api/v1/sgx/scans` tells how far it is.",
            ),
            Self::NotFound => ApiError::not_found(
                "sgx.scan_not_found",
                "There is no such scan in this tenant; `GET /api/v1/sgx/scans` lists what there is.",
            ),
        }
    }
}
