//! Background loops. Every process that checks credentials reads the feed of revocations; the one that has the signing
//! keys keeps them in step; what serves all tenants runs where this process has neo_jobs' login.

use std::sync::Arc;
use std::time::Duration;

use nsl_core::context::Base;
use nsl_core::db::Login;
use nsl_core::db::lease::Lease;

use crate::actions::authenticate::TokenAuthenticator;
use crate::actions::outbox::Outbox;
use crate::actions::purge::purge;
use crate::actions::revocations;
use crate::actions::signing_key::Rotation;

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

/// What a process needs that checks credentials.
pub(crate) fn start_checks(base: &Base, authenticator: &Arc<TokenAuthenticator>) {
    let feed = Arc::clone(authenticator.revocations());
    base.jobs.every(REVOCATIONS, revocations::EVERY, move || {
        let feed = Arc::clone(&feed);
        async move { Ok(feed.read().await?) }
    });
    let authenticator = Arc::clone(authenticator);
    base.jobs.every(KEY_USES, KEY_USES_EVERY, move || {
        let authenticator = Arc::clone(&authenticator);
        async move { Ok(authenticator.api_keys().flush().await?) }
    });
}

/// Makes and retires signing keys.
pub(crate) fn start_rotation(base: &Base, rotation: &Arc<Rotation>) {
    let rotation = Arc::clone(rotation);
    base.jobs.every(ROTATION, ROTATION_EVERY, move || {
        let rotation = Arc::clone(&rotation);
        async move { Ok(rotation.step().await?) }
    });
}

/// What is done for all tenants, in one process at a time.
pub(crate) fn start_background(base: &Base, outbox: Option<&Arc<Outbox>>) {
    if let Some(outbox) = outbox.filter(|outbox| outbox.has_server()) {
        let lease = Lease::new(&base.db, Login::Jobs, MAIL, LEASE);
        let outbox = Arc::clone(outbox);
        base.jobs.every_single(lease, MAIL, MAIL_EVERY, move || {
            let outbox = Arc::clone(&outbox);
            async move { Ok(outbox.send().await?) }
        });
    }
    let lease = Lease::new(&base.db, Login::Jobs, PURGE, LEASE);
    let base = base.clone();
    base.jobs.clone().every_single(lease, PURGE, PURGE_EVERY, move || {
        let base = base.clone();
        async move { Ok(purge(&base).await?) }
    });
}
