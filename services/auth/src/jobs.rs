//! Background loops. Every process reads the feed of revocations and keeps its signing keys in step; the purge runs where
//! this process has neo_jobs' login.

use std::sync::Arc;
use std::time::Duration;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::db::lease::Lease;

use crate::actions::State;
use crate::actions::purge::purge;
use crate::actions::revocations;

const REVOCATIONS: &str = "auth.revocations";
const ROTATION: &str = "auth.signing-keys";
/// Much less than a key is published before its first use.
const ROTATION_EVERY: Duration = Duration::from_mins(1);
const KEY_USES: &str = "auth.api-key-uses";
const KEY_USES_EVERY: Duration = Duration::from_secs(10);
const MAIL: &str = "auth.mail";
const MAIL_EVERY: Duration = Duration::from_secs(1);
const PURGE: &str = "auth.purge";
const PURGE_EVERY: Duration = Duration::from_hours(1);
/// A process that died holds up the purge no longer than that.
const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn start(base: &Base, state: &Arc<State>) {
    let feed = Arc::clone(state.authenticator.revocations());
    base.jobs.every(REVOCATIONS, revocations::EVERY, move || {
        let feed = Arc::clone(&feed);
        async move { Ok(feed.read().await?) }
    });
    if let Some(rotation) = &state.rotation {
        let rotation = Arc::clone(rotation);
        base.jobs.every(ROTATION, ROTATION_EVERY, move || {
            let rotation = Arc::clone(&rotation);
            async move { Ok(rotation.step().await?) }
        });
    }
    let keys = Arc::clone(state);
    base.jobs.every(KEY_USES, KEY_USES_EVERY, move || {
        let state = Arc::clone(&keys);
        async move { Ok(state.authenticator.api_keys().flush().await?) }
    });
    if !base.db.has(Login::Jobs) {
        return;
    }
    if state.sends_mail() {
        let lease = Lease::new(&base.db, Login::Jobs, MAIL, LEASE);
        let state = Arc::clone(state);
        base.jobs.every_single(lease, MAIL, MAIL_EVERY, move || {
            let state = Arc::clone(&state);
            async move { Ok(state.send_mail().await?) }
        });
    }
    let lease = Lease::new(&base.db, Login::Jobs, PURGE, LEASE);
    let base = base.clone();
    base.jobs.clone().every_single(lease, PURGE, PURGE_EVERY, move || {
        let base = base.clone();
        async move { Ok(purge(&base).await?) }
    });
}
