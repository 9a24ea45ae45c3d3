//! The key that signs completion statements. It belongs to no tenant.

nsl_core::row! {
    /// The signing key, sealed; its public half is not secret.
    pub(crate) struct StatementKey { pub public_key: Vec<u8>, pub sealed_key: Vec<u8>, pub secret_key_id: Vec<u8> }
}

nsl_core::queries! {
    pub(crate) fn statement_key(name: &str) -> opt<StatementKey> =
        "SELECT public_key, sealed_key, secret_key_id FROM sgx.statement_keys WHERE name = $1";

    /// Nothing if another process made it first.
    pub(crate) fn add_statement_key(name: &str, public_key: &[u8], sealed_key: &[u8], secret_key_id: &[u8]) -> exec =
        "INSERT INTO sgx.statement_keys (name, public_key, sealed_key, secret_key_id) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING";
}
