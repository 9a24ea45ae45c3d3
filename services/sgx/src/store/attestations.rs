//! Verdicts on quotes, as a read that needs one looks them up.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use uuid::Uuid;

nsl_core::row! {
    pub(crate) struct Fresh { pub isv_svn: Option<i32> }
}

nsl_core::queries! {
    /// A verdict of the tenant that accepted its quote and still counts.
    pub(crate) fn fresh(tenant: TenantId, id: Uuid, now: Timestamp) -> opt<Fresh> =
        "SELECT CASE WHEN pg_catalog.jsonb_typeof(report->'isvSvn') = 'number' THEN (report->>'isvSvn')::numeric::int END \
                AS isv_svn \
         FROM sgx.attestations WHERE tenant_id = $1 AND attestation_id = $2 AND accepted AND expires_at > $3";
}
