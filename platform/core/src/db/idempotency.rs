//! First answers to requests that carry an Idempotency-Key (`core.idempotency_keys`). The claim of the key, the change
//! and the answer are one transaction: a second request with the key waits for the first one's end, then sees its
//! answer, or, where the first one was rolled back, is the first itself.

use std::time::Duration;

use super::lease::Lease;
use super::sql::Conn;
use super::{Db, DbError, Login, tenants};
use crate::ids::TenantId;
use crate::jobs::{JobError, Jobs};

const PURGE_EVERY: Duration = Duration::from_hours(1);
const LEASE: Duration = Duration::from_mins(1);

crate::row! {
    struct Claimed {
        #[expect(dead_code, reason = "that there is a row is the answer")]
        route: String,
    }
}
crate::row! {
    /// What a key was used for before.
    pub struct Before {
        pub route: String, pub request_hash: Vec<u8>, pub status: Option<i32>, pub body: Option<Vec<u8>>, pub secret: bool,
        pub resource_id: Option<String>,
    }
}

crate::queries! {
    /// A key whose answer has expired may be used again.
    fn claim(tenant: TenantId, principal: &str, key: &str, route: &str, request_hash: &[u8]) -> opt<Claimed> =
        "INSERT INTO core.idempotency_keys AS k (tenant_id, principal, key, route, request_hash, expires_at) \
         VALUES ($1, $2, $3, $4, $5, now() + interval '24 hours') \
         ON CONFLICT (tenant_id, principal, key) DO UPDATE SET route = excluded.route, \
             request_hash = excluded.request_hash, status = NULL, body = NULL, secret = false, resource_id = NULL, \
             created_at = now(), expires_at = excluded.expires_at \
         WHERE k.expires_at < now() \
         RETURNING route";

    fn before(tenant: TenantId, principal: &str, key: &str) -> one<Before> =
        "SELECT route, request_hash, status, body, secret, resource_id FROM core.idempotency_keys \
         WHERE tenant_id = $1 AND principal = $2 AND key = $3";

    fn keep(
        tenant: TenantId, principal: &str, key: &str, status: i32, body: Option<&[u8]>, secret: bool,
        resource_id: Option<&str>,
    ) -> exec =
        "UPDATE core.idempotency_keys SET status = $4, body = $5, secret = $6, resource_id = $7 \
         WHERE tenant_id = $1 AND principal = $2 AND key = $3";

    /// Keys in sight that may be used again.
    fn purge() -> many<Claimed> = "DELETE FROM core.idempotency_keys WHERE expires_at < now() RETURNING route";
}

/// A key of one principal.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub tenant: TenantId,
    pub principal: &'a str,
    pub key: &'a str,
}

impl Key<'_> {
    /// Claims the key in this transaction; what it was used for, if it was.
    pub async fn claim(
        &self,
        c: &impl Conn,
        route: &str,
        request_hash: &[u8],
    ) -> Result<Option<Before>, DbError> {
        if claim(c, self.tenant, self.principal, self.key, route, request_hash).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(before(c, self.tenant, self.principal, self.key).await?))
    }

    /// Keeps the answer; one that carries a secret is not kept, only the id of what it was about.
    pub async fn keep(
        &self,
        c: &impl Conn,
        status: u16,
        body: Option<&[u8]>,
        resource_id: Option<&str>,
    ) -> Result<(), DbError> {
        let secret = body.is_none();
        keep(c, self.tenant, self.principal, self.key, i32::from(status), body, secret, resource_id).await?;
        Ok(())
    }
}

/// Starts the purge of answers that have expired, as a job of whoever holds its lease.
pub fn start(jobs: &Jobs, db: &Db) {
    let lease = Lease::new(db, Login::Jobs, "core.idempotency", LEASE);
    let db = db.clone();
    jobs.every_single(lease, "core.idempotency", PURGE_EVERY, move || {
        let db = db.clone();
        async move {
            let tenants: Vec<TenantId> =
                tenants::all(&db.global(Login::Jobs)).await?.into_iter().map(|tenant| tenant.id).collect();
            let purged = purge(&db.read_many(Login::Jobs, &tenants)).await?.len();
            tracing::debug!(purged, "purged answers of idempotency keys");
            Ok::<(), JobError>(())
        }
    });
}
