//! The loop that makes partitions. The sequencer is a loop of `core::db`.

use std::time::Duration;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::db::lease::Lease;
use nsl_core::jobs::JobError;

use crate::store;

/// Daily would do, with three months in hand. Hourly, so that a run that gave up behind a long reader (55P03) is
/// soon tried again.
const PERIOD: Duration = Duration::from_hours(1);
const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn start(base: &Base) {
    let lease = Lease::new(&base.db, Login::Jobs, "eventsourcing.partitions", LEASE);
    let db = base.db.clone();
    base.jobs.every_single(lease, "eventsourcing.partitions", PERIOD, move || {
        let db = db.clone();
        async move {
            let made = store::ensure_partitions(&db.global(Login::Jobs)).await?.made;
            if made > 0 {
                tracing::info!(made, "partitions of eventsourcing.events were made");
            }
            Ok::<(), JobError>(())
        }
    });
}
