//! The feed of revocations, which every process reads whole.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use uuid::Uuid;

nsl_core::row! {
    /// A session or an API key that has ended.
    pub(crate) struct Ended {
        pub(crate) subject_id: Uuid,
    }
}

nsl_core::queries! {
    /// Everything that a credential may still name, of all tenants.
    pub(crate) fn living(now: Timestamp) -> many<Ended> =
        "SELECT subject_id FROM auth.revocations WHERE expires_at > $1";

    /// Deletes what no credential names any more, some at a time.
    pub(crate) fn purge(tenant: TenantId, before: Timestamp, most: i64) -> exec =
        "DELETE FROM auth.revocations WHERE tenant_id = $1 AND subject_id IN ( \
             SELECT subject_id FROM auth.revocations \
             WHERE tenant_id = $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)";
}
