//! When a backlog or a missing partition is worth a word. Pure: what was found comes in, a sentence comes out.

/// More rows than this waiting for a position: the sequencer does not keep up.
pub(crate) const MANY: i64 = 10_000;
/// A row that waits longer than this: the sequencer, or an old transaction, stands still.
const LATE_SECONDS: f64 = 60.0;

/// The events that have no position yet, as one moment showed them.
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
                "more than {MANY} events wait for their position: the sequencer does not keep up; \
                 see nsl_sequencer_events_total and the log of the process with the role jobs"
            ));
        }
        (self.oldest_seconds > LATE_SECONDS).then(|| {
            format!(
                "an event has waited {:.0} s for its position: a transaction has been open since before it \
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
            "eventsourcing.events has no partition for {}, and such rows go to the default one: \
             run a process with the role jobs, which makes it",
            months.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
