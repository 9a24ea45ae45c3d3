//! Background loops; each step calls an action.

use std::sync::Arc;
use std::time::Duration;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::db::lease::Lease;
use nsl_core::jobs::JobError;

use crate::actions::Sgx;

/// The legacy system's interval.
const PURGE_EVERY: Duration = Duration::from_mins(5);
/// What it looks for is a day old.
const PURGE_CONTENT_EVERY: Duration = Duration::from_hours(1);

/// A rotation's step takes about a second, and its statement as long as it takes to read each row's data key.
const ROTATE_EVERY: Duration = Duration::from_millis(250);
const ROTATION_LEASE: Duration = Duration::from_secs(30);
/// A process learns this late at the most, without a refused put, that another made a key the active one.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

/// A scan's step takes about a second.
const SCAN_EVERY: Duration = Duration::from_millis(500);
const SCAN_LEASE: Duration = Duration::from_secs(30);
/// How often it is looked whether a tenant's scan is due.
const SCHEDULE_EVERY: Duration = Duration::from_mins(1);

pub(crate) fn start(base: &Base, sgx: &Arc<Sgx>) {
    purge(base, sgx);
    purge_content(base, sgx);
    rotate(base, sgx);
    scan(base, sgx);
}

fn scan(base: &Base, sgx: &Arc<Sgx>) {
    let lease = Lease::new(&base.db, Login::Enclave, "sgx.scan", SCAN_LEASE);
    let scanning = Arc::clone(sgx);
    base.jobs.every_single(lease, "sgx.scan", SCAN_EVERY, move || {
        let sgx = Arc::clone(&scanning);
        async move { sgx.advance_scans().await.map_err(|error| -> JobError { Box::new(error) }) }
    });
    if !sgx.scans_by_itself() {
        return;
    }
    let lease = Lease::new(&base.db, Login::Enclave, "sgx.scan-schedule", SCHEDULE_EVERY * 2);
    let sgx = Arc::clone(sgx);
    base.jobs.every_single(lease, "sgx.scan-schedule", SCHEDULE_EVERY, move || {
        let sgx = Arc::clone(&sgx);
        async move { sgx.schedule_scans().await.map_err(|error| -> JobError { Box::new(error) }) }
    });
}

fn rotate(base: &Base, sgx: &Arc<Sgx>) {
    let lease = Lease::new(&base.db, Login::Enclave, "sgx.rotation", ROTATION_LEASE);
    let rotating = Arc::clone(sgx);
    base.jobs.every_single(lease, "sgx.rotation", ROTATE_EVERY, move || {
        let sgx = Arc::clone(&rotating);
        async move { sgx.advance_rotations().await.map_err(|error| -> JobError { Box::new(error) }) }
    });
    let sgx = Arc::clone(sgx);
    base.jobs.every("sgx.keys", REFRESH_EVERY, move || {
        let sgx = Arc::clone(&sgx);
        async move { sgx.refresh_keys().await.map_err(|error| -> JobError { Box::new(error) }) }
    });
}

fn purge(base: &Base, sgx: &Arc<Sgx>) {
    let lease = Lease::new(&base.db, Login::Enclave, "sgx.purge", PURGE_EVERY * 2);
    let sgx = Arc::clone(sgx);
    base.jobs.every_single(lease, "sgx.purge", PURGE_EVERY, move || {
        let sgx = Arc::clone(&sgx);
        async move {
            sgx.purge_attestations().await.map_err(|error| -> JobError { Box::new(error) })?;
            let purged = sgx.purge().await.map_err(|error| -> JobError { Box::new(error) })?;
            if purged > 0 {
                tracing::info!(purged, "purged items past their retention");
            }
            Ok(())
        }
    });
}

fn purge_content(base: &Base, sgx: &Arc<Sgx>) {
    let lease = Lease::new(&base.db, Login::Enclave, "sgx.purge_content", PURGE_CONTENT_EVERY * 2);
    let sgx = Arc::clone(sgx);
    base.jobs.every_single(lease, "sgx.purge_content", PURGE_CONTENT_EVERY, move || {
        let sgx = Arc::clone(&sgx);
        async move {
            let purged = sgx.purge_content().await.map_err(|error| -> JobError { Box::new(error) })?;
            if purged > 0 {
                tracing::info!(purged, "purged chunks that no item needs");
            }
            Ok(())
        }
    });
}
