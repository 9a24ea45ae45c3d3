//! What can go wrong with the database, sorted by what the caller can do about it.

use tokio_postgres::error::SqlState;

use crate::error::ApiError;

/// A failure of the database or of what we asked it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// No connection could be had, or it broke before anything was decided.
    #[error("the database is not reachable: {0}")]
    Unavailable(String),
    /// A COMMIT was sent, its answer was lost, and the database cannot tell any more what became of it.
    #[error("the database did not say whether the change was committed")]
    OutcomeUnknown,
    /// The queue of a group commit is full.
    #[error("the write queue is full")]
    Busy,
    /// A named constraint refused the row.
    #[error("constraint {constraint} refused the row")]
    Constraint { constraint: String },
    /// Two transactions met; the whole action may be tried again.
    #[error("the transaction met another one: {0}")]
    Conflict(String),
    /// The server has no room or no right to write.
    #[error("the database cannot write: {0}")]
    NoRoom(String),
    /// A statement that always answers a row did not.
    #[error("statement {0} answered no row")]
    NoRow(&'static str),
    /// A statement, a type or a right is wrong: a defect of ours, or data that no check caught.
    #[error("the database refused the statement: {text}")]
    Refused { state: String, text: String },
}

impl DbError {
    /// True where one row of a batch is at fault and the others may pass without it.
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::Constraint { .. } => true,
            Self::Refused { state, .. } => {
                ["22", "23", "42501", "54000", "P0001"].iter().any(|class| state.starts_with(class))
            }
            _ => false,
        }
    }

    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint } => Some(constraint),
            _ => None,
        }
    }
}

/// Whether the answer to a COMMIT tells that it did not take effect. A lost connection does not, nor does the end of the
/// session (57P01): it can come after the commit and before its answer.
pub(super) fn is_settled(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| !db.code().code().starts_with("57P"))
}

/// The message with its causes: the driver and the pool hide the reason in `source()`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return if error.is_closed()
                || std::error::Error::source(&error)
                    .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
            {
                Self::Unavailable(chain(&error))
            } else {
                Self::Refused { state: "driver".to_owned(), text: chain(&error) }
            };
        };
        let code = db.code().code();
        match db.code() {
            // 57P01..57P05: shutdown, crash, cannot connect now; 53300: too many connections.
            _ if code.starts_with("57P")
                || code.starts_with("08")
                || *db.code() == SqlState::TOO_MANY_CONNECTIONS =>
            {
                Self::Unavailable(db.message().to_owned())
            }
            // A login whose role is gone or whose password changed cannot be served either.
            _ if code.starts_with("28") => Self::Unavailable(db.message().to_owned()),
            _ if code.starts_with("53")
                || *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION
                || code == "58030" =>
            {
                Self::NoRoom(db.message().to_owned())
            }
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE => Self::Conflict(db.message().to_owned()),
            _ if code.starts_with("23") && db.constraint().is_some() => {
                Self::Constraint { constraint: db.constraint().unwrap_or_default().to_owned() }
            }
            _ => Self::Refused { state: code.to_owned(), text: db.message().to_owned() },
        }
    }
}

impl From<deadpool_postgres::PoolError> for DbError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Self::from(error),
            deadpool_postgres::PoolError::Timeout(_) => {
                Self::Unavailable("no connection came free in time".to_owned())
            }
            other => Self::Unavailable(chain(&other)),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        let answer = match &error {
            DbError::Unavailable(_) => Self::unavailable(
                "core.database_unavailable",
                "The database is not reachable at the moment; nothing was changed. Try again shortly.",
            ),
            DbError::OutcomeUnknown => Self::unavailable(
                "core.outcome_unknown",
                "The connection to the database broke while the change was committed, and it could not be found out \
                 whether it took effect. Read the value back before you try again.",
            ),
            DbError::Busy => Self::unavailable(
                "core.busy",
                "More writes are queued than the service takes at once; nothing was changed. Try again shortly.",
            ),
            DbError::Conflict(_) => Self::unavailable(
                "core.conflict",
                "The change met another one and was rolled back; nothing was changed. Try again.",
            ),
            DbError::NoRoom(_) => Self::unavailable(
                "core.database_full",
                "The database cannot write (its disk is full or read-only); nothing was changed. \
                 The operator has to make room.",
            ),
            DbError::Constraint { .. } | DbError::NoRow(_) | DbError::Refused { .. } => {
                return Self::internal(error);
            }
        };
        answer.because(error)
    }
}
