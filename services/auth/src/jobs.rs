//! Background loops. They run where this process has neo_jobs' login.

use std::time::Duration;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::db::lease::Lease;

use crate::actions::purge::purge;

const PURGE: &str = "auth.purge";
const PURGE_EVERY: Duration = Duration::from_hours(1);
/// A process that died holds up the purge no longer than that.
const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn start(base: &Base) {
    if !base.db.has(Login::Jobs) {
        return;
    }
    let lease = Lease::new(&base.db, Login::Jobs, PURGE, LEASE);
    let base = base.clone();
    base.jobs.clone().every_single(lease, PURGE, PURGE_EVERY, move || {
        let base = base.clone();
        async move { Ok(purge(&base).await?) }
    });
}
