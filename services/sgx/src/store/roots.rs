//! The root keys, the slots that hold them, and the keys for other services' secrets. They belong to no tenant.

use jiff::Timestamp;
use uuid::Uuid;

nsl_core::row! {
    /// A root key by its public id.
    pub(crate) struct Root { pub root_key_id: Vec<u8>, pub state: String }
}
nsl_core::row! {
    /// A root key wrapped under one key that may open it.
    pub(crate) struct RootSlot {
        pub slot_id: Uuid,
        pub root_key_id: Vec<u8>,
        pub kind: String,
        pub opener_id: Vec<u8>,
        pub wrapped_root: Option<Vec<u8>>,
        pub label: Option<String>,
        pub state: String,
        pub created_at: Timestamp,
        pub tested_at: Option<Timestamp>,
        pub retired_at: Option<Timestamp>,
    }
}
nsl_core::row! {
    /// A key for other services' secrets, wrapped under a root key.
    pub(crate) struct WrappedSecretKey {
        pub secret_key_id: Vec<u8>,
        pub wrapped_key: Vec<u8>,
        pub root_key_id: Vec<u8>,
        pub is_active: bool,
    }
}
nsl_core::row! {
    /// How much is still under a root key.
    pub(crate) struct Under { pub sealing_keys: i64, pub secret_keys: i64 }
}

nsl_core::queries! {
    pub(crate) fn roots() -> many<Root> = "SELECT root_key_id, state FROM sgx.root_keys ORDER BY created_at, root_key_id";

    /// Holds every root key: whoever changes roots or slots goes one at a time, and no key is made under them meanwhile.
    pub(crate) fn lock_roots() -> many<Root> =
        "SELECT root_key_id, state FROM sgx.root_keys ORDER BY root_key_id FOR UPDATE";

    /// Waits for a process that makes one at the same time; no row if that one won.
    pub(crate) fn add_root(root_key_id: &[u8]) -> opt<Root> =
        "INSERT INTO sgx.root_keys (root_key_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING root_key_id, state";

    pub(crate) fn supersede_root(root_key_id: &[u8]) -> exec =
        "UPDATE sgx.root_keys SET state = 'superseded' WHERE root_key_id = $1 AND state = 'active'";

    pub(crate) fn retire_root(root_key_id: &[u8]) -> exec =
        "UPDATE sgx.root_keys SET state = 'retired', retired_at = now() \
         WHERE root_key_id = $1 AND state = 'superseded'";

    /// What names a root key among the tenants in sight, retired sealing keys too: they still open values.
    pub(crate) fn under_root(root_key_id: &[u8]) -> one<Under> =
        "SELECT (SELECT count(*) FROM sgx.sealing_keys WHERE root_key_id = $1) AS sealing_keys, \
                (SELECT count(*) FROM sgx.secret_keys WHERE root_key_id = $1) AS secret_keys";

    pub(crate) fn slots() -> many<RootSlot> =
        "SELECT slot_id, root_key_id, kind, opener_id, wrapped_root, label, state, created_at, tested_at, retired_at \
         FROM sgx.root_slots ORDER BY created_at, slot_id";

    pub(crate) fn add_slot(
        slot_id: Uuid, root_key_id: &[u8], kind: &str, opener_id: &[u8], wrapped_root: &[u8], label: Option<&str>,
        now: Timestamp,
    ) -> one<RootSlot> =
        "INSERT INTO sgx.root_slots (slot_id, root_key_id, kind, opener_id, wrapped_root, label, created_at, tested_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
         RETURNING slot_id, root_key_id, kind, opener_id, wrapped_root, label, state, created_at, tested_at, retired_at";

    pub(crate) fn slot_tested(slot_id: Uuid, now: Timestamp) -> exec =
        "UPDATE sgx.root_slots SET tested_at = $2 WHERE slot_id = $1";

    /// The wrapped root key goes with it.
    pub(crate) fn retire_slots(slot_ids: &[Uuid], now: Timestamp) -> exec =
        "UPDATE sgx.root_slots SET state = 'retired', wrapped_root = NULL, retired_at = $2 \
         WHERE slot_id = ANY ($1) AND state = 'active'";

    pub(crate) fn wipe_slots_of(root_key_id: &[u8], now: Timestamp) -> exec =
        "UPDATE sgx.root_slots SET state = 'retired', wrapped_root = NULL, retired_at = coalesce(retired_at, $2) \
         WHERE root_key_id = $1";

    pub(crate) fn secret_keys() -> many<WrappedSecretKey> =
        "SELECT secret_key_id, wrapped_key, root_key_id, is_active FROM sgx.secret_keys ORDER BY created_at, secret_key_id";

    pub(crate) fn add_secret_key(secret_key_id: &[u8], wrapped_key: &[u8], root_key_id: &[u8], is_active: bool) -> exec =
        "INSERT INTO sgx.secret_keys (secret_key_id, wrapped_key, root_key_id, is_active) VALUES ($1, $2, $3, $4)";

    pub(crate) fn rewrap_secret_key(secret_key_id: &[u8], wrapped_key: &[u8], root_key_id: &[u8]) -> exec =
        "UPDATE sgx.secret_keys SET wrapped_key = $2, root_key_id = $3 WHERE secret_key_id = $1";
}
