//! Sealing keys, their rotation, and the statement at its end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Sgx;
use crate::error::Error;
use crate::path;

/// The keys that wrap the tenant's data keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealingKeys {
    /// Newest first.
    pub items: Vec<SealingKey>,
    /// The key that signs completion statements: a verifier key of C2SP signed notes.
    pub statement_key: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealingKey {
    pub version: i64,
    /// `active`, `superseded` or `retired`.
    pub state: String,
    /// Data keys that it may have wrapped, counted ahead in blocks.
    pub wraps: u64,
    /// Values whose data key is under it now.
    pub rows: u64,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// A rotation to be begun.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewRotation {
    /// `tenant` (default) or `root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seal the values themselves anew, not their keys alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reseal: bool,
}

/// A rotation, and how far it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    #[serde(rename = "rotationId")]
    pub id: String,
    /// `tenant`, `root` or `reseal`.
    pub kind: String,
    /// `running`, `completed` or `failed`.
    pub state: String,
    pub from: String,
    pub to: String,
    /// Values that are to be moved; sealing keys, where the root rotates.
    pub total: u64,
    pub done: u64,
    pub percent: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub requested_by: String,
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl Sgx<'_> {
    pub async fn sealing_keys(&self) -> Result<SealingKeys, Error> {
        self.ask(self.client.get("/api/v1/sgx/sealing-keys")).await
    }

    /// Begins a rotation; it goes on at the service.
    pub async fn rotate(&self, rotation: &NewRotation) -> Result<Rotation, Error> {
        self.ask(self.client.post("/api/v1/sgx/sealing-keys/rotate").json(rotation)).await
    }

    pub async fn rotations(&self) -> Result<Vec<Rotation>, Error> {
        self.all(ROTATIONS).await
    }

    pub async fn rotation(&self, id: &str) -> Result<Rotation, Error> {
        self.ask(self.client.get(&rotation_path(id)?)).await
    }

    /// The signed statement that nothing is left under the old key (a C2SP signed note), once the rotation has ended.
    pub async fn statement(&self, id: &str) -> Result<String, Error> {
        let answer = self.client.call(self.client.get(&format!("{}/statement", rotation_path(id)?))).await?;
        match std::str::from_utf8(&answer.body) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(answer.unexpected("which is no text")),
        }
    }
}

const ROTATIONS: &str = "/api/v1/sgx/rotations";

fn rotation_path(id: &str) -> Result<String, Error> {
    Ok(format!("{ROTATIONS}/{}", path::segment("rotation", id)?))
}
