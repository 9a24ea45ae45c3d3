//! The keys that open the root key. For the operator of the installation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Sgx;
use crate::error::Error;
use crate::path;
use crate::secret::Secret;

/// The root key, wrapped under one of the keys that may open it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    pub id: String,
    pub root_key_id: String,
    /// `active`, `superseded` or `retired`.
    pub root_state: String,
    /// `configured`, `mrsigner` or `mrenclave`.
    pub kind: String,
    /// The public id of the key that opens it.
    pub opener_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `active` or `retired`.
    pub state: String,
    /// Whether the serving process has the key.
    pub at_hand: bool,
    pub created_at: Timestamp,
    pub tested_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct AddSlot<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

#[derive(Serialize)]
struct TestSlot<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

const SLOTS: &str = "/api/v1/sgx/slots";

impl Sgx<'_> {
    pub async fn slots(&self) -> Result<Vec<Slot>, Error> {
        self.all(SLOTS).await
    }

    /// Lets a further key open the root: for kind `configured` 32 bytes in base64 or hex, else the platform's own.
    pub async fn add_slot(
        &self,
        kind: &str,
        key: Option<&Secret>,
        label: Option<&str>,
    ) -> Result<Slot, Error> {
        let slot = AddSlot { kind, key: key.map(Secret::expose), label };
        self.ask(self.client.post(SLOTS).json(&slot)).await
    }

    /// Opens the slot with this key, else with those that the service has; a slot that does not open is an error.
    pub async fn test_slot(&self, id: &str, key: Option<&Secret>) -> Result<Slot, Error> {
        let test = TestSlot { key: key.map(Secret::expose) };
        self.ask(self.client.post(&format!("{}/test", slot_path(id)?)).json(&test)).await
    }

    /// Takes the slots of this one's key away, of every root. The last one that opens is refused.
    pub async fn retire_slot(&self, id: &str) -> Result<Slot, Error> {
        self.ask(self.client.post(&format!("{}/retire", slot_path(id)?))).await
    }
}

fn slot_path(id: &str) -> Result<String, Error> {
    Ok(format!("{SLOTS}/{}", path::segment("slot", id)?))
}
