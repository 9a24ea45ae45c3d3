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

/// A rotation's step takes about a second, and its statement as long as it takes to read each row's data key.
const ROTATE_EVERY: Duration = Duration::from_millis(250);
const ROTATION_LEASE: Duration = Duration::from_secs(30);
/// A process learns this late at the most, without a refused put, that another made a key the active one.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn start(base: &Base, sgx: &Arc<Sgx>) {
    purge(base, sgx);
    rotate(base, sgx);
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
