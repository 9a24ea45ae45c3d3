//! Verdicts on quotes.

use jiff::Timestamp;
use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

nsl_core::row! {
    /// A verdict as it is stored.
    pub(crate) struct Verdict {
        pub attestation_id: Uuid,
        pub tee: String,
        pub accepted: bool,
        pub tcb_status: Option<String>,
        pub report: Value,
        pub reasons: Vec<String>,
        pub quote_sha256: Vec<u8>,
        pub report_data: Option<Vec<u8>>,
        pub verified_by: String,
        pub verified_at: Timestamp,
        pub expires_at: Timestamp,
    }
}

nsl_core::queries! {
    pub(crate) fn add(
        tenant: TenantId, id: Uuid, tee: &str, accepted: bool, tcb_status: Option<&str>, report: &Value,
        reasons: &[String], quote_sha256: &[u8], report_data: &[u8], verified_by: &str, now: Timestamp,
        expires_at: Timestamp,
    ) -> one<Verdict> =
        "INSERT INTO sgx.attestations (tenant_id, attestation_id, tee, accepted, tcb_status, report, reasons, \
             quote_sha256, report_data, verified_by, verified_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         RETURNING attestation_id, tee, accepted, tcb_status, report, reasons, quote_sha256, report_data, verified_by, \
                   verified_at, expires_at";

    pub(crate) fn attestation(tenant: TenantId, id: Uuid) -> opt<Verdict> =
        "SELECT attestation_id, tee, accepted, tcb_status, report, reasons, quote_sha256, report_data, verified_by, \
                verified_at, expires_at \
         FROM sgx.attestations WHERE tenant_id = $1 AND attestation_id = $2";

    /// Removes verdicts that expired before; some at a time.
    pub(crate) fn purge(tenant: TenantId, before: Timestamp, most: i64) -> exec =
        "DELETE FROM sgx.attestations WHERE (tenant_id, attestation_id) IN ( \
             SELECT tenant_id, attestation_id FROM sgx.attestations \
             WHERE tenant_id = $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)";
}
