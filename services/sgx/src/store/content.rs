//! The sealed chunks of streamed values. A content may stand behind several versions (a restored or renamed one seals the
//! same content anew), so chunks go only when the last row that names them has gone or was destroyed.

use nsl_core::ids::TenantId;
use uuid::Uuid;

nsl_core::row! {
    pub(crate) struct Chunk { pub sealed: Vec<u8> }
}
nsl_core::row! {
    pub(crate) struct Used { pub used: bool }
}

nsl_core::queries! {
    /// Stores a chunk of a value that is still coming in. Nobody waits for the disk here: the commit of the item's row
    /// does, and makes all that was committed before it durable too.
    pub(crate) fn stage(tenant: TenantId, content: Uuid, number: i32, sealed: &[u8]) -> exec =
        "INSERT INTO sgx.content_chunks (tenant_id, content_id, number, sealed) \
         SELECT $1, $2, $3, $4 FROM pg_catalog.set_config('synchronous_commit', 'off', true) AS quick WHERE quick = 'off'";

    pub(crate) fn chunk(tenant: TenantId, content: Uuid, number: i32) -> opt<Chunk> =
        "SELECT sealed FROM sgx.content_chunks WHERE tenant_id = $1 AND content_id = $2 AND number = $3";

    /// Whether a row still opens this content.
    pub(crate) fn used(tenant: TenantId, content: Uuid) -> one<Used> =
        "SELECT EXISTS (SELECT FROM sgx.sealed_data_items i \
                        WHERE i.tenant_id = $1 AND i.content_id = $2 AND i.destroyed_at IS NULL) \
             OR EXISTS (SELECT FROM sgx.item_versions v \
                        WHERE v.tenant_id = $1 AND v.content_id = $2 AND v.destroyed_at IS NULL) AS used";

    /// Removes the chunks of those contents that no row opens any more: after rows were removed or marked destroyed, in the
    /// same transaction.
    pub(crate) fn release(tenant: TenantId, contents: &[Uuid]) -> exec =
        "DELETE FROM sgx.content_chunks c \
         WHERE c.tenant_id = $1 AND c.content_id = ANY ($2) \
           AND NOT EXISTS (SELECT FROM sgx.sealed_data_items i \
                           WHERE i.tenant_id = $1 AND i.content_id = c.content_id AND i.destroyed_at IS NULL) \
           AND NOT EXISTS (SELECT FROM sgx.item_versions v \
                           WHERE v.tenant_id = $1 AND v.content_id = c.content_id AND v.destroyed_at IS NULL)";

    /// The same for whatever is older than a day: of uploads that broke off with the process, and of rows that were removed
    /// without it. A day is longer than any upload takes.
    pub(crate) fn purge(tenant: TenantId, limit: i64) -> exec =
        "WITH old AS ( \
             SELECT c.tenant_id, c.content_id, c.number FROM sgx.content_chunks c \
             WHERE c.tenant_id = $1 AND c.created_at < now() - interval '1 day' \
               AND NOT EXISTS (SELECT FROM sgx.sealed_data_items i \
                               WHERE i.tenant_id = $1 AND i.content_id = c.content_id AND i.destroyed_at IS NULL) \
               AND NOT EXISTS (SELECT FROM sgx.item_versions v \
                               WHERE v.tenant_id = $1 AND v.content_id = c.content_id AND v.destroyed_at IS NULL) \
             LIMIT $2) \
         DELETE FROM sgx.content_chunks c USING old \
         WHERE c.tenant_id = old.tenant_id AND c.content_id = old.content_id AND c.number = old.number";
}
