//! What the two lists can be filtered by, and when a backlog or a missing partition is worth a word.
//! Pure: no database, no clock.

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = AuditLogResult)]
pub(crate) enum AuditResult {
    Success,
    Failure,
    Denied,
}

impl AuditResult {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Denied => "Denied",
        }
    }
}

/// How bad a security event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = SecurityEventSeverity)]
pub(crate) enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Info,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
            Self::Info => "Info",
        }
    }
}

/// What came of a security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = SecurityEventStatus)]
pub(crate) enum SecurityEventStatus {
    Open,
    Investigating,
    Resolved,
    FalsePositive,
}

impl SecurityEventStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Investigating => "Investigating",
            Self::Resolved => "Resolved",
            Self::FalsePositive => "FalsePositive",
        }
    }
}

/// Why a filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("the range of time is empty")]
    EmptySpan,
    #[error("{0} holds the character U+0000")]
    Nul(&'static str),
}

/// A range of time: from a moment, up to and without another. Only [`Span::new`] makes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Span {
    pub(crate) fn new(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Self, FilterError> {
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(FilterError::EmptySpan);
        }
        // No UUIDv7 is older than the epoch, and core.uuid_at knows no time before it.
        let known = |time: Timestamp| time.max(Timestamp::UNIX_EPOCH);
        Ok(Self { from: from.map(known), to: to.map(known) })
    }

    pub(crate) fn from(&self) -> Option<Timestamp> {
        self.from
    }

    pub(crate) fn to(&self) -> Option<Timestamp> {
        self.to
    }
}

/// Which audit rows are asked for; `None` is all.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    pub(crate) service: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) result: Option<AuditResult>,
    pub(crate) resource_id: Option<String>,
    pub(crate) span: Span,
}

impl AuditFilter {
    /// PostgreSQL's text holds no U+0000 and refuses the whole statement.
    pub(crate) fn validate(&self) -> Result<(), FilterError> {
        let texts = [("service", &self.service), ("action", &self.action), ("resourceId", &self.resource_id)];
        match texts.into_iter().find(|(_, text)| text.as_ref().is_some_and(|text| text.contains('\0'))) {
            Some((name, _)) => Err(FilterError::Nul(name)),
            None => Ok(()),
        }
    }
}

/// Which security events are asked for; `None` is all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SecurityEventFilter {
    pub(crate) severity: Option<Severity>,
    pub(crate) status: Option<SecurityEventStatus>,
    pub(crate) span: Span,
}

/// The service that a kind of event (`<service>.<what>`) comes from.
pub(crate) fn source(kind: &str) -> &str {
    kind.split_once('.').map_or(kind, |(service, _)| service)
}

/// More rows than this waiting for a leaf: the sequencer does not keep up.
pub(crate) const MANY: i64 = 10_000;
/// A row that waits longer than this: the sequencer, or an old transaction, stands still.
const LATE_SECONDS: f64 = 60.0;

/// The audit rows that have no leaf yet, as one moment showed them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// Whether a sequencer has worked in this cluster; a restore into another one starts it anew.
    pub(crate) adopted: bool,
    /// Counted up to one more than [`MANY`].
    pub(crate) waiting: i64,
    pub(crate) oldest_seconds: f64,
}

impl Backlog {
    /// What the operator should know, if anything.
    pub(crate) fn complaint(self) -> Option<String> {
        if !self.adopted {
            return Some(
                "no sequencer has worked in this database cluster yet: run a process with the role jobs"
                    .to_owned(),
            );
        }
        if self.waiting > MANY {
            return Some(format!(
                "more than {MANY} audit rows wait for their leaf: the sequencer does not keep up; \
                 see nsl_sequencer_audits_total and the log of the process with the role jobs"
            ));
        }
        (self.oldest_seconds > LATE_SECONDS).then(|| {
            format!(
                "an audit row has waited {:.0} s for its leaf: a transaction has been open since before it \
                 (pg_stat_activity names it), or no process with the role jobs runs",
                self.oldest_seconds
            )
        })
    }
}

/// What missing partitions mean.
pub(crate) fn missing_partitions(months: &[String]) -> Option<String> {
    (!months.is_empty()).then(|| {
        format!(
            "monitoring.audit_logs has no partition for {}, and such rows go to the default one: \
             run a process with the role jobs, which makes it",
            months.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_before_it_ends_and_not_before_the_epoch() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let (early, late) = (at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"));
        assert_eq!(Span::new(late, early), Err(FilterError::EmptySpan));
        assert_eq!(Span::new(early, early), Err(FilterError::EmptySpan));
        let span = Span::new(early, late).unwrap();
        assert_eq!((span.from(), span.to()), (early, late));
        let old = Span::new(at("1960-01-01T00:00:00Z"), at("1961-01-01T00:00:00Z")).unwrap();
        assert_eq!((old.from(), old.to()), (Some(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn a_filter_with_nul_is_refused_by_name() {
        let filter = AuditFilter { resource_id: Some("a\0b".to_owned()), ..AuditFilter::default() };
        assert_eq!(filter.validate(), Err(FilterError::Nul("resourceId")));
        assert_eq!(AuditFilter::default().validate(), Ok(()));
    }

    #[test]
    fn the_source_is_the_kinds_service() {
        assert_eq!(source("sgx.integrity_violation"), "sgx");
        assert_eq!(source("sgx"), "sgx");
    }

    #[test]
    fn a_backlog_is_told_when_it_is_large_or_old() {
        let backlog = |waiting, oldest_seconds| Backlog { adopted: true, waiting, oldest_seconds };
        assert_eq!(backlog(0, 0.0).complaint(), None);
        assert_eq!(backlog(MANY, LATE_SECONDS).complaint(), None);
        assert!(backlog(MANY + 1, 0.0).complaint().unwrap().contains("10000"));
        assert!(backlog(1, 61.0).complaint().unwrap().contains("61 s"));
        assert!(Backlog { adopted: false, waiting: 0, oldest_seconds: 0.0 }.complaint().is_some());
    }

    #[test]
    fn missing_months_are_named() {
        assert_eq!(missing_partitions(&[]), None);
        let text = missing_partitions(&["2026-11".to_owned(), "2026-12".to_owned()]).unwrap();
        assert!(text.contains("2026-11 and 2026-12"));
    }
}
