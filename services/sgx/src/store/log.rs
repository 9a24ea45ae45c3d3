//! The event of a change of one item. The row's revision is the event's version, so that the row's own lock takes the place
//! of a head row in `eventsourcing.streams`.

use nsl_core::ids::TenantId;
use serde_json::Value;
use uuid::Uuid;

nsl_core::queries! {
    pub(crate) fn append(
        id: Uuid, tenant: TenantId, stream: &str, revision: i64, kind: &str, data: &Value, actor: &str,
        correlation_id: Option<&str>, causation_id: Option<&str>,
    ) -> exec =
        "INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, type_version, data, metadata, actor, \
             correlation_id, causation_id) \
         VALUES ($1, $2, $3, $4, $5, 1, $6, '{}', $7, $8, $9)";
}
