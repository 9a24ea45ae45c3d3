//! What can go wrong, and its one mapping to an API error.

use nsl_core::ApiError;
use nsl_core::db::DbError;

use crate::domain::FilterError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitoringError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<MonitoringError> for ApiError {
    fn from(error: MonitoringError) -> Self {
        match error {
            MonitoringError::Filter(FilterError::EmptySpan) => Self::bad_request(
                "monitoring.empty_time_range",
                "No time lies between from and to; from has to be before to.",
            )
            .at("from", "not before to"),
            MonitoringError::Filter(FilterError::Nul(name)) => Self::bad_request(
                "monitoring.invalid_filter",
                format!(
                    "The filter {name} holds the character U+0000, which nothing recorded does; leave it out."
                ),
            )
            .at(name, "holds U+0000"),
            MonitoringError::Db(error) => error.into(),
        }
    }
}
