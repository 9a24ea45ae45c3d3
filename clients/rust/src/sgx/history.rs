//! Former versions, and what is done with them: restore, destroy, copy, rename.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ItemInfo, Sgx};
use crate::error::Error;
use crate::path;

/// A version of an item, without its value.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    pub version: i64,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes at rest.
    pub sealed_size: u64,
    /// `sha256:<hex>`.
    pub fingerprint: String,
    pub policy: String,
    pub created_at: Timestamp,
    /// When the next version took its place; none for the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Whether its key is gone: nobody can read it any more.
    pub destroyed: bool,
    /// Whether a read without a version gives this one.
    pub current: bool,
}

/// What was destroyed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Destroyed {
    pub service: String,
    pub key: String,
    /// The versions whose keys and values went.
    pub versions: Vec<i64>,
}

#[derive(Serialize)]
struct Place<'a> {
    service: &'a str,
    key: &'a str,
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(flatten)]
    item: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Place<'a>>,
}

impl Sgx<'_> {
    /// The versions of an item that are kept, newest first; of a deleted item too.
    pub async fn versions(&self, service: &str, key: &str) -> Result<Vec<VersionInfo>, Error> {
        let (service, key) = (path::segment("service", service)?, path::rest("key", key)?);
        self.all(&format!("/api/v1/sgx/versions/{service}/{key}")).await
    }

    /// Brings a deleted item back, or makes the value of a former version the new current one.
    pub async fn restore(&self, service: &str, key: &str, version: Option<i64>) -> Result<ItemInfo, Error> {
        self.act("restore", &Action { item: Place { service, key }, version, to: None }).await
    }

    /// Makes a version, or an item with all of them, unreadable for good. Backups still hold what they hold.
    pub async fn destroy(&self, service: &str, key: &str, version: Option<i64>) -> Result<Destroyed, Error> {
        self.act("destroy", &Action { item: Place { service, key }, version, to: None }).await
    }

    /// Seals the value anew under another name; 409 where that is taken.
    pub async fn copy(
        &self,
        service: &str,
        key: &str,
        version: Option<i64>,
        to: (&str, &str),
    ) -> Result<ItemInfo, Error> {
        let to = Some(Place { service: to.0, key: to.1 });
        self.act("copy", &Action { item: Place { service, key }, version, to }).await
    }

    /// Moves the current value to another name; the former versions stay, deleted, under the old one.
    pub async fn rename(&self, service: &str, key: &str, to: (&str, &str)) -> Result<ItemInfo, Error> {
        let to = Some(Place { service: to.0, key: to.1 });
        self.act("rename", &Action { item: Place { service, key }, version: None, to }).await
    }

    async fn act<T: DeserializeOwned>(&self, verb: &str, action: &Action<'_>) -> Result<T, Error> {
        self.ask(self.client.post(&format!("/api/v1/sgx/item-actions/{verb}")).json(action)).await
    }
}
