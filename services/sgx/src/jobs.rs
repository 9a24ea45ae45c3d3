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

pub(crate) fn start(base: &Base, sgx: &Arc<Sgx>) {
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
