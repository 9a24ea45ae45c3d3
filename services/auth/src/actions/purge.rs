//! Deletion of what has expired: sessions, refresh tokens, old attempts to log in. It runs as neo_jobs, which may read
//! these tables over all tenants and delete in the tenants that a transaction names.

use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::context::Base;
use nsl_core::db::{DbError, Login};
use nsl_core::ids::TenantId;

use crate::store::{attempts, credentials, origins, outbox, revocations, sessions, wallets};

/// Attempts are kept so long for whoever looks into an attack.
const KEEP_ATTEMPTS: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Longer than the longest lockout, and than a count is remembered.
const KEEP_FAILURES: SignedDuration = SignedDuration::from_hours(2 * 24);
/// Rows of one transaction: few enough that nobody waits for their locks.
const BATCH: i64 = 1000;

/// What a transaction deletes.
#[derive(Clone, Copy)]
enum Expired {
    Sessions,
    RefreshTokens,
    OneTimeTokens,
    Mail,
    LoginOrigins,
    Revocations,
    Attempts,
    WalletNonces,
}

/// One run over everything.
pub(crate) async fn purge(base: &Base) -> Result<(), DbError> {
    let now = base.clock.now();
    for row in sessions::tenants_to_purge(&base.db.global(Login::Jobs), now).await? {
        all(base, row.tenant_id, Expired::Sessions, now).await?;
        all(base, row.tenant_id, Expired::RefreshTokens, now).await?;
        all(base, row.tenant_id, Expired::Revocations, now).await?;
    }
    all(base, TenantId::DEFAULT, Expired::WalletNonces, now).await?;
    for what in [Expired::OneTimeTokens, Expired::Mail, Expired::LoginOrigins] {
        all(base, TenantId::DEFAULT, what, now).await?;
    }
    all(base, TenantId::DEFAULT, Expired::Attempts, now - KEEP_ATTEMPTS).await
}

/// Deletes in transactions of one batch each, until nothing is left.
async fn all(base: &Base, tenant: TenantId, what: Expired, before: Timestamp) -> Result<(), DbError> {
    let caller = Caller::system(tenant, "auth.purge");
    loop {
        let work = base.db.begin(Login::Jobs, &caller).await?;
        let deleted = match what {
            Expired::Sessions => sessions::purge(&work, tenant, before, BATCH).await?,
            Expired::RefreshTokens => sessions::purge_tokens(&work, tenant, before, BATCH).await?,
            Expired::Revocations => revocations::purge(&work, tenant, before, BATCH).await?,
            Expired::OneTimeTokens => credentials::purge_tokens(&work, before, BATCH).await?,
            Expired::Mail => outbox::purge(&work, before, BATCH).await?,
            Expired::LoginOrigins => {
                origins::purge(&work, before - KEEP_FAILURES, before - KEEP_ATTEMPTS, BATCH).await?
            }
            Expired::Attempts => attempts::purge(&work, before, BATCH).await?,
            Expired::WalletNonces => wallets::purge_nonces(&work, before, BATCH).await?,
        };
        work.commit().await?;
        if deleted < BATCH.unsigned_abs() {
            return Ok(());
        }
    }
}
