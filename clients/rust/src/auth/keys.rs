//! The keys that verify access tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Auth;
use crate::error::Error;

/// A public key, as RFC 7517 has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Jwk {
    /// What access tokens name.
    pub kid: String,
    pub alg: String,
    /// The key itself, in the fields of its type.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Auth<'_> {
    /// The published keys; none where a shared secret signs.
    pub async fn keys(&self) -> Result<Vec<Jwk>, Error> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Jwk>,
        }
        let set: KeySet = self.ask(self.client.get("/.well-known/jwks.json")).await?;
        Ok(set.keys)
    }
}
